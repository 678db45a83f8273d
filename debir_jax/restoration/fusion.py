"""Fusion of pairs of frames by back-projection, with the reference frame or with each other.

Frames stand on axis -4: `[..., n, H, W, C]`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.kernels.dense import gelu
from debir_jax.restoration.attention import attention_block
from debir_jax.restoration.layers import Conv3x3


class BurstFeatureFusion(nn.Module):
  """BFF: `[..., H, W, 2 * f] -> [..., H, W, f]`; what is lost on the way down is estimated and added again.

  On `reference_pairs` this is the reference-based enrichment RBFE, on `cyclic_pairs` the one without reference, NRFE.

  Attributes:
    sign: of the residual (expanded - input); the published network has +1 in RBFE and -1 in NRFE.
    num_blocks: attention blocks in front.
    remat: see `Burstormer`.
  """

  sign: int = 1
  num_blocks: int = 2
  remat: str = "none"

  @nn.compact
  def __call__(self, pairs):
    features = pairs.shape[-1] // 2
    for index in range(self.num_blocks):
      pairs = attention_block(self.remat)(name=f"encoder1_{index}")(pairs)
    fused = gelu(Conv3x3(features, name="feat_fusion")(pairs))
    expanded = gelu(Conv3x3(2 * features, name="feat_expand")(fused))
    return fused + gelu(Conv3x3(features, name="diff_fusion")(self.sign * (expanded - pairs)))


def reference_pairs(frames: jax.Array) -> jax.Array:
  """Every frame, also frame 0 itself, behind frame 0: `[..., n, H, W, f] -> [..., n, H, W, 2 * f]`."""
  base = jnp.broadcast_to(frames[..., :1, :, :, :], frames.shape)
  return jnp.concatenate([base, frames], -1)


def cyclic_pairs(frames: jax.Array) -> jax.Array:
  """Pairs (0,1), (2,3), ..., then (n-1,0), (1,2), ...: `[..., n, H, W, f] -> [..., n, H, W, 2 * f]`, n even."""
  rolled = jnp.roll(frames, 1, -4)
  first, second = [jnp.concatenate([frames[..., start::2, :, :, :], rolled[..., start::2, :, :, :]], -4)
                   for start in (0, 1)]
  return jnp.concatenate([first, second], -1)
