"""MobileNetV2 (Sandler et al., CVPR 2018), in the layout of torchvision's `mobilenet_v2`, for any number of planes.

NHWC; planes in, logits out. Seventeen inverted residual blocks: a 1x1 convolution widens, a depthwise 3x3 filters, a
1x1 convolution narrows without activation, and input and output are added where they have the same shape.

Details that weights of the PyTorch model depend on: paddings of one pixel on every side (Flax's "SAME" pads stride 2
differently), ReLU6, BatchNorm with epsilon 1e-5 and momentum 0.1 (0.9 in Flax's convention), no bias but in the last
layer, channels rounded to multiples of 8. 1x1 convolutions are dense layers over the channels. One difference remains:
the running variance of BatchNorm averages biased variances here, unbiased ones in PyTorch.

Initialisation is Xavier uniform for every kernel, as the authors of DEBIR train it from scratch (torchvision's own is
Kaiming normal over outputs). The norms make the scale of all kernels immaterial but that of the last layer: with Xavier
its first logits have a standard deviation of about 1. `classifier_scale` shrinks it; 0 starts with equal logits.

Before statistics are gathered in training, the output of "batch" norms with `train=False` says nothing: depthwise
results are far smaller than the running variance of 1 that divides them, and nothing of the image reaches the logits.
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.kernels.depthwise_conv import depthwise_conv3x3

# Rows: expansion, output channels at width 1, number of blocks, stride of the first block (Table 2 of MobileNetV2).
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# The first four blocks of different kinds, for small previews: 32 px end at 2x2 instead of at a single pixel, so that
# "batch" norms see four times the pixels, and a fourth of the layers to compile.
LIGHT_BLOCKS = ((1, 16, 1, 1), (6, 24, 1, 2), (6, 32, 1, 2), (6, 64, 1, 2))
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_CHANNEL_MULTIPLE = 8

_xavier_uniform = nn.initializers.xavier_uniform()


class MobileNetV2(nn.Module):
  """Planes `[B, h, w, c]` -> `num_outputs` numbers each, `[B, num_outputs]`.

  Attributes:
    num_outputs: size of the last layer.
    width: factor on the channels of every layer; the last convolution stays at 1280 below 1.
    norm: "batch", statistics over the batch in training and running ones otherwise; "group", groups of 8 channels of
      one image, the same in training and use, for batches too small for "batch".
    dropout_rate: before the last layer, in training only.
    blocks: the table of the architecture, rows as in `BLOCKS`; a shorter one makes a lighter network.
    classifier_scale: factor on the first weights of the last layer.
    axis_name: of the devices that a batch is spread over, whose statistics "batch" norms then share; None: one device.
  """

  num_outputs: int
  width: float = 1.0
  norm: Literal["batch", "group"] = "batch"
  dropout_rate: float = 0.2
  blocks: tuple[tuple[int, int, int, int], ...] = BLOCKS
  classifier_scale: float = 1.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, planes: jax.Array, train: bool, dropout_keys: jax.Array | None = None) -> jax.Array:
    norm = _make_norm(self.norm, train, self.axis_name)
    channels = functools.partial(_round_channels, width=self.width)
    x = _Conv3x3(channels(_STEM_CHANNELS), stride=2, name="stem_conv")(planes)
    x = nn.relu6(norm(name="stem_norm")(x))
    index = 0
    for expansion, out_channels, num_blocks, stride in self.blocks:
      for repeat in range(num_blocks):
        block = _InvertedResidual(channels(out_channels), expansion, stride if repeat == 0 else 1, norm,
                                  name=f"block_{index}")
        x = block(x)
        index += 1
    x = _conv1x1(_round_channels(_HEAD_CHANNELS, max(1.0, self.width)), name="head_conv")(x)
    x = nn.relu6(norm(name="head_norm")(x))
    x = jnp.mean(x, axis=(1, 2))
    x = _dropout(dropout_keys, x, self.dropout_rate) if train else x
    classifier_init = lambda *args: self.classifier_scale * _xavier_uniform(*args)
    return nn.Dense(self.num_outputs, kernel_init=classifier_init, name="classifier")(x)


class _InvertedResidual(nn.Module):
  """1x1 wider, depthwise 3x3, 1x1 narrower; plus the input where the shape stays."""

  out_channels: int
  expansion: int
  stride: int
  norm: Any

  @nn.compact
  def __call__(self, x):
    y, hidden = x, x.shape[-1] * self.expansion
    if self.expansion != 1:
      y = nn.relu6(self.norm(name="expand_norm")(_conv1x1(hidden, name="expand_conv")(y)))
    y = nn.relu6(self.norm(name="depthwise_norm")(_DepthwiseConv3x3(self.stride, name="depthwise_conv")(y)))
    y = self.norm(name="project_norm")(_conv1x1(self.out_channels, name="project_conv")(y))
    keeps_shape = self.stride == 1 and self.out_channels == x.shape[-1]
    return x + y if keeps_shape else y


class _DepthwiseConv3x3(nn.Module):
  """One 3x3 kernel per channel."""

  stride: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", _xavier_uniform, (3, 3, 1, x.shape[-1]))
    return depthwise_conv3x3(x, kernel, stride=self.stride)


def _Conv3x3(features: int, *, stride: int, name: str) -> nn.Conv:
  return nn.Conv(features, (3, 3), (stride, stride), padding=((1, 1), (1, 1)), use_bias=False,
                 kernel_init=_xavier_uniform, name=name)


def _conv1x1(features: int, *, name: str) -> nn.Dense:
  return nn.Dense(features, use_bias=False, kernel_init=_xavier_uniform, name=name)


def _dropout(keys, features, rate):
  """Dropout of features `[B, C]` with a key for every image, so that it does not depend on the rest of the batch."""
  if not rate:
    return features
  if keys is None:
    raise ValueError(f"dropout_rate={rate} needs dropout_keys [B] in training, one for every image.")
  kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, features.shape[1:]))(keys)
  return jnp.where(kept, features / (1 - rate), 0)


def _make_norm(norm: str, train: bool, axis_name: str | None):
  """A constructor of normalisation layers that takes a name."""
  if norm == "batch":
    return functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5,
                             axis_name=axis_name)
  if norm == "group":
    return functools.partial(nn.GroupNorm, num_groups=None, group_size=_CHANNEL_MULTIPLE, epsilon=1e-5)
  raise ValueError(f"norm must be 'batch' or 'group', got {norm!r}.")


def _round_channels(channels: int, width: float) -> int:
  """`channels * width` to the nearest multiple of 8, never more than 10 % less."""
  scaled = channels * width
  rounded = max(_CHANNEL_MULTIPLE, int(scaled + _CHANNEL_MULTIPLE / 2) // _CHANNEL_MULTIPLE * _CHANNEL_MULTIPLE)
  return rounded if rounded >= 0.9 * scaled else rounded + _CHANNEL_MULTIPLE
