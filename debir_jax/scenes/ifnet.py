"""IFNet of RIFE 4.2x in Flax: a network that interpolates frames. Its weights come from `debir_jax.convert`.

Five blocks, from coarse to fine (a 16th, 8th, 4th, half of the size, then all of it), each correct two flows, from the
wanted time to either frame, and a mask that mixes the two frames read along them. Every block sees the frames as they
are moved so far, their features, the time, the mask and what the block before leaves to it.

Axes are `[..., H, W, channels]`; sides are multiples of 64 px. Flows hold (x, y) in px.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022,
https://arxiv.org/abs/2011.06294; the network of version 4.2x is that of https://github.com/hzwer/Practical-RIFE (MIT).
"""

import dataclasses
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from debir_jax.imaging.resample import warp
from debir_jax.weights.weight_file import load_weights

_WIDTHS = (192, 128, 96, 64, 32)  # Channels of the blocks.
_SCALES = (16, 8, 4, 2, 1)  # By which blocks reduce what they see.
_NUM_CONVS = 8  # In a block.
_NUM_LEFT = 8  # Channels that a block leaves to the next one.
_SIDE_MULTIPLE = 4 * max(_SCALES)  # px

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)
_HALVE = dict(kernel_size=(3, 3), strides=2, padding=1)
_DOUBLE = dict(kernel_size=(4, 4), strides=(2, 2), padding=((2, 2), (2, 2)))  # Padding 1 as PyTorch counts it.


