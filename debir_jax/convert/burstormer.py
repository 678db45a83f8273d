"""The published de-noising Burstormer (PyTorch) -> `debir_jax.restoration.Burstormer`."""

from collections.abc import Mapping

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.convert.parts import with_plain_names
from debir_jax.convert.state_dict import check_fits, conv_kernel, listed
from debir_jax.restoration.burstormer import Burstormer

_PUBLISHED_DEFORM_GROUPS = 8


def burstormer_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `Burstormer` from the state dict of the published de-noising network.

  Features, frames, blocks, input and output channels are read off the state dict; see `burstormer_config`. It may be
  the network for color or grey images too, see `check_restores_raw`.

  Args:
    state_dict: names and arrays of https://github.com/akshaydudhane16/Burstormer, "Burst De-noising/Network.py"; see
      also `plain_names`.

  Returns:
    `{"params": ...}` of numpy arrays in the types they came in.

  Raises:
    ValueError: listing by name what is missing, what is unknown and what has another shape; or it is the network for
      super-resolution.
  """
  state_dict = with_plain_names(state_dict)
  model, burst_shape = _burstormer_for(state_dict)
  expected = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(burst_shape, jnp.float32))
  expected = traverse_util.flatten_dict(expected["params"], sep="/")
  names = {burstormer_path(name): name for name in state_dict}
  params = {path: conv_kernel(state_dict[name]) for path, name in names.items()}
  check_fits(params, expected, names)
  return {"params": traverse_util.unflatten_dict(params, sep="/")}


def burstormer_path(name: str) -> str:
  """`align.encoder_level1.0.norm1.body.weight` -> `align/encoder_level1_0/norm1/scale`."""
  parts = []
  for part in name.split("."):
    if part.isdigit() and parts[-1:] and parts[-1].startswith("encoder"):
      parts[-1] += f"_{part}"
    elif not part.isdigit() and part != "body":
      parts.append(part)
  if parts[-2:-1] == ["deform"]:
    return "/".join(parts[:-2] + [{"weight": "deform_kernel", "bias": "deform_bias"}.get(parts[-1], name)])
  if parts[-1] == "weight":
    parts[-1] = "scale" if parts[-2:-1] in (["norm1"], ["norm2"]) else "kernel"
  return "/".join(parts)


def burstormer_config(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Arguments of the `Burstormer` that a state dict belongs to."""
  state_dict = with_plain_names(state_dict)
  return {
      "num_features": state_dict["conv1.0.weight"].shape[0],
      "out_channels": state_dict["out_conv.0.weight"].shape[0],
      "blocks_per_level": tuple(_num_blocks(state_dict, f"align.encoder_level{level}.") for level in (1, 2)),
      "fusion_blocks": _num_blocks(state_dict, "back_projection1.encoder1."),
      "deform_groups": _deform_groups(state_dict),
  }


def burstormer_frames(state_dict: Mapping[str, np.ndarray]) -> int:
  """Frames of the bursts that a state dict belongs to."""
  state_dict = with_plain_names(state_dict)
  return state_dict["rec_conv1.0.weight"].shape[1] // state_dict["conv1.0.weight"].shape[0]


def burstormer_channels(state_dict: Mapping[str, np.ndarray]) -> int:
  """Channels of a frame that the network sees."""
  return with_plain_names(state_dict)["conv1.0.weight"].shape[1]


def check_restores_raw(state_dict: Mapping[str, np.ndarray]) -> None:
  """Raises a ValueError, a sentence, for the weights of a published Burstormer that does not restore packed RAW: those
  for color or grey images, and for super-resolution or enhancement."""
  state_dict = with_plain_names(state_dict)
  _check_keeps_size(state_dict)
  seen, given = (np.shape(state_dict.get(name, ())) for name in ("conv1.0.weight", "out_conv.0.weight"))
  if len(seen) == len(given) == 4 and given[0] != 4:
    images = {3: "color images", 1: "grey images"}.get(given[0], "other images")
    raise ValueError(f"These are weights of the Burstormer that de-noises {images} ({seen[1]} channels in, {given[0]} "
                     "out), which no config makes fit, as a restorer of DEBIR gives packed RAW (4 channels out).")


def _check_keeps_size(state_dict):
  larger = sorted(name for name in state_dict if name.startswith(("up1.", "up2.", "up3.")))
  if larger:
    raise ValueError("These are weights of the Burstormer for super-resolution or enhancement, whose last layers make "
                     f"the image larger ({', '.join(larger)}), not of the one that de-noises, the only one that can be "
                     "converted.")


def _burstormer_for(state_dict):
  _check_keeps_size(state_dict)
  shapes = {name: np.shape(state_dict.get(name, ())) for name in
            ("conv1.0.weight", "rec_conv1.0.weight", "out_conv.0.weight")}
  wrong = [f"{name} {shape}" for name, shape in shapes.items() if len(shape) != 4]
  if wrong:
    raise ValueError("This is no state dict of the de-noising Burstormer; missing or not four-dimensional: "
                     f"{', '.join(wrong)}. It has {listed(state_dict)}.")
  model = Burstormer(**burstormer_config(state_dict))
  if shapes["rec_conv1.0.weight"][1] % model.num_features:
    raise ValueError(f"rec_conv1.0.weight {shapes['rec_conv1.0.weight']} must have a multiple of {model.num_features} "
                     "input channels: the features of all frames.")
  return model, (burstormer_frames(state_dict), 4, 4, shapes["conv1.0.weight"][1])


def _deform_groups(state_dict):
  """From the 9 taps of every group, with an offset (two numbers) and a weight each; as published where unclear."""
  shape = np.shape(state_dict.get("align.cascade_alignment.offset_conv.weight", ()))
  return shape[0] // 27 if shape and shape[0] and shape[0] % 27 == 0 else _PUBLISHED_DEFORM_GROUPS


def _num_blocks(state_dict, prefix):
  return len({name[len(prefix):].split(".")[0] for name in state_dict if name.startswith(prefix)})
