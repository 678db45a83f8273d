"""BAENet of the authors' release (PyTorch, MobileNetV2 in torchvision's layout) -> `debir_jax.policies.BAENet`."""

from collections.abc import Mapping
import re

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.convert.parts import with_plain_names
from debir_jax.convert.state_dict import check_fits, listed
from debir_jax.policies.baenet import BAENet

_PREFIX = re.compile(r"^((bae|pred)net\.)?(mobilenet\.)?")
_LAST_BLOCK_CHANNELS = 320  # At width 1.
_IMAGENET_CLASSES = 1000
_LEAVES = {"running_mean": "mean", "running_var": "var", "bias": "bias"}


def baenet_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `BAENet` from a state dict of torchvision's `mobilenet_v2`.

  Planes, burst length and width are read off the state dict; see `baenet_config`.

  Args:
    state_dict: names and arrays, with or without "baenet.", "prednet." and "mobilenet." before the names, and what
      `plain_names` leaves out; `num_batches_tracked` is ignored.

  Returns:
    `{"params": ..., "batch_stats": ...}` of numpy arrays in the types they came in.

  Raises:
    ValueError: listing by name what is missing, what is unknown, what has another shape and what is given twice.
  """
  state_dict = with_plain_names(state_dict)
  config = baenet_config(state_dict)
  planes = jax.ShapeDtypeStruct((1, 32, 32, config.pop("num_planes")), jnp.float32)
  module = BAENet(**config)
  expected = jax.eval_shape(lambda planes: module.init(jax.random.key(0), planes, train=False), planes)
  weights, names = {}, {}
  for name, array in state_dict.items():
    if name.endswith("num_batches_tracked"):
      continue
    path = baenet_path(name)
    if path in weights:
      raise ValueError(f"{names[path]} and {name} are one array of the network; remove one of them.")
    weights[path], names[path] = _turned(path, array), name
  check_fits(weights, traverse_util.flatten_dict(expected, sep="/"), names)
  return traverse_util.unflatten_dict(weights, sep="/")


def baenet_config(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Arguments of the `BAENet` that a state dict belongs to, and `num_planes` that it sees.

  Raises:
    ValueError: it is no state dict of MobileNetV2, or of the one that sorts photos.
  """
  shapes = {_PREFIX.sub("", name): np.shape(array) for name, array in with_plain_names(state_dict).items()}
  needed = {"features.0.0.weight": 4, "features.18.0.weight": 4, "classifier.1.weight": 2}
  wrong = [f"{name} {shapes.get(name, '')}".strip() for name, rank in needed.items()
           if len(shapes.get(name, ())) != rank]
  if wrong:
    raise ValueError("This is no state dict of BAENet (torchvision's MobileNetV2); missing or with other axes: "
                     f"{', '.join(wrong)}. It has {listed(state_dict)}.")
  num_planes, num_outputs = shapes["features.0.0.weight"][1], shapes["classifier.1.weight"][0]
  if num_outputs == _IMAGENET_CLASSES:
    raise ValueError(f"This is MobileNetV2 for the {num_outputs} classes of ImageNet, not a BAENet, whose last layer "
                     "has an output for every frame and one more.")
  return {"num_planes": num_planes, "num_frames": num_outputs - 1,
          "width": shapes["features.18.0.weight"][1] / _LAST_BLOCK_CHANNELS}


def baenet_path(name: str) -> str:
  """`baenet.mobilenet.features.2.conv.1.0.weight` -> `params/mobilenet_v2/block_1/depthwise_conv/kernel`."""
  layer, _, leaf = _PREFIX.sub("", name).rpartition(".")
  layer = _our_layer(layer)
  if leaf == "weight":
    leaf = "scale" if layer.endswith("_norm") else "kernel"
  collection = "batch_stats" if leaf.startswith("running_") else "params"
  return f"{collection}/mobilenet_v2/{layer}/{_LEAVES.get(leaf, leaf)}"


def _our_layer(layer: str) -> str:
  """`features.2.conv.1.0` -> `block_1/depthwise_conv`; what is no layer of the network stays as it is."""
  whole = {"features.0.0": "stem_conv", "features.0.1": "stem_norm", "features.18.0": "head_conv",
           "features.18.1": "head_norm", "classifier.1": "classifier"}
  if layer in whole:
    return whole[layer]
  match = re.fullmatch(r"features\.(\d+)\.conv\.(\d(?:\.\d)?)", layer)
  if not match:
    return layer
  index, place = int(match[1]), match[2]
  roles = {"0.0": "expand_conv", "0.1": "expand_norm", "1.0": "depthwise_conv", "1.1": "depthwise_norm",
           "2": "project_conv", "3": "project_norm"}
  if index == 1:  # The first block does not widen.
    roles = {"0.0": "depthwise_conv", "0.1": "depthwise_norm", "1": "project_conv", "2": "project_norm"}
  return f"block_{index - 1}/{roles[place]}" if place in roles else layer


def _turned(path: str, array: np.ndarray) -> np.ndarray:
  """`[out, in, H, W]` as `[H, W, in, out]`, 1x1 convolutions and the last layer as `[in, out]`."""
  array = np.asarray(array)
  if not path.endswith("/kernel") or array.ndim not in (2, 4):
    return array
  if array.ndim == 4 and "depthwise" not in path and array.shape[2:] == (1, 1):
    array = array[:, :, 0, 0]
  return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
