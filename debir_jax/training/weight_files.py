"""Networks from a folder of weight files, in the place of checkpoints; `debir_jax.convert` writes such folders."""

import pathlib
from typing import Any, Sequence

import jax
import jax.numpy as jnp

from debir_jax.config.compatibility import OF_BURST_LENGTH, check_compatible
from debir_jax.restoration.aligned_unet import variables_for_frames
from debir_jax.training.state import TrainState, split_variables
from debir_jax.weights.descriptions import with_defaults
from debir_jax.weights.weight_file import BAENET_FILE, RESTORER_FILE, load_weights

_FILES = dict(restoration=RESTORER_FILE, bae=BAENET_FILE)


def is_weight_folder(folder: pathlib.Path) -> bool:
  """Whether a folder holds weights of a network."""
  return any((folder / name).is_file() for name in _FILES.values())


def load_weight_files(state: TrainState, folder: pathlib.Path, compatibility: dict[str, Any],
                      parts: Sequence[str], *, restorer_file: str = RESTORER_FILE) -> TrainState:
  """`state` with the weights of the named networks replaced by those in a folder; optimizer states stay.

  Args:
    state: of the networks that `compatibility` describes.
    folder: see `is_weight_folder`.
    compatibility: what each network is used for; as with checkpoints, another one is refused.
    parts: "restoration", "bae".
    restorer_file: name of the restorer's file.

  Raises:
    FileNotFoundError: there is no file of a network.
    ValueError: a file was made for something else, or is damaged.
  """
  for part in parts:
    path = folder / (restorer_file if part == "restoration" else _FILES[part])
    variables = _load_compatible(path, part, compatibility)
    known = dict(params=getattr(state, f"{part}_params"), **getattr(state, f"{part}_stats"))
    params, stats = split_variables(_like(known, variables, path))
    state = state.replace(**{f"{part}_params": params, f"{part}_stats": stats})
  return state


def load_restorer_of_other_bursts(state: TrainState, folder: pathlib.Path, compatibility: dict[str, Any],
                                  *, restorer_file: str = RESTORER_FILE) -> TrainState:
  """`state` with the restorer of a folder that is for bursts of another length: a start for training.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it was made for something else but for the length of bursts, is damaged, or no `AlignedUNet`.
  """
  path = folder / restorer_file
  wanted = compatibility["restoration"]
  if (name := wanted["architecture"]["name"]) != "aligned_unet":
    raise ValueError(f"config.init_from_other_bursts: only aligned_unet can start from weights for bursts of another "
                     f"length, not {name}. Train stage 1 from random weights.")
  variables = variables_for_frames(_load_compatible(path, "restoration", compatibility, OF_BURST_LENGTH),
                                   wanted["trained_for"]["timing"]["num_frames"])
  return state.replace(restoration_params=_like(dict(params=state.restoration_params), variables, path)["params"])


def fit(folder: pathlib.Path, compatibility: dict[str, Any], parts: Sequence[str], *,
        restorer_file: str = RESTORER_FILE, other_bursts: bool = False) -> bool:
  """Whether a folder has the named networks, made for what they are to be used for: `load_weight_files` takes them.

  With `other_bursts`, also for bursts of another length: `load_restorer_of_other_bursts` takes them.
  """
  try:
    for part in parts:
      _load_compatible(folder / (restorer_file if part == "restoration" else _FILES[part]), part, compatibility,
                       OF_BURST_LENGTH if other_bursts else ())
  except (FileNotFoundError, ValueError):
    return False
  return True


def _load_compatible(path, part, compatibility, except_for=()) -> Any:
  """Variables of a file; raises a ValueError where its network was made for something else, but for some fields."""
  variables, description = load_weights(path)
  wanted = compatibility[part]
  found = {name: description.get(name, {}) for name in wanted}
  check_compatible(with_defaults(part, found), wanted, f"{part} network in {path}", except_for=except_for)
  return variables


def _like(known: Any, found: Any, path: pathlib.Path) -> Any:
  """`found` as arrays of the types of `known`."""
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)
  if shapes(known) != shapes(found):
    raise ValueError(f"{path} does not hold the network that it describes. Convert it again.")
  return jax.tree.map(lambda known, found: jnp.asarray(found, known.dtype), known, found)
