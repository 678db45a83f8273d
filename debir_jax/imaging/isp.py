"""Viewing pipelines: packed RAW -> sRGB in [0, 1], to look at, to estimate motion from, and for networks to see.

All take one image or any leading axes `[..., h, w, 4]` (R, Gr, Gb, B; white = 1). The order is that of the authors'
release: demosaic, white balance and clip, color matrix and clip, sRGB gamma.
"""

import jax
import jax.numpy as jnp

from debir_jax.imaging import bayer
from debir_jax.imaging.color import apply_ccm, apply_white_balance, linear_to_srgb
from debir_jax.types import CameraColor


def view(packed: jax.Array, color: CameraColor) -> jax.Array:
  """Packed RAW `[..., h, w, 4]` -> full-resolution sRGB `[..., 2h, 2w, 3]` in [0, 1]."""
  return linear_to_srgb(linear_srgb(packed, color))


def linear_srgb(packed: jax.Array, color: CameraColor) -> jax.Array:
  """Packed RAW `[..., h, w, 4]` -> full-resolution linear sRGB `[..., 2h, 2w, 3]` in [0, 1]: `view` without the gamma.

  What the release's BAENet sees.
  """
  return _develop_linear(bayer.demosaic_malvar(bayer.unpack(packed)), color)


def binned_srgb(packed: jax.Array, color: CameraColor) -> jax.Array:
  """Packed RAW `[..., h, w, 4]` -> half-resolution sRGB `[..., h, w, 3]` in [0, 1].

  A pixel is one Bayer cell: R, mean of the greens, B. Less noise and no demosaicking: for Lucas-Kanade flow.
  """
  bayer.check_packed(packed)
  camera_rgb = jnp.stack([packed[..., 0], (packed[..., 1] + packed[..., 2]) / 2, packed[..., 3]], axis=-1)
  return linear_to_srgb(_develop_linear(camera_rgb, color))


def half_resolution_srgb(packed: jax.Array, color: CameraColor) -> jax.Array:
  """Packed RAW `[..., h, w, 4]` -> half-resolution sRGB `[..., h, w, 3]` in [0, 1] by way of full resolution.

  Demosaicked and developed, then 2x2 means: what the release feeds to its optical flow network.
  """
  srgb = linear_to_srgb(linear_srgb(packed, color))
  return (srgb[..., 0::2, 0::2, :] + srgb[..., 0::2, 1::2, :]
          + srgb[..., 1::2, 0::2, :] + srgb[..., 1::2, 1::2, :]) / 4


def _develop_linear(camera_rgb, color):
  balanced = jnp.clip(apply_white_balance(camera_rgb, color.white_balance), 0, 1)
  return jnp.clip(apply_ccm(balanced, color.ccm), 0, 1)
