"""PyTorch's archives are read without PyTorch, as data: right, or refused; nothing that they say is run."""

import io
import os
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest

from debir_jax.convert import read_state_dict
from debir_jax.convert.pickle_machine import NamesOtherObjectsError
from debir_jax.convert.torch_archive import read_archive

_TYPES = dict(FloatStorage="<f4", DoubleStorage="<f8", HalfStorage="<f2", LongStorage="<i8", ByteStorage="u1",
              BoolStorage="?")


class _Storage:
  """A storage of numbers, which a pickler writes as a persistent name, as PyTorch does."""

  def __init__(self, numbers, kind, key):
    self.numbers, self.kind, self.key = np.asarray(numbers, _TYPES[kind]).reshape(-1), kind, key


class _Named:
  """Pickles as the call of a function that need not exist here."""

  def __init__(self, name, *arguments):
    self.name, self.arguments = name, arguments


def archive(path, content, *, protocol=2, compression=zipfile.ZIP_STORED, **files):
  """Writes `content`, of `_Storage`s and `_Named`s, as `torch.save` would; further files replace its own."""
  stored = {}

  class Pickler(pickle._Pickler):  # The one in Python, which looks nothing up for names that it is given.
    dispatch = dict(pickle._Pickler.dispatch)

    def save(self, thing, save_persistent_id=True):
      if isinstance(thing, _Storage):
        stored[f"a/data/{thing.key}"] = thing.numbers.tobytes()
        self.write(pickle.MARK)
        super().save("storage")
        self.write(b"c" + b"torch\n" + thing.kind.encode() + b"\n")
        for value in (thing.key, "cuda:0", len(thing.numbers)):
          super().save(value)
        self.write(pickle.TUPLE + pickle.BINPERSID)
      elif isinstance(thing, _Named):
        module, _, name = thing.name.rpartition(".")
        self.write(b"c" + module.encode() + b"\n" + name.encode() + b"\n")
        super().save(tuple(thing.arguments))
        self.write(pickle.REDUCE)
      else:
        super().save(thing, save_persistent_id)

  program = io.BytesIO()
  Pickler(program, protocol).dump(content)
  names = {"a/data.pkl": program.getvalue(), "a/byteorder": b"little"} | stored | files
  with zipfile.ZipFile(path, "w", compression) as file:
    for name, its_content in names.items():
      file.writestr(name, its_content)
  return path


def _tensor(numbers, kind="FloatStorage", *, key="0", offset=0, size=None, strides=None):
  """As PyTorch pickles a contiguous tensor, or with a layout of its own."""
  numbers = np.asarray(numbers)
  size = numbers.shape if size is None else size
  strides = tuple(int(np.prod(size[axis + 1:])) for axis in range(len(size))) if strides is None else strides
  return _Named("torch._utils._rebuild_tensor_v2", _Storage(numbers, kind, key), offset, tuple(size), tuple(strides),
                False, _Named("collections.OrderedDict"))


@pytest.mark.parametrize("protocol", (2, 4))
@pytest.mark.parametrize("kind", _TYPES)
def test_tensors_of_every_type_come_back(tmp_path, kind, protocol):
  """With their shapes, beside numbers and texts; a scalar and an empty one too."""
  numbers = np.arange(6).reshape(2, 3) % 2
  content = dict(a=_tensor(numbers, kind), b=_tensor(np.array(1), kind, key="1"), epoch=3,
                 note=["text", None, True, 0.5],
                 empty=_tensor(np.zeros((0, 3)), kind, key="2"))
  found = read_archive(archive(tmp_path / "a.pth", content, protocol=protocol))
  assert found["a"].dtype == _TYPES[kind] and found["b"].shape == () and found["empty"].shape == (0, 3)
  np.testing.assert_array_equal(found["a"], numbers)
  assert found["epoch"] == 3 and found["note"] == ["text", None, True, 0.5]


def test_views_share_their_storage(tmp_path):
  """A transposed piece of a matrix, and a parameter; each from its place in one storage."""
  matrix = np.arange(12.0).reshape(3, 4)
  view = _tensor(matrix, offset=1, size=(2, 3), strides=(1, 4))
  content = dict(view=view, whole=_Named("torch._utils._rebuild_parameter", _tensor(matrix), True, None))
  found = read_archive(archive(tmp_path / "a.pth", content))
  np.testing.assert_array_equal(found["view"], matrix[:, 1:3].T)
  np.testing.assert_array_equal(found["whole"], matrix)


