"""State dicts from files, without ever running what a file says.

A PyTorch checkpoint is a pickle, which can execute anything when it is opened in the ordinary way. Here it is opened by
PyTorch's restricted reader only (`weights_only=True`), which knows tensors and containers and refuses the rest;
safetensors and npz hold nothing but arrays.
"""

from collections.abc import Callable, Mapping
import json
import pathlib
import re
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np
import safetensors

from debir_jax.convert.state_dict import listed

# Types of numbers, by their names in safetensors.
_TYPES = dict(F64=np.float64, F32=np.float32, F16=np.float16, BF16=jnp.bfloat16, I64=np.int64, I32=np.int32,
              I16=np.int16, I8=np.int8, U64=np.uint64, U32=np.uint32, U16=np.uint16, U8=np.uint8,
              BOOL=np.bool_)
_REFUSED = "Weights only load failed"  # How PyTorch's restricted reader begins where it refuses.


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Names and arrays of a PyTorch state dict; floating-point numbers of any precision as float32.

  Args:
    path: `.pt`, `.pth`, `.ckpt` or `.bin` of PyTorch (which must then be installed), `.safetensors` or `.npz`. Where
      the file holds a dictionary with "state_dict", as checkpoints of PyTorch Lightning do, that is taken.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: PyTorch is needed and absent.
    ValueError: the file is empty, damaged, of another kind, holds other objects than arrays, or no state dict.
  """
  path = pathlib.Path(path).expanduser()
  if path.suffix not in _READERS:
    raise ValueError(f"Cannot tell what {path} is; its name must end with one of {', '.join(_READERS)}.")
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}.")
  if not path.stat().st_size:
    raise ValueError(f"{path} is empty. Download it again.")
  state_dict = _READERS[path.suffix](path)
  if not state_dict:
    raise ValueError(f"{path} holds no weights.")
  arrays = {name: _as_float32(array) for name, array in state_dict.items()}
  strange = [f"{name} ({array.dtype})" for name, array in arrays.items() if array.dtype.kind not in "fiub"]
  if strange:
    raise ValueError(f"{path} holds arrays that are no real numbers: {listed(strange)}.")
  return arrays


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
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
    raise _damaged(path, error) from error


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import torch  # Nothing else in this package needs it.
  except ImportError as error:
    raise ImportError(f"{path} is a file of PyTorch: `pip install \"debir_jax[torch]\"`, or save its state dict as "
                      "safetensors where PyTorch is.") from error
  try:
    content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # A damaged or hostile file can make the reader fail in any way.
    raise (_refused(path, error) if _REFUSED in str(error) else _damaged(path, error)) from error
  if isinstance(content, Mapping) and "state_dict" in content:
    content = content["state_dict"]
  _check_state_dict(path, content, lambda value: isinstance(value, torch.Tensor) and _is_dense(value))
  to_float = lambda tensor: tensor.float() if tensor.is_floating_point() else tensor  # NumPy has no bfloat16.
  return {name: to_float(tensor.detach()).numpy() for name, tensor in content.items()}


def _is_dense(tensor: Any) -> bool:
  return str(tensor.layout) == "torch.strided" and not tensor.is_quantized and str(tensor.device) == "cpu"


def _check_state_dict(path: pathlib.Path, content: Any, is_array: Callable[[Any], bool]) -> None:
  if not isinstance(content, Mapping):
    raise ValueError(f"{path} holds no state dict but an object of type {type(content).__name__}. A state dict maps "
                     "names to tensors, at the top or under \"state_dict\".")
  wrong = [f"{name} ({type(value).__name__})" for name, value in content.items()
           if not isinstance(name, str) or not is_array(value)]
  if wrong:
    raise ValueError(f"{path} holds no state dict: these entries are no dense tensors: {listed(wrong)}.")


def _refused(path: pathlib.Path, error: Exception) -> ValueError:
  named = re.search(r"GLOBAL (\S+)", str(error))
  found = f"holds other Python objects beside its weights ({named[1]})" if named else (
      "is damaged, or holds other Python objects beside its weights")
  return ValueError(
      f"{path} {found}. Opening them could run any code, so they are refused. If you trust where the file comes from, "
      "save its weights alone, on a machine that may run what is in it:\n"
      "  import torch\n"
      f"  checkpoint = torch.load({json.dumps(path.name)}, map_location=\"cpu\", weights_only=False)\n"
      "  torch.save({name: tensor for name, tensor in checkpoint[\"state_dict\"].items()}, \"weights_only.pt\")\n"
      "then convert weights_only.pt.")


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
  reason = next(iter(str(error).splitlines()), repr(error))
  return ValueError(f"{path} is damaged, or no {path.suffix} file: {reason}")


def _as_float32(array: np.ndarray) -> np.ndarray:
  array = np.asarray(array)
  return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


_READERS = {".pt": _read_torch, ".pth": _read_torch, ".ckpt": _read_torch, ".bin": _read_torch,
            ".safetensors": _read_safetensors, ".npz": _read_npz}
