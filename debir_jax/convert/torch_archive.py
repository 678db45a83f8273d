"""Tensors out of PyTorch's archives without PyTorch, and without running what they say.

Since version 1.6 `torch.save` writes a zip archive: `data.pkl`, a program for Python's pickle machine that puts the
state dict together, and the numbers of each storage in a file of their own. The program is read here as data: opcode by
opcode, of which those are known that put numbers, texts, lists, dictionaries and tensors together. A program that names
anything else is refused; nothing is looked up, imported or called.

Archives hold storages uncompressed, so arrays are never larger than the file.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
import pathlib
import pickletools
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np

_STORAGES = {
    "torch DoubleStorage": np.float64, "torch FloatStorage": np.float32, "torch HalfStorage": np.float16,
    "torch BFloat16Storage": jnp.bfloat16, "torch LongStorage": np.int64, "torch IntStorage": np.int32,
    "torch ShortStorage": np.int16, "torch CharStorage": np.int8, "torch ByteStorage": np.uint8,
    "torch BoolStorage": np.bool_}
_IGNORED = ("PROTO", "FRAME")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_WITH_VALUE = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class NamesOtherObjectsError(ValueError):
  """An archive names an object that is no part of a state dict; the message is its name."""


@dataclasses.dataclass(frozen=True)
class _Name:
  """What a program names: a class or a function, which is not looked up."""

  text: str


def read_archive(path: pathlib.Path) -> Any:
  """What an archive holds: dictionaries and lists of numbers, texts and arrays, which are read-only.

  Raises:
    NamesOtherObjectsError: it names objects other than tensors, parameters and ordered dictionaries.
    ValueError: it is damaged, or no such archive.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      program = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
      if program is None:
        raise ValueError("it is no archive of PyTorch: there is no data.pkl in it")
      folder = program.removesuffix("data.pkl")
      if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
      return _Machine(lambda key: _stored(archive, f"{folder}data/{key}")).run(_stored(archive, program))
  except ValueError:
    raise
  except Exception as error:  # A damaged file can make the readers of zip archives and of programs fail in any way.
    raise ValueError(f"{type(error).__name__}: {error}") from error


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
  if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"{name} in it is compressed, as PyTorch never writes it")
  return archive.read(name)


class _Machine:
  """Runs a program on a stack of values."""

  def __init__(self, read_storage: Callable[[str], bytes]):
    self._read_storage = read_storage
    self._stack, self._marks, self._memo, self._contents = [], [], {}, {}
    self._steps = {
        "MARK": lambda _: self._marks.append(len(self._stack)),
        "EMPTY_DICT": lambda _: self._push({}), "EMPTY_LIST": lambda _: self._push([]),
        "TUPLE": lambda _: self._push(tuple(self._to_mark())),
        "GLOBAL": lambda text: self._push(_Name(text)), "STACK_GLOBAL": self._stack_global,
        "BINPUT": self._keep, "LONG_BINPUT": self._keep, "MEMOIZE": lambda _: self._keep(len(self._memo)),
        "BINGET": lambda key: self._push(self._memo[key]), "LONG_BINGET": lambda key: self._push(self._memo[key]),
        "BINPERSID": lambda _: self._push(self._storage(*self._stack.pop())),
        "REDUCE": self._reduce, "BUILD": lambda _: self._stack.pop(),  # Attributes of an OrderedDict: not needed.
        "SETITEM": lambda _: self._set_items(self._last(2)), "SETITEMS": lambda _: self._set_items(self._to_mark()),
        "APPEND": lambda _: self._stack[-2].append(self._stack.pop()),
        "APPENDS": lambda _: self._append(self._to_mark())}

  def run(self, program: bytes) -> Any:
    for opcode, value, _ in pickletools.genops(program):
      name = opcode.name
      if name == "STOP":
        return self._stack.pop()
      if name in _CONSTANTS or name in _WITH_VALUE:
        self._push(_CONSTANTS.get(name, value))
      elif name in _TUPLES:
        self._push(tuple(self._last(_TUPLES[name])))
      elif name in self._steps:
        self._steps[name](value)
      elif name not in _IGNORED:
        raise NamesOtherObjectsError(f"opcode {name}")
    raise ValueError("it ends too early")

  def _push(self, value):
    self._stack.append(value)

  def _keep(self, key):
    self._memo[key] = self._stack[-1]

  def _last(self, count) -> list:
    if len(self._stack) < count:
      raise IndexError("nothing is left on the stack")
    start = len(self._stack) - count
    values, self._stack[start:] = self._stack[start:], []
    return values

  def _to_mark(self) -> list:
    return self._last(len(self._stack) - self._marks.pop())

  def _set_items(self, values):
    self._of_kind(dict).update(zip(values[::2], values[1::2]))

  def _append(self, values):
    self._of_kind(list).extend(values)

  def _of_kind(self, kind):
    if not isinstance(self._stack[-1], kind):
      raise TypeError(f"expected a {kind.__name__}, found a {type(self._stack[-1]).__name__}")
    return self._stack[-1]

  def _stack_global(self, _):
    self._push(_Name(" ".join(self._last(2))))

  def _reduce(self, _):
    function, arguments = self._last(2)
    make = _MAKERS.get(function.text if isinstance(function, _Name) else None)
    if make is None:
      raise NamesOtherObjectsError(getattr(function, "text", repr(function)).replace(" ", "."))
    self._push(make(*arguments))

  def _storage(self, kind, of_type, key, location, count) -> np.ndarray:
    del location  # The device that it was on.
    if kind != "storage" or not isinstance(of_type, _Name) or of_type.text not in _STORAGES:
      raise NamesOtherObjectsError(getattr(of_type, "text", repr(of_type)).replace(" ", "."))
    if key not in self._contents:  # Read once, however often a program names it.
      self._contents[key] = self._read_storage(key)
    numbers = np.frombuffer(self._contents[key], _STORAGES[of_type.text])
    if len(numbers) != count:
      raise ValueError(f"storage {key} holds {len(numbers)} numbers instead of {count}")
    return numbers


def _tensor(storage: np.ndarray, offset: int, size: tuple, strides: tuple, *_: Any) -> np.ndarray:
  """Numbers of a storage as an array; strides count numbers."""
  if min((offset, *size, *strides)) < 0 or len(size) != len(strides):
    raise ValueError(f"a tensor has the offset {offset}, size {size} and strides {strides}")
  last = offset + sum((side - 1) * stride for side, stride in zip(size, strides))
  count = math.prod(size)
  if count > len(storage) or count and last >= len(storage):
    raise ValueError(f"a tensor of size {size} does not fit into its storage of {len(storage)} numbers")
  start = storage[offset:] if count else storage
  return np.lib.stride_tricks.as_strided(start, size, [storage.itemsize * stride for stride in strides],
                                         writeable=False)


_MAKERS: Mapping[str, Callable] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "collections OrderedDict": lambda *_: {}}
