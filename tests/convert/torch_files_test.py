"""State dicts come out of files as float32 arrays, and nothing in a file ever runs."""

import json
import os
import pathlib
import pickle
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from debir_jax.convert import read_state_dict

ARRAYS = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "norm.num_batches_tracked": np.array(3)}


def _same(found, expected=ARRAYS):
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)
    assert found[name].dtype == array.dtype and found[name].shape == array.shape


def _saved(path, content, **options):
  torch = pytest.importorskip("torch")
  torch.save(content, path, **options)
  return path


def _tensors(arrays=None):
  torch = pytest.importorskip("torch")
  return {name: torch.tensor(array) for name, array in (arrays or ARRAYS).items()}


def test_safetensors_and_npz_come_back_as_they_were(tmp_path):
  """Names, values, shapes and types; both need no PyTorch."""
  safetensors.numpy.save_file(ARRAYS, tmp_path / "a.safetensors")
  np.savez(tmp_path / "a.npz", **ARRAYS)
  _same(read_state_dict(tmp_path / "a.safetensors"))
  _same(read_state_dict(tmp_path / "a.npz"))


@pytest.mark.parametrize("dtype, name, code", [
    (np.float16, "float16", "F16"), (np.float64, "float64", "F64"), (jnp.bfloat16, "bfloat16", "BF16")])
def test_every_precision_becomes_float32(tmp_path, dtype, name, code):
  """Halves (both kinds) and doubles, in safetensors and in PyTorch's files."""
  array = np.array([1.5, -0.25, 3e-3]).astype(dtype)
  header = json.dumps({"a": dict(dtype=code, shape=[3], data_offsets=[0, array.nbytes])}).encode()
  (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + array.tobytes())
  _same(read_state_dict(tmp_path / "a.safetensors"), {"a": array.astype(np.float32)})
  torch = pytest.importorskip("torch")
  tensor = torch.tensor(array.astype(np.float32)).to(getattr(torch, name))
  _same(read_state_dict(_saved(tmp_path / "a.pt", {"a": tensor})), {"a": array.astype(np.float32)})


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_pytorch_files_plain_and_of_lightning(tmp_path, suffix):
  """A state dict at the top or under "state_dict", beside numbers and text; gradients and old formats do not matter."""
  torch = pytest.importorskip("torch")
  parameters = {name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
                for name, tensor in _tensors().items()}
  _same(read_state_dict(_saved(tmp_path / f"plain{suffix}", parameters)))
  lightning = {"state_dict": _tensors(), "epoch": 3, "hyper_parameters": {"lr": 1e-3}, "loops": [{"a": None}]}
  _same(read_state_dict(_saved(tmp_path / f"lightning{suffix}", lightning)))
  _same(read_state_dict(_saved(tmp_path / f"old{suffix}", _tensors(), _use_new_zipfile_serialization=False)))


