"""State dicts from files, without ever running what a file says.

A PyTorch checkpoint is a pickle, which can execute anything when it is opened in the ordinary way. Here it is opened by
PyTorch's restricted reader only (`weights_only=True`), which knows tensors and containers and refuses the rest;
safetensors and npz hold nothing but arrays. Its own messages advise to open a file that is refused in the ordinary way
after all; they are not handed on. Without PyTorch, archives of its present format are read by `torch_archive`.
"""

from collections.abc import Callable, Mapping
import json
import pathlib
import re
from typing import Any
import warnings
import zipfile

import jax.numpy as jnp
import numpy as np
import safetensors

from debir_jax.convert import numpy_pickle, torch_archive
from debir_jax.convert.pickle_machine import NamesOtherObjectsError
from debir_jax.convert.state_dict import listed
from debir_jax.runtime.files import check_downloaded, local_path

# Types of numbers, by their names in safetensors.
_TYPES = dict(F64=np.float64, F32=np.float32, F16=np.float16, BF16=jnp.bfloat16, I64=np.int64, I32=np.int32,
              I16=np.int16, I8=np.int8, U64=np.uint64, U32=np.uint32, U16=np.uint16, U8=np.uint8,
              BOOL=np.bool_)
# Where checkpoints keep a state dict; first those of weights that were averaged over training, which are preferred.
_AVERAGED = ("params_ema", "ema", "model_ema")
_PLACES = ("state_dict", "model", "params", "network", "net", "module", "model_state_dict")
_DEPTH = 4  # Of places within places.


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Names and arrays of a PyTorch state dict; floating-point numbers of any precision as float32.

  Args:
    path: `.pt`, `.pth`, `.ckpt`, `.bin` or `.pkl` of PyTorch (which formats before version 1.6 need), also followed by
      `.tar`;
      `.safetensors` or `.npz`; in capitals too. Where a file of PyTorch holds a dictionary with "state_dict", "model",
      "params", "network", "net", "module" or "model_state_dict", what is below is taken, through several of them.
      Averaged weights, "params_ema", "ema" or "model_ema", go first.

  Returns:
    Arrays by the names that the file has for them, see `plain_names`.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: PyTorch is needed and absent.
    ValueError: the file is empty, damaged, of another kind, holds other objects than arrays, no state dict, or several.

  Warns:
    UserWarning: averaged weights are taken, and others are there.
  """
  path = local_path(path, "path")
  reader = _READERS.get(_kind(path))
  if reader is None:
    raise ValueError(f"Cannot tell what {path} is; its name must end with one of {', '.join(_READERS)}.")
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}.")
  check_downloaded(path)
  state_dict = reader(path)
  if not state_dict:
    raise ValueError(f"{path} holds no weights.")
  arrays = {name: _as_float32(array) for name, array in state_dict.items()}
  strange = [f"{name} ({array.dtype})" for name, array in arrays.items() if array.dtype.kind not in "fiub"]
  if strange:
    raise ValueError(f"{path} holds arrays that are no real numbers: {listed(strange)}.")
  return arrays


def _kind(path: pathlib.Path) -> str:
  """`.pth` of `raft.PTH` and of `raft.pth.tar`, which is no archive but a custom."""
  suffixes = [suffix.lower() for suffix in path.suffixes]
  return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".tar" else suffixes[-1] if suffixes else ""


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    arrays = dict(safetensors.deserialize(path.read_bytes()))
  except safetensors.SafetensorError as error:
    raise _damaged(path, error) from error
  strange = [f"{name} ({array['dtype']})" for name, array in arrays.items() if array["dtype"] not in _TYPES]
  if strange:
    raise ValueError(f"{path} holds numbers of types that cannot be read: {listed(strange)}. Save them as float32.")
  return {name: np.frombuffer(array["data"], _TYPES[array["dtype"]]).reshape(array["shape"])
          for name, array in arrays.items()}


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except Exception as error:  # A damaged file can make the reader fail in any way.
    raise _damaged(path, error) from error


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
  if numpy_pickle.is_plain_pickle(path):
    return _read_data(path, numpy_pickle.read_arrays)
  try:
    import torch  # Nothing else in this package needs it.
  except ImportError as error:
    if zipfile.is_zipfile(path):
      return _read_archive(path)
    raise ImportError(f"{path} is a file of PyTorch: `pip install \"debir_jax[torch]\"`, or save its state dict as "
                      "safetensors where PyTorch is.") from error
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Of old formats: what cannot be read is told below.
      content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # A damaged or hostile file can make the reader fail in any way.
    raise _unreadable(path, str(error) or repr(error)) from None
  content = _state_dict_in(path, content, lambda value: isinstance(value, torch.Tensor) and _is_dense(value))
  to_float = lambda tensor: tensor.float() if tensor.is_floating_point() else tensor  # NumPy has no bfloat16.
  return {name: to_float(tensor).numpy(force=True) for name, tensor in content.items()}


def _read_archive(path: pathlib.Path) -> dict[str, np.ndarray]:
  """`_read_torch` without PyTorch."""
  content = _read_data(path, torch_archive.read_archive)
  return dict(_state_dict_in(path, content, lambda value: isinstance(value, np.ndarray)))


def _read_data(path: pathlib.Path, read: Callable[[pathlib.Path], Any]) -> Any:
  """What a reader of programs as data finds; its errors name the file."""
  try:
    return read(path)
  except NamesOtherObjectsError as error:
    raise _refused(path, str(error)) from error
  except ValueError as error:
    raise _damaged(path, error) from error


def _is_dense(tensor: Any) -> bool:
  return str(tensor.layout) == "torch.strided" and not tensor.is_quantized and str(tensor.device) == "cpu"


def _state_dict_in(path: pathlib.Path, content: Any, is_array: Callable[[Any], bool]) -> Mapping[str, Any]:
  """The state dict in what a file holds, wherever it is.

  Raises:
    ValueError: there is none, or several; with what is there instead.
  """
  found = _below(path, content, is_array, _DEPTH)
  if found is not None:
    return found
  for _ in range(_DEPTH):  # To where the state dict should be, to tell what is there.
    place = next((place for place in (*_AVERAGED, *_PLACES) if isinstance(content, Mapping) and place in content), None)
    if place is None or any(map(is_array, content.values())):
      break
    content = content[place]
  if not isinstance(content, Mapping):
    raise ValueError(f"{path} holds no state dict but an object of type {type(content).__name__}. A state dict maps "
                     f"names to tensors, at the top or under one of {', '.join((*_AVERAGED, *_PLACES))}.")
  wrong = [f"{name} ({type(value).__name__})" for name, value in content.items()
           if not isinstance(name, str) or not is_array(value)]
  if wrong:
    raise ValueError(f"{path} holds no state dict: these entries are no dense tensors: {listed(wrong)}. A state dict "
                     f"is looked for at the top and under {', '.join((*_AVERAGED, *_PLACES))}.")
  return content


def _below(path: pathlib.Path, content: Any, is_array: Callable[[Any], bool], depth: int) -> Mapping[str, Any] | None:
  """`content` itself, or what is in one of the places below, where it is a state dict that is not empty."""
  if not isinstance(content, Mapping) or not content or not depth:
    return None
  if all(isinstance(name, str) and is_array(value) for name, value in content.items()):
    return content
  below = {place: _below(path, content.get(place), is_array, depth - 1) for place in (*_AVERAGED, *_PLACES)}
  places = [place for place in below if below[place] is not None]
  chosen = [place for place in places if place in _AVERAGED] or places
  if len(chosen) > 1:
    raise ValueError(f"{path} holds weights under {' and '.join(map(repr, chosen))}. Save those that are meant alone: "
                     f"torch.save(torch.load({json.dumps(path.name)}, weights_only=True)[...], \"weights_only.pt\").")
  if len(places) > 1:
    others = " and ".join(repr(place) for place in places if place not in chosen)
    warnings.warn(f"{path} holds weights under {chosen[0]!r} and {others}. Those under {chosen[0]!r} are taken, which "
                  f"were averaged over training; to convert {others}, save them alone.", stacklevel=4)
  return below[chosen[0]] if chosen else None


def _unreadable(path: pathlib.Path, reason: str) -> ValueError:
  """What is wrong with a file that PyTorch's restricted reader did not read."""
  named = re.search(r"GLOBAL (\S+)", reason)
  if named:
    return _refused(path, named[1])
  if "TorchScript" in reason:
    return ValueError(f"{path} is a program of TorchScript, not weights alone, and is not run. Save its "
                      "`state_dict()` with `torch.save`, where it was made.")
  if "weights_only" in reason:  # PyTorch's advice, not a reason.
    with open(path, "rb") as file:
      reason = f"it begins with {file.read(16)!r}" if "operand" in reason else "it holds something else than tensors"
  return _damaged(path, ValueError(reason))


