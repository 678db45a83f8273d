"""The weights that come with the package, by name."""

import pathlib

DEFAULT = "small"

_FOLDER = pathlib.Path(__file__).parent
# Files of a restorer and of a BAENet.
_SHIPPED = {
    "small": ("small/restorer.safetensors", "small/baenet.safetensors"),
    "small_stage1": ("small/restorer_stage1.safetensors", "small/baenet.safetensors"),
    "small_one_time": ("small_one_time/restorer.safetensors", "small_one_time/baenet.safetensors"),
    "small_burst_sizes": ("small_burst_sizes/restorer.safetensors", "small_burst_sizes/baenet.safetensors"),
}


def list_weights() -> tuple[str, ...]:
  """Names of the weights inside the package, the default first.

  "small": a restorer (`AlignedUNet`) of 596,788 parameters, fine-tuned under BAENet's exposure times, and a BAENet of
  63,221, for bursts of four frames. "small_stage1": the same BAENet, with the restorer as it was before that, trained
  on exposure times at random: compare fixed exposure times under this one. "small_one_time": a BAENet of 59,378
  parameters that predicts one exposure time for all frames, and a restorer that was fine-tuned under it, from the same
  stage 1: what times of their own are worth. "small_burst_sizes": a pair of 604,564 and 92,684 parameters for bursts of
  two, four, six and eight frames, which also chooses how many.
  """
  return tuple(_SHIPPED)


def shipped_files(name: str) -> tuple[pathlib.Path, pathlib.Path]:
  """Files of the restorer and of the BAENet of a name in `list_weights`."""
  restorer, predictor = _SHIPPED[name]
  return _FOLDER / restorer, _FOLDER / predictor
