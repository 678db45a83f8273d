"""Arrays of NumPy out of pickled dictionaries, as early JAX projects kept weights, without running what they say.

The program is read as data, see `pickle_machine.py`: it may name arrays and their types, nothing else.
"""

from collections.abc import Mapping
import math
import pathlib
from typing import Any

import numpy as np

from debir_jax.convert.pickle_machine import PickleMachine

_PICKLE, _TORCH = b"\x80", b"\x80\x02\x8a\nl\xfc\x9c"  # What files begin with; the other one is PyTorch's before 1.6.
_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_BYTE_ORDERS = ("<", "|")


def is_plain_pickle(path: pathlib.Path) -> bool:
  """Whether a file is a pickle by itself, and none of PyTorch's."""
  with open(path, "rb") as file:
    start = file.read(len(_TORCH))
  return start.startswith(_PICKLE) and start != _TORCH


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Arrays of nested dictionaries, by their names joined with "/".

  Raises:
    NamesOtherObjectsError: the file names objects other than arrays.
    ValueError: it is damaged, or holds something else than dictionaries of arrays.
  """
  try:
    return dict(_leaves(PickleMachine(_MAKERS).run(path.read_bytes()), ()))
  except ValueError:
    raise
  except Exception as error:  # A damaged program can make its reader fail in any way.
    raise ValueError(f"{type(error).__name__}: {error}") from error


def _leaves(node, names):
  if isinstance(node, _Array):
    yield "/".join(names), node.array()
  elif isinstance(node, Mapping) and all(isinstance(name, str) for name in node):
    for name, inner in node.items():
      yield from _leaves(inner, (*names, name))
  else:
    raise ValueError(f"{'/'.join(names) or 'it'} is no array but a {type(node).__name__}")


class _Type:
  """A type of numbers."""

  def __init__(self, text: str, *_: Any):
    if text not in _TYPES:
      raise ValueError(f"it holds numbers of the type {text!r}")
    self.dtype = np.dtype(text)

  def finish(self, state: Any) -> None:
    """Its byte order."""
    if state[1] not in _BYTE_ORDERS:
      raise ValueError("its numbers are big-endian")


class _Array:
  """An array, whose numbers come after it was made."""

  def __init__(self, *_: Any):
    self._found = None

  def finish(self, state: Any) -> None:
    """(version, shape, type, whether in Fortran's order, numbers)."""
    _, shape, of_type, is_fortran, content = state
    if not isinstance(of_type, _Type) or not isinstance(content, bytes) or min(shape, default=0) < 0:
      raise ValueError("it holds an array of something else than numbers")
    if math.prod(shape) * of_type.dtype.itemsize != len(content):
      raise ValueError(f"an array {shape} of {of_type.dtype} does not fit {len(content)} bytes")
    self._found = np.frombuffer(content, of_type.dtype).reshape(shape, order="F" if is_fortran else "C")

  def array(self) -> np.ndarray:
    """The array, read-only."""
    if self._found is None:
      raise ValueError("an array in it has no numbers")
    return self._found


# NumPy moved its modules in version 2.
_MAKERS = {"numpy dtype": _Type, "numpy.core.multiarray _reconstruct": _Array,
           "numpy._core.multiarray _reconstruct": _Array}
