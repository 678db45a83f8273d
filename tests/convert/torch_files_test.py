"""State dicts come out of files as float32 arrays, and nothing in a file ever runs."""

import json
import os
import pathlib
import pickle
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from debir_jax.convert import read_state_dict

_ROOT = pathlib.Path(__file__).resolve().parents[2]
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


class _Tensor:
  """As much of PyTorch's tensors as reading a file takes."""
  layout, device, is_quantized = "torch.strided", "cpu", False

  def __init__(self, array):
    self.array = np.asarray(array)

  def is_floating_point(self):
    return self.array.dtype.kind == "f"

  def float(self):
    return _Tensor(self.array.astype(np.float32))

  def numpy(self, force):
    assert force
    return self.array


@pytest.fixture
def read_content(tmp_path, monkeypatch):
  """Reads a file of PyTorch with this content, arrays in it as tensors; by PyTorch where it is installed."""
  written = {}
  try:
    import torch
  except ImportError:
    torch = types.SimpleNamespace(
        Tensor=_Tensor, tensor=_Tensor, load=lambda path, **_: written[path],
        save=lambda content, path: (path.write_bytes(b"content"), written.update({path: content})))
    monkeypatch.setitem(sys.modules, "torch", torch)
  to_tensors = lambda node: ({key: to_tensors(value) for key, value in node.items()} if isinstance(node, dict) else
                             torch.tensor(node) if isinstance(node, (np.ndarray, np.generic)) else node)

  def read(content, name="a.pth"):
    torch.save(to_tensors(content), tmp_path / name)
    return read_state_dict(tmp_path / name)

  return read


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


@pytest.mark.parametrize("places", [
    "", "state_dict", "model", "params", "params_ema", "network", "ema", "net", "module", "model_state_dict",
    "model_ema", "model.state_dict", "state_dict.model", "ema.module", "a.b.model"])
