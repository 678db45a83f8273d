"""Alignment of all frames to the reference frame, frame 0, with deformable convolutions over three scales.

Frames stand on axis -4: `[..., n, H, W, C]`. The offset features and offsets of frame 0 could not reach the result, as
the reference frame passes unaligned, so offsets exist for frames 1 to n - 1 only: `[..., n - 1, H, W, C]`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.kernels.conv import conv3x3
from debir_jax.kernels.deform_conv import deform_conv2d_split
from debir_jax.kernels.dense import gelu
from debir_jax.restoration.attention import attention_block
from debir_jax.restoration.fusion import BurstFeatureFusion, reference_pairs
from debir_jax.restoration.layers import Conv3x3, Kernel, UpConv3x3, bias_init, kernel_init

_DILATION = 2


class Alignment(nn.Module):
  """Aligns frames of one scale; returns `(aligned frames, offset features)`.

  Attributes:
    fusion_blocks: attention blocks in the fusion with the reference frame.
    deform_groups: blocks of channels that move together.
    remat: see `Burstormer`.
  """

  fusion_blocks: int = 2
  deform_groups: int = 8
  remat: str = "none"

  @nn.compact
  def __call__(self, frames, coarse_offset_features=None):
    features = frames.shape[-1]
    pairs = reference_pairs(frames)[..., 1:, :, :, :]
    offset_features = gelu(Conv3x3(features, use_bias=False, name="bottleneck")(pairs))
    if coarse_offset_features is not None:
      both = jnp.concatenate([coarse_offset_features, offset_features], -1)
      offset_features = gelu(Conv3x3(features, use_bias=False, name="bottleneck_o")(both))
    moved = self._deform(frames[..., 1:, :, :, :], offset_features)
    aligned = jnp.concatenate([frames[..., :1, :, :, :], moved], -4)
    fusion = BurstFeatureFusion(sign=1, num_blocks=self.fusion_blocks, remat=self.remat, name="back_projection")
    return fusion(reference_pairs(aligned)), offset_features

  def _deform(self, frames, offset_features):
    features = frames.shape[-1]
    points = 9 * self.deform_groups
    kernel = Kernel((3, 3, features, 3 * points), name="offset_conv")(frames.dtype)
    # The kernel's outputs are (down, right) in turns, then the mask; all of one kind together are faster to read.
    kernel = jnp.concatenate([kernel[..., 0:2 * points:2], kernel[..., 1:2 * points:2], kernel[..., 2 * points:]], -1)
    # Positions and masks are at least float32: a position of 100 px in bfloat16 is off by up to half a pixel.
    wide = jnp.promote_types(frames.dtype, jnp.float32)
    down, right, mask = jnp.split(conv3x3(offset_features, kernel, dtype=wide), 3, -1)
    shape = (3, 3, features // self.deform_groups, features)
    kernel = self.param("deform_kernel", kernel_init, shape)
    bias = self.param("deform_bias", bias_init(9 * shape[2]), (features,))
    return deform_conv2d_split(frames, down, right, jax.nn.sigmoid(mask), kernel, bias, dilation=_DILATION)


class BurstAlignment(nn.Module):
  """EDA: features at full, half and quarter size, aligned from coarse to fine and once more at full size.

  Attributes:
    blocks_per_level: attention blocks at full and at half size.
    fusion_blocks: attention blocks in every fusion of an aligned frame with the reference frame.
    deform_groups: blocks of channels that move together.
    remat: see `Burstormer`.
  """

  blocks_per_level: Sequence[int] = (2, 2)
  fusion_blocks: int = 2
  deform_groups: int = 8
  remat: str = "none"

  @nn.compact
  def __call__(self, frames):
    features = frames.shape[-1]

    def encode(frames, level, num_heads):
      for index in range(self.blocks_per_level[level - 1]):
        frames = attention_block(self.remat)(num_heads, name=f"encoder_level{level}_{index}")(frames)
      return frames

    def align(frames, coarse_offset_features, name):
      module = nn.remat(Alignment) if self.remat == "stages" else Alignment
      alignment = module(self.fusion_blocks, self.deform_groups, self.remat, name=name)
      return alignment(frames, coarse_offset_features)

    full = encode(frames, level=1, num_heads=1)
    half = encode(Conv3x3(features, stride=2, name="down1")(full), level=2, num_heads=2)
    quarter = Conv3x3(features, stride=2, name="down2")(half)

    aligned, offset_features = align(quarter, None, "alignment2")
    coarse = UpConv3x3(features, name="up2")(aligned)
    aligned, offset_features = align(half, 2 * UpConv3x3(features, name="offset_up2")(offset_features), "alignment1")
    coarse = UpConv3x3(features, name="up1")(coarse + aligned)
    aligned, offset_features = align(full, 2 * UpConv3x3(features, name="offset_up1")(offset_features), "alignment0")
    aligned, _ = align(coarse + aligned, offset_features, "cascade_alignment")
    return aligned
