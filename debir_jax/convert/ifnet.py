"""Published RIFE weights (PyTorch, `flownet.pkl` of version 4.2x) -> `debir_jax.scenes.ifnet.IFNet`."""

from collections.abc import Mapping
import re

from flax import traverse_util
import jax
import numpy as np

from debir_jax.convert.parts import with_plain_names
from debir_jax.convert.state_dict import check_fits, conv_kernel
from debir_jax.scenes.ifnet import init_ifnet

_TRAINING_ONLY = ("teacher.", "caltime.")  # Networks that taught it, and one that it does not use.
_PUBLISHED_TO_OURS = (
    (r"\.conv0\.(\d)\.0\.", r".down\1."),
    (r"\.convblock\.(\d)\.beta$", r".residual\1.scale"),
    (r"\.convblock\.(\d)\.", r".residual\1."),
    (r"\.lastconv\.0\.", ".up."),
    (r"^encode\.cnn", "encoder.conv"),
    (r"weight$", "kernel"),
)
_TRANSPOSED = re.compile(r"(lastconv\.0|encode\.cnn3)\.weight$")


def ifnet_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `IFNet` from a state dict of RIFE 4.2x; what only its training used is left out.

  Args:
    state_dict: names and arrays as published, see also `plain_names`.

  Returns:
    `{"params": ...}`, numpy arrays in the types they came in.

  Raises:
    ValueError: listing by name what is missing, what is unknown and what has another shape, as for other versions.
  """
  state_dict = {name: array for name, array in with_plain_names(state_dict).items()
                if not name.startswith(_TRAINING_ONLY)}
  names = {ifnet_path(name): name for name in state_dict}
  weights = {path: _array(name, state_dict[name]) for path, name in names.items()}
  expected = traverse_util.flatten_dict(jax.eval_shape(init_ifnet, jax.random.key(0)), sep="/")
  check_fits(weights, expected, names)
  return traverse_util.unflatten_dict(weights, sep="/")


def ifnet_path(name: str) -> str:
  """`block0.convblock.3.conv.weight` -> `params/block0/residual3/conv/kernel`."""
  for pattern, replacement in _PUBLISHED_TO_OURS:
    name = re.sub(pattern, replacement, name)
  return f"params/{name.replace('.', '/')}"


def _array(name, array):
  if name.endswith(".beta"):
    return np.reshape(array, -1)
  if _TRANSPOSED.search(name):  # [in, out, H, W], and PyTorch's kernels of transposed convolutions are mirrored.
    return np.transpose(np.asarray(array)[:, :, ::-1, ::-1], (2, 3, 0, 1))
  return conv_kernel(array)