def _refused(path: pathlib.Path, named: str) -> ValueError:
  return ValueError(
      f"{path} holds other Python objects beside its weights ({named}). Opening them could run any code, so they are "
      "refused. Ask those who trained it for its weights alone: as safetensors, or as `torch.save(model.state_dict(), "
      "\"weights_only.pt\")` makes them where it was trained. If it is your own file, these lines do the same, and "
      "open no object of a class that you do not name:\n"
      "  import torch\n"
      "  torch.serialization.add_safe_globals([])  # Within the brackets only classes that you know, or none.\n"
      f"  checkpoint = torch.load({json.dumps(path.name)}, map_location=\"cpu\", weights_only=True)\n"
      "  torch.save(checkpoint[\"state_dict\"], \"weights_only.pt\")\n"
      "then convert weights_only.pt.")


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
  reason = next(iter(str(error).split("\n")), "").strip() or repr(error)
  return ValueError(f"{path} is damaged, or no {_kind(path)} file: {reason}")


def _as_float32(array: np.ndarray) -> np.ndarray:
  array = np.asarray(array)
  return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


_READERS = {".pt": _read_torch, ".pth": _read_torch, ".ckpt": _read_torch, ".bin": _read_torch, ".pkl": _read_torch,
            ".safetensors": _read_safetensors, ".npz": _read_npz}
