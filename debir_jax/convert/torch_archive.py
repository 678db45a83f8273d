"""Tensors out of PyTorch's archives without PyTorch, and without running what they say.

Since version 1.6 `torch.save` writes a zip archive: `data.pkl`, a program for Python's pickle machine that puts the
state dict together, and the numbers of each storage in a file of their own. The program is read as data, see
`pickle_machine.py`.

Archives hold storages uncompressed, so arrays are never larger than the file.
"""

from collections.abc import Callable, Mapping
import math
import pathlib
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np

from debir_jax.convert.pickle_machine import Name, NamesOtherObjectsError, PickleMachine, name_of

_STORAGES = {
    "torch DoubleStorage": np.float64, "torch FloatStorage": np.float32, "torch HalfStorage": np.float16,
    "torch BFloat16Storage": jnp.bfloat16, "torch LongStorage": np.int64, "torch IntStorage": np.int32,
    "torch ShortStorage": np.int16, "torch CharStorage": np.int8, "torch ByteStorage": np.uint8,
    "torch BoolStorage": np.bool_}

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
      storages = _Storages(lambda key: _stored(archive, f"{folder}data/{key}"))
      return PickleMachine(_MAKERS, storages.find).run(_stored(archive, program))
  except ValueError:
    raise
  except Exception as error:  # A damaged file can make the readers of zip archives and of programs fail in any way.
    raise ValueError(f"{type(error).__name__}: {error}") from error


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
  if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"{name} in it is compressed, as PyTorch never writes it")
  return archive.read(name)


class _Storages:
  """Arrays of numbers in files of their own, each read once, however often a program names it."""

  def __init__(self, read: Callable[[str], bytes]):
    self._read, self._contents = read, {}

  def find(self, kind, of_type, key, location, count) -> np.ndarray:
    """What a persistent name of a tensor's storage stands for."""
    del location  # The device that it was on.
    if kind != "storage" or not isinstance(of_type, Name) or of_type.text not in _STORAGES:
      raise NamesOtherObjectsError(name_of(of_type))
    if key not in self._contents:
      self._contents[key] = self._read(key)
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