class IFNet(nn.Module):
  """Frames between two frames; see `features` and `__call__`."""

  def setup(self):
    self.encoder = _Encoder()
    self.blocks = [_Block(width, scale, name=f"block{index}")
                   for index, (width, scale) in enumerate(zip(_WIDTHS, _SCALES))]

  def features(self, frame: jax.Array) -> jax.Array:
    """Features `[H, W, 4]` of a frame `[H, W, 3]`."""
    return self.encoder(frame)

  def __call__(self, first: jax.Array, second: jax.Array, features: tuple[jax.Array, jax.Array],
               time: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The frame `[H, W, 3]` at a time in (0, 1), and the flows `[H, W, 4]` from it to the first and to the second.

    Args:
      first, second: `[H, W, 3]`, sRGB in [0, 1].
      features: of both.
      time: a number.
    """
    times = jnp.full_like(first[..., :1], time)
    seen = [first, second, *features, times]
    flow, mask, left = self.blocks[0](jnp.concatenate(seen, axis=-1), None)
    for block in self.blocks[1:]:
      moved = _moved((first, second), flow) + _moved(features, flow)
      correction, mask, left = block(jnp.concatenate([*moved, times, mask, left], axis=-1), flow)
      flow = flow + correction
    (from_first, from_second), share = _moved((first, second), flow), nn.sigmoid(mask)
    return share * from_first + (1 - share) * from_second, flow


class _Encoder(nn.Module):
  """Features `[H, W, 4]` of a frame."""

  @nn.compact
  def __call__(self, frame):
    features = _leaky_relu(nn.Conv(16, **_HALVE, name="conv0")(frame))
    for name in ("conv1", "conv2"):
      features = _leaky_relu(nn.Conv(16, (3, 3), padding=1, name=name)(features))
    return nn.ConvTranspose(4, **_DOUBLE, name="conv3")(features)


class _Block(nn.Module):
  """Correction of both flows `[H, W, 4]`, the mask `[H, W, 1]` before its sigmoid, and what is left `[H, W, 8]`."""

  width: int
  scale: int

  @nn.compact
  def __call__(self, seen, flow):
    seen = _reduced(seen, self.scale)
    if flow is not None:
      seen = jnp.concatenate([seen, _reduced(flow, self.scale) / self.scale], axis=-1)
    for index, width in enumerate((self.width // 2, self.width)):
      seen = _leaky_relu(nn.Conv(width, **_HALVE, name=f"down{index}")(seen))
    for index in range(_NUM_CONVS):
      seen = _Residual(self.width, name=f"residual{index}")(seen)
    outputs = nn.ConvTranspose(4 * (5 + _NUM_LEFT), **_DOUBLE, name="up")(seen)
    outputs = _enlarged(_pixel_shuffle(outputs), self.scale)
    return self.scale * outputs[..., :4], outputs[..., 4:5], outputs[..., 5:]


class _Residual(nn.Module):
  """A convolution whose result is scaled by a learnt factor for every channel, and added."""

  width: int

  @nn.compact
  def __call__(self, features):
    scale = self.param("scale", nn.initializers.ones, (self.width,))
    return _leaky_relu(scale * nn.Conv(self.width, (3, 3), padding=1, name="conv")(features) + features)


def _moved(arrays, flow) -> list[jax.Array]:
  """What belongs to the first and to the second frame, read along the flows to them, (x, y) each in `[H, W, 4]`."""
  return [warp(array, its_flow)[0] for array, its_flow in zip(arrays, (flow[..., :2], flow[..., 2:]))]


def _reduced(image, scale) -> jax.Array:
  """Bilinear at the middles of blocks of `scale` px: means of the four pixels around them."""
  if scale == 1:
    return image
  rows = (image[scale // 2 - 1::scale] + image[scale // 2::scale]) / 2
  return (rows[:, scale // 2 - 1::scale] + rows[:, scale // 2::scale]) / 2


def _enlarged(image, scale) -> jax.Array:
  """The inverse of `_reduced`, bilinear too."""
  height, width, channels = image.shape
  return jax.image.resize(image, (scale * height, scale * width, channels), "linear",
                          precision=jax.lax.Precision.HIGHEST)


def _pixel_shuffle(image) -> jax.Array:
  """`[h, w, 4 c]` -> `[2 h, 2 w, c]`; of four channels that follow each other the first two make a row."""
  height, width, channels = image.shape
  split = image.reshape(height, width, channels // 4, 2, 2)
  return split.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rife:
  """IFNet as an `Interpolator`; frames of any size, padded to multiples of 64 px by their edges.

  Attributes:
    variables: `{"params": ...}`, as `debir_jax.convert.ifnet_params` returns them.
  """

  variables: Any

  name = "rife"

  @classmethod
  def from_file(cls, path: str | pathlib.Path | None) -> "Rife":
    """With the weights of a file.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not given, or of another network.
    """
    if not path:
      raise ValueError("The interpolator 'rife' needs its weights; docs/interpolation.md tells how to get them in two "
                       "commands.")
    variables, description = load_weights(pathlib.Path(path))
    found = description.get("architecture", {}).get("name")
    if found != "ifnet":
      raise ValueError(f"{path} holds weights of {found!r}, not of 'ifnet'. Convert flownet.pkl with "
                       "`python -m debir_jax.convert`.")
    return cls(jax.tree.map(jnp.asarray, variables))

  def prepare(self, first: jax.Array, second: jax.Array) -> tuple:
    """Both frames and their features, padded, and the true size as the shape of an empty array."""
    padded = tuple(map(_padded, (first, second)))
    features = tuple(_apply(self.variables, frame, method="features") for frame in padded)
    return padded, features, jnp.zeros((*first.shape[:2], 0))

  def frame_at(self, pair: tuple, time: jax.Array) -> jax.Array:
    """As IFNet makes it."""
    return self._at(pair, time)[0]

  def flow_at(self, pair: tuple, time: jax.Array) -> jax.Array:
    """How what is seen at a time moves from the first frame to the second, `[H, W, 2]` px, as IFNet has it."""
    flows = self._at(pair, time)[1]
    return flows[..., 2:] - flows[..., :2]

  def _at(self, pair, time):
    padded, features, size = pair
    height, width, _ = size.shape
    return [image[:height, :width] for image in _apply(self.variables, *padded, features, time)]


def init_ifnet(key: jax.Array) -> Any:
  """Random variables of the right names and shapes."""
  frame = jnp.zeros((_SIDE_MULTIPLE, _SIDE_MULTIPLE, 3))
  everything = lambda net, frame: net(frame, frame, (net.features(frame),) * 2, 0.5)
  return IFNet().init(key, frame, method=everything)


def _apply(variables, *arguments, **options):
  with jax.default_matmul_precision("highest"):  # A GPU would compute in TF32, three decimals.
    return IFNet().apply(variables, *arguments, **options)


def _padded(frame):
  height, width = frame.shape[:2]
  return jnp.pad(frame, ((0, -height % _SIDE_MULTIPLE), (0, -width % _SIDE_MULTIPLE), (0, 0)), mode="edge")