def test_a_state_dict_is_found_below_the_usual_names(read_content, places):
  """One or several of them, beside whatever else training writes down."""
  content = ARRAYS
  for place in reversed(list(filter(None, places.split(".")))):
    content = {place: content, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
  if places.startswith("a."):
    with pytest.raises(ValueError, match=r"no dense tensors: a \(dict\), .* under params_ema, .*state_dict"):
      read_content(content)
    return
  _same(read_content(content))


@pytest.mark.parametrize("averaged, plain", [
    ("params_ema", "params"), ("ema", "model"), ("ema", "state_dict"), ("model_ema", "network")])
def test_averaged_weights_are_preferred_and_it_is_said(read_content, averaged, plain):
  """Whichever comes first in the file; averages that are no state dict do not count."""
  others = {name: array + 1 for name, array in ARRAYS.items()}
  for content in ({averaged: ARRAYS, plain: others}, {plain: others, averaged: ARRAYS}):
    with pytest.warns(UserWarning, match=f"a.pth holds weights under '{averaged}' and '{plain}'. Those under "
                      f"'{averaged}' are taken"):
      _same(read_content(content))
  for no_weights in (0.999, {"decay": 0.999}, {}):
    _same(read_content({averaged: no_weights, plain: ARRAYS}))


def test_several_state_dicts_are_refused(read_content):
  """Taking one of them would be a guess."""
  with pytest.raises(ValueError, match="a.pth holds weights under 'model' and 'network'. Save those that are meant"):
    read_content({"network": ARRAYS, "model": ARRAYS})


@pytest.mark.parametrize("name", ["a.PTH", "a.Ckpt", "a.pth.tar", "a.PTH.TAR", "model.v2.pt.tar"])
def test_capitals_and_tar_do_not_matter(tmp_path, read_content, name):
  """`.pth.tar` is a custom of PyTorch's users, no archive; a real one cannot be told from it without `.pth`."""
  _same(read_content(ARRAYS, name))
  safetensors.numpy.save_file(ARRAYS, tmp_path / "a.SafeTensors")
  np.savez(tmp_path / "b.npz", **ARRAYS)
  _same(read_state_dict(tmp_path / "a.SafeTensors"))
  _same(read_state_dict((tmp_path / "b.npz").rename(tmp_path / "b.NPZ")))
  with pytest.raises(ValueError, match=r"Cannot tell what .*a.tar is"):
    read_state_dict(tmp_path / "a.tar")


class _Hostile:
  """What a hostile checkpoint holds: opening it in the ordinary way makes a folder."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return os.mkdir, (self.path,)


@pytest.mark.parametrize("inside", [lambda bad, good: bad, lambda bad, good: {"state_dict": good, "callbacks": bad}])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_a_hostile_file_does_not_run(tmp_path, suffix, inside):
  """It is refused, with the way to its weights alone, and without PyTorch's advice; nothing was done."""
  target = tmp_path / "done"
  path = _saved(tmp_path / f"hostile{suffix}", inside(_Hostile(target), _tensors()))
  with pytest.raises(ValueError, match=rf"{path.name} holds other Python objects .*\(posix.mkdir\)") as error:
    read_state_dict(path)
  assert "weights_only=True" in str(error.value) and "add_safe_globals([])" in str(error.value)
  assert error.value.__cause__ is None and error.value.__suppress_context__
  assert not target.exists()


def test_nothing_advises_to_open_files_that_may_run_code():
  """Neither code nor documentation nor tests."""
  folders = ("debir_jax", "configs", "docs", "experiments", "tests")
  files = [path for folder in folders for path in (_ROOT / folder).rglob("*.*")]
  for path in [path for path in (*files, _ROOT / "README.md") if path.suffix in (".py", ".md", ".ipynb", ".sh")]:
    assert "weights_only=" + "False" not in path.read_text(), path


def test_a_program_of_torchscript_is_refused(tmp_path):
  """By its name, not with PyTorch's advice."""
  torch = pytest.importorskip("torch")
  torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
  with pytest.raises(ValueError, match=r"a.pt is a program of TorchScript, .*state_dict\(\)") as error:
    read_state_dict(tmp_path / "a.pt")
  assert "weights_only" not in str(error.value)


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
  """The lines of the message, with a class that one knows, make a file that can be read; without it they refuse."""
  torch = pytest.importorskip("torch")
  monkeypatch.chdir(tmp_path)
  path = _saved(pathlib.Path("lightning.ckpt"), {"state_dict": _tensors(), "hyper_parameters": pathlib.Path("a")})
  with pytest.raises(ValueError) as error:
    read_state_dict(path)
  lines = "\n".join(line.strip() for line in str(error.value).splitlines() if line.startswith("  "))
  with pytest.raises(pickle.UnpicklingError):
    exec(lines, {})  # pylint: disable=exec-used
  try:
    exec(lines.replace("([])", "([pathlib.PosixPath])"), {"pathlib": pathlib})  # pylint: disable=exec-used
  finally:
    torch.serialization.clear_safe_globals()
  _same(read_state_dict("weights_only.pt"))


@pytest.mark.parametrize("content, message", [
    (lambda torch: [torch.zeros(2)], "object of type list"),
    (lambda torch: torch.zeros(2), "object of type Tensor"),
    (lambda torch: {"state_dict": [1]}, "object of type list"),
    (lambda torch: {"weights": {"a": torch.zeros(2)}}, r"no dense tensors: weights \(dict\)"),
    (lambda torch: {"state_dict": {"model": "unet"}}, "object of type str"),
    (lambda torch: {"state_dict": {}, "epoch": 3}, "holds no weights"),
    (lambda torch: {"epoch": 3}, r"no dense tensors: epoch \(int\)"),
    (lambda torch: {"a": torch.zeros(2), "epoch": 3}, r"no dense tensors: epoch \(int\)"),
    (lambda torch: {3: torch.zeros(2)}, r"no dense tensors: 3 \(Tensor\)"),
    (lambda torch: {"a": torch.zeros(2).to_sparse()}, r"no dense tensors: a \(Tensor\)"),
    (lambda torch: {}, "holds no weights"),
    (lambda torch: dict.fromkeys(("net", "model"), {"a": torch.zeros(2)}), r"'model' and 'net'. .*torch.save\("),
])
def test_what_is_no_state_dict_is_refused(tmp_path, content, message):
  """The message says what was found in its place."""
  path = _saved(tmp_path / "a.pt", content(pytest.importorskip("torch")))
  with pytest.raises(ValueError, match=message) as error:
    read_state_dict(path)
  assert "a.pt" in str(error.value) and len(str(error.value).splitlines()) == 1


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
    with pytest.raises(ValueError, match=f"a{suffix} is damaged") as error:
      read_state_dict(path)
    assert len(str(error.value).splitlines()) == 1 and "weights_only" not in str(error.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz"])
@pytest.mark.parametrize("content, message", [
    (b"<!DOCTYPE html><html><head><title>Google Drive</title>", "is a web page, .* Download it again"),
    (b"\xef\xbb\xbf\n <HTML lang=en>", "is a web page, .* Download it again"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "is a web page, .* Download it again"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n", "is a pointer of Git LFS, .*pull"),
    (b"", "is empty. Download it again")])
def test_what_a_download_left_in_place_of_a_file_is_named(tmp_path, suffix, content, message):
  """A page about the file, its pointer, or nothing; known without PyTorch, and in one line."""
  path = tmp_path / f"debir{suffix}"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"debir{suffix} {message}") as error:
    read_state_dict(path)
  assert len(str(error.value).splitlines()) == 1


def test_a_text_in_place_of_a_pytorch_file_is_shown(tmp_path):
  """As servers answer, shown as it begins."""
  pytest.importorskip("torch")
  (tmp_path / "a.pt").write_bytes(b"Entry not found")
  with pytest.raises(ValueError, match="a.pt is damaged, or no .pt file: it begins with b'Entry not found'"):
    read_state_dict(tmp_path / "a.pt")


def test_another_kind_of_numpy_file_is_named(tmp_path):
  """A single array under another name."""
  np.save(tmp_path / "a.npy", np.zeros(2))
  (tmp_path / "a.npy").rename(tmp_path / "a.npz")
  with pytest.raises(ValueError, match="a.npz is damaged, or no .npz file"):
    read_state_dict(tmp_path / "a.npz")


def test_addresses_and_homes(tmp_path, monkeypatch):
  """A path is one of this machine."""
  monkeypatch.setenv("HOME", str(tmp_path))
  np.savez(tmp_path / "a.npz", **ARRAYS)
  _same(read_state_dict("~/a.npz"))
  with pytest.raises(ValueError, match="path=gs://bucket/a.npz is an address"):
    read_state_dict("gs://bucket/a.npz")


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