class _Hostile:
  """What a hostile checkpoint holds: opening it in the ordinary way makes a folder."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return os.mkdir, (self.path,)


@pytest.mark.parametrize("inside", [lambda bad, good: bad, lambda bad, good: {"state_dict": good, "callbacks": bad}])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_a_hostile_file_does_not_run(tmp_path, suffix, inside):
  """It is refused, with the way to save the weights alone; nothing was done."""
  target = tmp_path / "done"
  path = _saved(tmp_path / f"hostile{suffix}", inside(_Hostile(target), _tensors()))
  with pytest.raises(ValueError, match="other Python objects(.|\n)*weights_only=False(.|\n)*weights_only.pt"):
    read_state_dict(path)
  assert not target.exists()


def test_a_hostile_pickle_under_any_name_does_not_run(tmp_path):
  """Neither bare, nor as an array of objects in an npz, nor as an npz or safetensors by name only."""
  pickled = pickle.dumps(_Hostile(tmp_path / "done"), protocol=2)
  for suffix in (".pt", ".npz", ".safetensors"):
    path = tmp_path / f"hostile{suffix}"
    path.write_bytes(pickled)
    if suffix == ".pt":
      pytest.importorskip("torch")
    with pytest.raises(ValueError, match="damaged|other Python objects"):
      read_state_dict(path)
  np.savez(tmp_path / "objects.npz", a=np.array([_Hostile(tmp_path / "done")], dtype=object))
  with pytest.raises(ValueError, match="damaged"):
    read_state_dict(tmp_path / "objects.npz")
  assert not (tmp_path / "done").exists()


def test_the_advice_for_other_objects_works(tmp_path, monkeypatch):
  """The lines of the message, run where the file is trusted, make a file that can be read."""
  torch = pytest.importorskip("torch")
  monkeypatch.chdir(tmp_path)
  path = _saved(pathlib.Path("lightning.ckpt"), {"state_dict": _tensors(), "hyper_parameters": pathlib.Path("a")})
  with pytest.raises(ValueError) as error:
    read_state_dict(path)
  lines = [line.strip() for line in str(error.value).splitlines() if line.startswith("  ")]
  exec("\n".join(lines), {"torch": torch})  # pylint: disable=exec-used
  _same(read_state_dict("weights_only.pt"))


@pytest.mark.parametrize("content, message", [
    (lambda torch: [torch.zeros(2)], "object of type list"),
    (lambda torch: torch.zeros(2), "object of type Tensor"),
    (lambda torch: {"state_dict": [1]}, "object of type list"),
    (lambda torch: {"model": {"a": torch.zeros(2)}}, r"no dense tensors: model \(dict\)"),
    (lambda torch: {"a": torch.zeros(2), "epoch": 3}, r"no dense tensors: epoch \(int\)"),
    (lambda torch: {3: torch.zeros(2)}, r"no dense tensors: 3 \(Tensor\)"),
    (lambda torch: {"a": torch.zeros(2).to_sparse()}, r"no dense tensors: a \(Tensor\)"),
    (lambda torch: {}, "holds no weights"),
])
def test_what_is_no_state_dict_is_refused(tmp_path, content, message):
  """The message says what was found in its place."""
  path = _saved(tmp_path / "a.pt", content(pytest.importorskip("torch")))
  with pytest.raises(ValueError, match=message):
    read_state_dict(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_truncated_files_are_named(tmp_path, suffix):
  """Cut anywhere, as a broken download is, the file is said to be damaged."""
  path, rng = tmp_path / f"a{suffix}", np.random.default_rng(0)
  arrays = {"a": rng.normal(size=500).astype(np.float32), "b": rng.normal(size=500).astype(np.float32)}
  if suffix == ".pt":
    _saved(path, _tensors(arrays))
  else:
    safetensors.numpy.save_file(arrays, path) if suffix == ".safetensors" else np.savez(path, **arrays)
  whole = path.read_bytes()
  for length in (1, 10, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=f"a{suffix} is damaged"):
      read_state_dict(path)


def test_missing_empty_and_strange_files_are_named(tmp_path):
  """Each with what to do."""
  with pytest.raises(FileNotFoundError, match="no file .*absent.pt"):
    read_state_dict(tmp_path / "absent.pt")
  (tmp_path / "empty.pt").touch()
  with pytest.raises(ValueError, match="empty.pt is empty"):
    read_state_dict(tmp_path / "empty.pt")
  (tmp_path / "folder.ckpt").mkdir()
  with pytest.raises(FileNotFoundError, match="folder.ckpt"):
    read_state_dict(tmp_path / "folder.ckpt")
  with pytest.raises(ValueError, match="must end with one of .pt, .pth"):
    read_state_dict(tmp_path / "weights.h5")
  np.savez(tmp_path / "text.npz", a=np.array(["text"]), b=np.zeros(2))
  with pytest.raises(ValueError, match=r"no real numbers: a \(<U4\)"):
    read_state_dict(tmp_path / "text.npz")
  header = json.dumps({"a": dict(dtype="F8_E5M2", shape=[2], data_offsets=[0, 2])}).encode()
  (tmp_path / "f8.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
  with pytest.raises(ValueError, match=r"types that cannot be read: a \(F8_E5M2\)"):
    read_state_dict(tmp_path / "f8.safetensors")
  np.savez(tmp_path / "nothing.npz")
  with pytest.raises(ValueError, match="holds no weights"):
    read_state_dict(tmp_path / "nothing.npz")


def test_without_pytorch_the_extra_is_named(tmp_path, monkeypatch):
  """PyTorch is imported for its own files only; where it is absent, the message says how to get it."""
  monkeypatch.setitem(sys.modules, "torch", None)
  (tmp_path / "a.pt").write_bytes(b"content")
  with pytest.raises(ImportError, match=r"pip install \"debir_jax\[torch\]\""):
    read_state_dict(tmp_path / "a.pt")
