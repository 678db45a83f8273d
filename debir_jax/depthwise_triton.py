"""The depthwise 3x3 convolution and the gradient of its kernel as Triton kernels (Pallas), for NVIDIA GPUs.

A tile's nine shifted reads come out of the cache, so that every array passes through the memory once. Sums are float32.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

_COLUMNS, _CHANNELS = 16, 64  # Of a tile: as many sums per thread as the registers hold.
_ROWS = 8  # That one program walks over for the gradient of the kernel.


def conv(x: jax.Array, kernel: jax.Array, *, interpret: bool = False) -> jax.Array:
  """`[N, H, W, C]` with `kernel [3, 3, 1, C]`, one pixel of zero padding on every side, of the type of `x`."""
  images, height, width, channels = x.shape
  grid = (images * height, pl.cdiv(width, _COLUMNS), pl.cdiv(channels, _CHANNELS))
  return pl.pallas_call(
      functools.partial(_conv_kernel, height=height, width=width, channels=channels), grid=grid,
      out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=interpret,
      compiler_params=triton.CompilerParams(num_warps=4), name="depthwise_conv3x3")(x, kernel.reshape(9, channels))


def kernel_gradient(x: jax.Array, cotangent: jax.Array, *, interpret: bool = False) -> jax.Array:
  """Gradient of the kernel of `conv`, `[3, 3, 1, C]` float32: sums of `cotangent` times the nine shifts of `x`."""
  images, height, width, channels = x.shape
  bands = pl.cdiv(images * height, _ROWS)
  parts = pl.pallas_call(
      functools.partial(_gradient_kernel, images=images, height=height, width=width, channels=channels),
      grid=(bands, pl.cdiv(channels, _CHANNELS)), out_shape=jax.ShapeDtypeStruct((bands, 9, channels), jnp.float32),
      interpret=interpret, compiler_params=triton.CompilerParams(num_warps=4),
      name="depthwise_conv3x3_kernel_gradient")(x, cotangent)
  return parts.sum(0).reshape(3, 3, 1, channels)


def _conv_kernel(x_ref, kernel_ref, out_ref, *, height, width, channels):
  image, row = lax.div(pl.program_id(0), height), lax.rem(pl.program_id(0), height)
  columns, channel = _tile(pl.program_id(1) * _COLUMNS, pl.program_id(2))
  total = jnp.zeros((_COLUMNS, _CHANNELS), jnp.float32)
  for tap in range(9):
    weight = triton.load(kernel_ref.at[tap, channel[0]], mask=channel[0] < channels, other=0)
    total += _shifted(x_ref, image, row, columns, channel, tap, height, width, channels) * weight.astype(jnp.float32)
  inside = (columns < width) & (channel < channels)
  triton.store(out_ref.at[image, row, columns, channel], total.astype(out_ref.dtype), mask=inside)


def _gradient_kernel(x_ref, cotangent_ref, out_ref, *, images, height, width, channels):
  band, channel_block = pl.program_id(0), pl.program_id(1)
  column_tiles = pl.cdiv(width, _COLUMNS)

  def add_tile(index, totals):
    line = band * _ROWS + lax.div(index, column_tiles)
    image, row = lax.div(line, height), lax.rem(line, height)
    columns, channel = _tile(lax.rem(index, column_tiles) * _COLUMNS, channel_block)
    inside = (line < images * height) & (columns < width) & (channel < channels)
    place = (jnp.minimum(image, images - 1), row, jnp.minimum(columns, width - 1), channel)
    weight = triton.load(cotangent_ref.at[place], mask=inside, other=0).astype(jnp.float32)
    return tuple(total + weight * _shifted(x_ref, place[0], row, columns, channel, tap, height, width, channels)
                 for tap, total in enumerate(totals))

  zeros = (jnp.zeros((_COLUMNS, _CHANNELS), jnp.float32),) * 9
  totals = lax.fori_loop(0, _ROWS * column_tiles, add_tile, zeros)
  channel = _tile(0, channel_block)[1][0]
  for tap, total in enumerate(totals):
    triton.store(out_ref.at[band, tap, channel], jnp.sum(total, 0), mask=channel < channels)


def _tile(first_column, channel_block):
  """Columns `[_COLUMNS, 1]` and channels `[1, _CHANNELS]`."""
  columns = first_column + jnp.arange(_COLUMNS)
  channel = channel_block * _CHANNELS + jnp.arange(_CHANNELS)
  return columns[:, None], channel[None, :]


def _shifted(x_ref, image, row, columns, channel, tap, height, width, channels):
  """What a tap reads for a tile, float32, 0 outside of the image."""
  row, columns = row + tap // 3 - 1, columns + tap % 3 - 1
  inside = (row >= 0) & (row < height) & (columns >= 0) & (columns < width) & (channel < channels)
  place = (image, jnp.clip(row, 0, height - 1), jnp.clip(columns, 0, width - 1), channel)
  return triton.load(x_ref.at[place], mask=inside, other=0).astype(jnp.float32)
