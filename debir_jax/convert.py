"""Weights of published PyTorch models -> Flax variables.

Input is a state dict whose tensors are numpy arrays (`{name: tensor.numpy() for name, tensor in ...}`), so this
needs no PyTorch. Every name and shape is checked against the network that the state dict describes.
"""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from debir_jax.restoration.burstormer import Burstormer


def burstormer_params(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `Burstormer` from the state dict of the published de-noising network.

  Features, frames, blocks, input and output channels are read off the state dict; see `burstormer_config`.

  Args:
    state_dict: names and arrays of https://github.com/akshaydudhane16/Burstormer, "Burst De-noising/Network.py".

  Returns:
    `{"params": ...}` of numpy arrays in the types they came in.

  Raises:
    ValueError: listing by name what is missing, what is unknown and what has another shape.
  """
  model, burst_shape = _burstormer_for(state_dict)
  expected = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(burst_shape, jnp.float32))
  expected = traverse_util.flatten_dict(expected["params"], sep="/")
  names = {burstormer_path(name): name for name in state_dict}
  params = {path: burstormer_array(state_dict[name]) for path, name in names.items()}
  _check_tree(params, expected, names)
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


def burstormer_array(weight: np.ndarray) -> np.ndarray:
  """Convolution weights from PyTorch's to our order of axes; everything else as it is."""
  return np.transpose(weight, (2, 3, 1, 0)) if np.ndim(weight) == 4 else np.asarray(weight)


def burstormer_config(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Arguments of the `Burstormer` that a state dict belongs to."""
  return {
      "num_features": state_dict["conv1.0.weight"].shape[0],
      "out_channels": state_dict["out_conv.0.weight"].shape[0],
      "blocks_per_level": tuple(_num_blocks(state_dict, f"align.encoder_level{level}.") for level in (1, 2)),
      "fusion_blocks": _num_blocks(state_dict, "back_projection1.encoder1."),
  }


def _burstormer_for(state_dict):
  shapes = {name: np.shape(state_dict.get(name, ())) for name in
            ("conv1.0.weight", "rec_conv1.0.weight", "out_conv.0.weight")}
  wrong = [f"{name} {shape}" for name, shape in shapes.items() if len(shape) != 4]
  if wrong:
    raise ValueError("This is no state dict of the de-noising Burstormer; missing or not four-dimensional: "
                     f"{', '.join(wrong)}. It has {_listed(state_dict)}.")
  model = Burstormer(**burstormer_config(state_dict))
  num_frames, rest = divmod(shapes["rec_conv1.0.weight"][1], model.num_features)
  if rest:
    raise ValueError(f"rec_conv1.0.weight {shapes['rec_conv1.0.weight']} must have a multiple of {model.num_features} "
                     "input channels: the features of all frames.")
  return model, (num_frames, 4, 4, shapes["conv1.0.weight"][1])


def _num_blocks(state_dict, prefix):
  return len({name[len(prefix):].split(".")[0] for name in state_dict if name.startswith(prefix)})


def _check_tree(params, expected, names):
  missing = sorted(set(expected) - set(params))
  unknown = sorted(names[path] for path in set(params) - set(expected))
  misshapen = [f"{names[path]}: {params[path].shape} instead of {expected[path].shape} (as {path})"
               for path in sorted(set(params) & set(expected)) if params[path].shape != expected[path].shape]
  problems = [f"{title}: {_listed(items)}" for title, items in
              (("missing", missing), ("unknown", unknown), ("of another shape", misshapen)) if items]
  if problems:
    raise ValueError("The state dict does not fit the network that it describes. " + "; ".join(problems) + ".")


def _listed(names: Iterable[str], most: int = 20) -> str:
  names = list(names)
  return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
