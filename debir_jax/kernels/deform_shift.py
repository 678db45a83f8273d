"""Points near their own pixel, read without gathers: a sum over whole-pixel shifts of the image.

A bilinear sample at an offset within `reach` pixels is a weighted sum of the (2 reach + 2)^2 pixels around the point,
and all but four weights are 0. Written so, it is multiplications of whole arrays, forward and backward: nothing is read
or added pixel by pixel, which accelerators without fast gathers and scatters, TPUs above all, are slow at. The
arithmetic grows with the square of the reach. Not measured on such a machine yet.
"""

import jax
from jax import lax
import jax.numpy as jnp

_TAPS = 9


def read_near(images: jax.Array, down: jax.Array, right: jax.Array, mask: jax.Array, *, dilation: int,
              reach: int) -> jax.Array:
  """Masked bilinear samples of points that moved by at least -`reach` and less than `reach` + 1 pixels.

  Args:
    images: `[N, H, W, groups, c]`, 0 outside.
    down, right: offsets `[N, H, W, groups, 9]`, px, within reach.
    mask: `[N, H, W, groups, 9]`.
    dilation: distance of the nine points before they are moved, px.
    reach: px.

  Returns:
    `[N, H, W, groups, 9, c]`. Derivatives at pixel centres are the slopes towards larger coordinates.
  """
  height, width = images.shape[1:3]
  border = reach + 1 + dilation
  padded = jnp.pad(images, ((0, 0), (border, border), (border, border), (0, 0), (0, 0)))
  top, left = [lax.stop_gradient(jnp.floor(offset)) for offset in (down, right)]
  below, beside = down - top, right - left

  @jax.checkpoint  # Weights and windows of a shift are cheaper to form again than to keep for all shifts.
  def add_shift(total, shift):
    weights = (_weight(top, below, shift[0]) * _weight(left, beside, shift[1]) * mask).astype(images.dtype)
    near = lax.dynamic_slice_in_dim(padded, border - dilation + shift[0], height + 2 * dilation, 1)
    near = lax.dynamic_slice_in_dim(near, border - dilation + shift[1], width + 2 * dilation, 2)
    windows = [near[:, row:row + height, column:column + width]
               for row in (0, dilation, 2 * dilation) for column in (0, dilation, 2 * dilation)]
    return total + weights[..., None] * jnp.stack(windows, -2), None

  steps = jnp.arange(-reach, reach + 2, dtype=jnp.int32)
  shifts = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
  zeros = jnp.zeros((*images.shape[:4], _TAPS, images.shape[4]), images.dtype)
  return lax.scan(add_shift, zeros, shifts)[0]


def is_near(down: jax.Array, right: jax.Array, reach: int) -> jax.Array:
  """Whether all points are within the reach of `read_near`."""
  within = lambda offset: jnp.all((offset >= -reach) & (offset < reach + 1))
  return within(down) & within(right)


def _weight(floor, fraction, step):
  """Weight of the pixel `step` away along one axis."""
  return jnp.where(floor == step, 1 - fraction, jnp.where(floor == step - 1, fraction, 0))
