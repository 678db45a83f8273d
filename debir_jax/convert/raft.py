"""Published RAFT weights (PyTorch) -> `debir_jax.motion.Raft`, under either of two namings of the same network.

princeton: checkpoints of https://github.com/princeton-vl/RAFT, where every name may start with "module.".
torchvision: state dicts of `torchvision.models.optical_flow.raft_small` and `raft_large`.
"""

from collections.abc import Mapping
import re

from flax import traverse_util
import jax
import numpy as np

from debir_jax.convert.parts import with_plain_names
from debir_jax.convert.state_dict import check_fits, conv_kernel, listed
from debir_jax.motion.raft import Raft

_TORCHVISION_TO_PRINCETON = (
    (r"^feature_encoder\.", "fnet."),
    (r"^context_encoder\.", "cnet."),
    (r"^(.net)\.conv\.", r"\1.conv2."),
    (r"\.convnormrelu\.", ".convnormrelu1."),
    (r"\.convnormrelu(\d)\.0\.", r".conv\1."),
    (r"\.convnormrelu(\d)\.1\.", r".norm\1."),
    (r"\.motion_encoder\.convcorr(\d)\.0\.", r".encoder.convc\1."),
    (r"\.motion_encoder\.convflow(\d)\.0\.", r".encoder.convf\1."),
    (r"\.motion_encoder\.conv\.0\.", ".encoder.conv."),
    (r"\.recurrent_block\.convgru(\d)\.conv([zrq])\.", r".gru.conv\2\1."),
    (r"^mask_predictor\.convrelu\.0\.", "update_block.mask.0."),
    (r"^mask_predictor\.conv\.", "update_block.mask.2."),
)

_PRINCETON_TO_OURS = (
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"\.layer(\d)\.(\d)\.", r".layer\1_\2."),
    (r"\.(norm3|downsample\.1)\.", ".downsample_norm."),  # One module under two names in the large network.
    (r"\.downsample\.0\.", ".downsample."),
    (r"^update_block\.encoder\.convc", "update.motion_encoder.correlation"),
    (r"^update_block\.encoder\.convf", "update.motion_encoder.flow"),
    (r"^update_block\.encoder\.conv\.", "update.motion_encoder.output."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.gru.conv\g<1>1."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update.gru\2.\1_"),
    (r"^update_block\.flow_head\.conv", "update.head"),
    (r"^update_block\.mask\.0\.", "upsampling.conv1."),
    (r"^update_block\.mask\.2\.", "upsampling.conv2."),
    (r"norm(\d?)\.weight$", r"norm\1.scale"),
    (r"weight$", "kernel"),
    (r"running_(mean|var)$", r"\1"),
)


def raft_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `Raft` from a state dict of the small or the large network, in either naming.

  Args:
    state_dict: names and arrays as princeton or torchvision publish them, see also `plain_names`.

  Returns:
    `{"params": ...}`, for the large network with "batch_stats"; numpy arrays in the types they came in.

  Raises:
    ValueError: listing by name what is missing, what is unknown, what has another shape and what is given twice.
  """
  state_dict = with_plain_names(state_dict)
  size = raft_size(state_dict)
  weights, names = {}, {}
  for name, array in state_dict.items():
    if name.endswith("num_batches_tracked"):
      continue
    path, array = raft_path(name), conv_kernel(array)
    if path in weights and not np.array_equal(weights[path], array):
      raise ValueError(f"{names[path]} and {name} are one array of the network, but differ.")
    weights[path], names[path] = array, name
  expected = traverse_util.flatten_dict(jax.eval_shape(Raft(size).init, jax.random.key(0)), sep="/")
  check_fits(weights, expected, names)
  return traverse_util.unflatten_dict(weights, sep="/")


def raft_size(state_dict: Mapping[str, np.ndarray]) -> str:
  """"small" or "large", whichever network a state dict belongs to.

  Raises:
    ValueError: it belongs to neither.
  """
  first = next((array for name, array in with_plain_names(state_dict).items()
                if raft_path(name) == "params/feature_encoder/conv1/kernel"), None)
  channels = {32: "small", 64: "large"}
  if first is None or np.shape(first)[:1] not in {(number,) for number in channels}:
    raise ValueError("This is no state dict of RAFT: fnet.conv1.weight (princeton) or "
                     "feature_encoder.convnormrelu.0.weight (torchvision) must be there and have 32 or 64 output "
                     f"channels. It has {listed(state_dict)}.")
  return channels[np.shape(first)[0]]


def raft_path(name: str) -> str:
  """`module.fnet.layer1.0.conv2.weight` -> `params/feature_encoder/layer1_0/conv2/kernel`."""
  for pattern, replacement in _TORCHVISION_TO_PRINCETON + _PRINCETON_TO_OURS:
    name = re.sub(pattern, replacement, name)
  collection = "batch_stats" if name.endswith((".mean", ".var")) else "params"
  return f"{collection}/{name.replace('.', '/')}"