def test_a_state_dict_is_read_without_pytorch(tmp_path, monkeypatch):
  """Under any of the names of such files, with what is looked for below; what is no archive names PyTorch."""
  monkeypatch.setitem(sys.modules, "torch", None)
  for suffix in (".pth", ".pkl", ".ckpt"):
    path = archive(tmp_path / f"a{suffix}", dict(state_dict=dict(a=_tensor(np.ones((2, 3)), "HalfStorage")), epoch=1))
    found = read_state_dict(path)
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], np.ones((2, 3)))
  (tmp_path / "old.pkl").write_bytes(b"an older format")
  with pytest.raises(ImportError, match="old.pkl is a file of PyTorch"):
    read_state_dict(tmp_path / "old.pkl")


@pytest.mark.parametrize("name, arguments", (
    ("posix.mkdir", ("done",)), ("builtins.eval", ("1",)), ("torch.load", ("a",)), ("os.system", ("touch done",)),
    ("torch._utils._rebuild_sparse_tensor", ()), ("collections.OrderedDict.fromkeys", ("a",))))
def test_what_names_other_objects_is_refused_and_not_run(tmp_path, monkeypatch, name, arguments):
  """At the top or beside weights, by name, with the way to the weights alone."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, "torch", None)
  for content in (_Named(name, *arguments), dict(a=_tensor(np.ones(2)), b=_Named(name, *arguments))):
    path = archive(tmp_path / "a.pth", content)
    with pytest.raises(NamesOtherObjectsError, match=name):
      read_archive(path)
    with pytest.raises(ValueError, match=rf"a.pth holds other Python objects .*\({name}\)"):
      read_state_dict(path)
  assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("layout", (
    dict(size=(2**40,), strides=(0,)), dict(size=(7,)), dict(size=(2, 3), strides=(3, 2)), dict(offset=-1),
    dict(offset=1), dict(size=(-1,), strides=(1,)), dict(size=(2,), strides=(-1,)), dict(size=(2, 3), strides=(1,))))
def test_tensors_beyond_their_storage_are_refused(tmp_path, layout):
  """Neither memory of others nor more memory than the file has."""
  with pytest.raises(ValueError, match="a tensor "):
    read_archive(archive(tmp_path / "a.pth", dict(a=_tensor(np.arange(6.0), **layout))))


@pytest.mark.parametrize("files, message", (
    ({"a/data/0": b"1234"}, "holds 1 numbers instead of 2"), ({"a/data/0": b"12345"}, "buffer size"),
    ({"a/byteorder": b"big"}, "big-endian"), ({"a/data.pkl": b"\x80\x02}"}, "pickle exhausted|too early|opcode"),
    ({"a/data.pkl": b"\x80\x02."}, "IndexError"), ({"a/data.pkl": b"\x80\x02h\x05."}, "KeyError"),
    ({"a/data.pkl": b"\x80\x02K\x01K\x01K\x01s."}, "expected a dict")))
def test_damaged_archives_are_refused(tmp_path, files, message):
  """Storages that are too short, programs that end or take from an empty stack."""
  with pytest.raises(ValueError, match=message):
    read_archive(archive(tmp_path / "a.pth", dict(a=_tensor(np.ones(2))), **files))


def test_other_zip_files_and_compressed_ones_are_refused(tmp_path):
  """A bomb would have to be compressed."""
  with zipfile.ZipFile(tmp_path / "other.pth", "w") as file:
    file.writestr("readme.txt", "no archive of PyTorch")
  with pytest.raises(ValueError, match="no data.pkl"):
    read_archive(tmp_path / "other.pth")
  path = archive(tmp_path / "a.pth", dict(a=_tensor(np.zeros(10**6))), compression=zipfile.ZIP_DEFLATED)
  with pytest.raises(ValueError, match="is compressed"):
    read_archive(path)


def test_mutated_archives_never_do_anything_but_fail(tmp_path):
  """A thousand files with up to eight changed bytes: the right arrays, other numbers, or a ValueError."""
  whole = archive(tmp_path / "a.pth", dict(a=_tensor(np.ones((2, 3))), epoch=3)).read_bytes()
  rng, path = np.random.default_rng(0), tmp_path / "mutated.pth"
  for _ in range(1000):
    changed = bytearray(whole)
    for place in rng.integers(0, len(whole), rng.integers(1, 9)):
      changed[place] = rng.integers(256)
    path.write_bytes(changed)
    try:
      read_archive(pathlib.Path(path))
    except ValueError:
      pass
