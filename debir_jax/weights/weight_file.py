"""Weights of one network in one file: safetensors, with a description of what they are for in its header.

The format holds arrays and text, nothing that could execute. Names are paths, "params/align/down1/bias".
"""

import json
import pathlib
from typing import Any

from flax import traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from debir_jax.runtime.files import check_downloaded, write_bytes
from debir_jax.weights.checksums import check_checksum

# A folder of weights holds one file per network.
RESTORER_FILE, BAENET_FILE, RAFT_FILE = "restorer.safetensors", "baenet.safetensors", "raft.safetensors"
RESTORER_STAGE1_FILE = "restorer_stage1.safetensors"  # Before fine-tuning: what fixed exposures are compared under.
LPIPS_FILE = "lpips.safetensors"
RIFE_FILE = "rife.safetensors"

FORMAT = 2  # Of the description. 2: architecture and what it was trained for, instead of a part of a config.
_HEADER = "debir_jax"


def save_weights(path: pathlib.Path, variables: dict[str, Any], description: dict[str, Any]) -> None:
  """Writes Flax variables, and what they are for, in one go.

  Args:
    path: conventionally `*.safetensors`; replaced where it exists.
    variables: nested dictionaries of arrays, e.g. `{"params": ..., "batch_stats": ...}`.
    description: JSON, see `descriptions.py`; `load_weights` gives it back.
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  arrays = {name: np.ascontiguousarray(array) for name, array in flat.items()}
  header = {_HEADER: json.dumps(dict(format=FORMAT) | description)}
  write_bytes(pathlib.Path(path), safetensors.numpy.save(arrays, header))


def load_weights(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """Variables (of numpy arrays) and description as `save_weights` wrote them.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged, of another format, was not written by `save_weights`, or is not the file of SHA256SUMS
      beside it.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"There are no weights at {path}. `python -m debir_jax.convert --help` tells how to make "
                            "them from a PyTorch checkpoint.")
  check_downloaded(path)
  check_checksum(path)
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      header = (file.metadata() or {}).get(_HEADER)
      flat = {name: file.get_tensor(name) for name in file.keys()}
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is damaged or no safetensors file: {error}.") from error
  if header is None:
    raise ValueError(f"{path} was not written by debir_jax: it does not say what its weights are for. Convert it with "
                     "`python -m debir_jax.convert`.")
  description = _parsed(path, header)
  found = description.pop("format", 1)
  if found != FORMAT:
    remedy = ("Update the package." if found > FORMAT else
              "Make it again with `python -m debir_jax.convert`, from the checkpoint or run that it came from.")
    raise ValueError(f"{path} has format {found} of debir_jax's weight files, this version reads format {FORMAT}. "
                     f"{remedy}")
  return traverse_util.unflatten_dict(flat, sep="/"), description


def _parsed(path: pathlib.Path, header: str) -> dict[str, Any]:
  try:
    description = json.loads(header)
  except ValueError as error:
    raise ValueError(f"{path} is damaged: its description is no JSON ({error}).") from error
  if not isinstance(description, dict):
    raise ValueError(f"{path} is damaged: its description is {description!r}, no dictionary.")
  return description
