"""Reading the points of a deformable convolution as a Triton kernel (Pallas) for NVIDIA GPUs.

A lane works on one channel of one point; the points of a pixel follow one another, so that neighbouring lanes read
neighbouring offsets. The gradient is left to XLA: Pallas adds up with atomic operations that order memory, which took
1.6 times as long.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

_TAPS = 9
_POINTS = 128  # Of one program.


def read_points(images: jax.Array, down: jax.Array, right: jax.Array, mask: jax.Array, *, dilation: int,
                interpret: bool = False) -> jax.Array:
  """Masked bilinear samples `[N, points, c]` of `images [N, H, W, groups, c]`, 0 outside; the rest `[N, points]`.

  Points are ordered as (row, column, group, tap).
  """
  num_images, num_points = down.shape
  return pl.pallas_call(
      functools.partial(_read_kernel, shape=images.shape, num_points=num_points, dilation=dilation),
      grid=(num_images, pl.cdiv(num_points, _POINTS)), interpret=interpret,
      out_shape=jax.ShapeDtypeStruct((num_images, num_points, images.shape[-1]), images.dtype),
      compiler_params=triton.CompilerParams(num_warps=4), name="deform_conv_read")(images, down, right, mask)


def _read_kernel(images_ref, down_ref, right_ref, mask_ref, out_ref, *, shape, num_points, dilation):
  image, point, inside, channel = _place(shape, num_points)
  mask = triton.load(mask_ref.at[image, point], mask=inside, other=0)
  corners, weights = _corners(down_ref, right_ref, image, point, inside, channel, shape, dilation)
  total = sum((weight * mask)[:, None] * _read(images_ref, *corner) for corner, weight in zip(corners, weights))
  triton.store(out_ref.at[image, point[:, None], channel], total.astype(out_ref.dtype),
               mask=inside[:, None] & (channel < shape[-1]))


def _place(shape, num_points):
  """Image, points `[P]`, which of them exist, and channels `[1, C]`, C a power of two."""
  point = pl.program_id(1) * _POINTS + jnp.arange(_POINTS)
  inside = point < num_points
  return pl.program_id(0), point, inside, jnp.arange(pl.next_power_of_2(shape[-1]))[None]


def _corners(down_ref, right_ref, image, point, inside, channel, shape, dilation):
  """Place and validity of the four corners, and their weights."""
  _, height, width, groups, channels = shape
  pixel, site = lax.div(point, groups * _TAPS), lax.rem(point, groups * _TAPS)
  group, tap = lax.div(site, _TAPS), lax.rem(site, _TAPS)
  row = lax.div(pixel, width) + dilation * (lax.div(tap, 3) - 1)
  column = lax.rem(pixel, width) + dilation * (lax.rem(tap, 3) - 1)
  top, below = _position(down_ref, image, point, inside, row, height)
  left, beside = _position(right_ref, image, point, inside, column, width)
  corners = []
  for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
    y, x = top + down, left + right
    counts = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = (image, jnp.clip(y, 0, height - 1)[:, None], jnp.clip(x, 0, width - 1)[:, None], group[:, None],
             channel)
    corners.append((place, counts[:, None] & (channel < channels)))
  weights = [(1 - below) * (1 - beside), (1 - below) * beside, below * (1 - beside), below * beside]
  return corners, weights


def _position(offset_ref, image, point, inside, start, size):
  """Floor and fraction of moved positions along an axis, clipped to where nothing is read any more."""
  offset = triton.load(offset_ref.at[image, point], mask=inside, other=0)
  position = jnp.clip(start + offset, -2.0, float(size))
  floor = jnp.floor(position)
  # Clipped once more as integers, so that a position that is not a number cannot read outside the array.
  return jnp.clip(floor.astype(jnp.int32), -2, size), position - floor


def _read(images_ref, place, counts):
  return triton.load(images_ref.at[place], mask=counts, other=0).astype(jnp.float32)
