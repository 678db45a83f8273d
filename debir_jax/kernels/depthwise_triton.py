"""The depthwise 3x3 convolution and its gradient as Triton kernels (Pallas), for NVIDIA GPUs.

A program walks down the rows of a tile, some columns and channels. It keeps the rows that it needs again, so that
a row is read three times, for its three shifts, and twice of that out of the cache. Sums are at least float32.
"""

import functools
import itertools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

_ROWS = 32  # That one program walks over at most.


class _Launch(NamedTuple):
  """Size of a tile, columns times channels; warps of a program; rows that it reads before it works on any of them.

  A program keeps what its nine sums need in registers: the fewer values per thread, the more programs run side by side.
  """

  tile: int
  warps: int
  rows_at_once: int


# The fastest of thirteen on an H200, 16 frames of 128x128 and 512 channels in bfloat16 (experiments/benchmarks).
_CONV = _Launch(256, 4, 8)
_TRANSPOSE = _Launch(256, 4, 4)


def are_wanted(dtype) -> bool:
  """Whether there is a GPU, and Triton kernels of this package take arrays of this type.

  Without a GPU nothing is traced that could not run; programs that are exported for one there do without the kernels.
  """
  return dtype in (jnp.float32, jnp.bfloat16) and jax.default_backend() == "gpu"


def conv(x: jax.Array, kernel: jax.Array, *, interpret: bool = False) -> jax.Array:
  """`[N, H, W, C]` with `kernel [3, 3, 1, C]`, one pixel of zero padding on every side, of the type of `x`."""
  tiles = _Tiles(x.shape, _CONV)
  return tiles.call(_conv_kernel, jax.ShapeDtypeStruct(x.shape, x.dtype), "depthwise_conv3x3", interpret)(
      x, kernel.reshape(9, -1))


def conv_transpose(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, *,
                   interpret: bool = False) -> tuple[jax.Array, jax.Array]:
  """Gradients of `conv`: of `x`, and of the kernel as `[3, 3, 1, C]`, each of its own type."""
  tiles = _Tiles(x.shape, _TRANSPOSE)
  parts = jax.ShapeDtypeStruct((tiles.num_places, 9, x.shape[-1]), jnp.promote_types(x.dtype, jnp.float32))
  x_grad, parts = tiles.call(
      _transpose_kernel, (jax.ShapeDtypeStruct(x.shape, x.dtype), parts), "depthwise_conv3x3_transpose", interpret)(
          x, kernel.reshape(9, -1), cotangent)
  return x_grad, parts.sum(0).reshape(kernel.shape).astype(kernel.dtype)


class _Tiles:
  """How `[N, H, W, C]` is cut into the tiles of programs: a grid of (place, block of channels)."""

  def __init__(self, shape, launch):
    self.warps = launch.warps
    images, self.height, self.width, self.channels = shape
    # Without a mask over channels whole vectors are read.
    self.tile_channels = next((size for size in (64, 32, 16) if self.channels % size == 0), 64)
    self.tile_columns, self.rows = launch.tile // self.tile_channels, min(_ROWS, pl.next_power_of_2(self.height))
    self.rows_at_once = min(launch.rows_at_once, self.rows)
    self.bands, self.column_tiles = pl.cdiv(self.height, self.rows), pl.cdiv(self.width, self.tile_columns)
    self.num_places = images * self.bands * self.column_tiles

  def call(self, kernel, out_shape, name, interpret):
    return pl.pallas_call(
        functools.partial(kernel, tiles=self), grid=(self.num_places, pl.cdiv(self.channels, self.tile_channels)),
        out_shape=out_shape, interpret=interpret, name=name,
        compiler_params=triton.CompilerParams(num_warps=self.warps))

  def of_program(self):
    """Image, first row, columns `[columns, 1]` and channels `[1, channels]` of this program."""
    place, column_tile = [op(pl.program_id(0), self.column_tiles) for op in (lax.div, lax.rem)]
    channel = pl.program_id(1) * self.tile_channels + jnp.arange(self.tile_channels)
    return (lax.div(place, self.bands), lax.rem(place, self.bands) * self.rows,
            (column_tile * self.tile_columns + jnp.arange(self.tile_columns))[:, None], channel[None])

  def read(self, ref, image, row, columns, channel):
    """A row of a tile, 0 outside of the image."""
    inside = (row >= 0) & (row < self.height) & (columns >= 0) & (columns < self.width)
    place = (image, jnp.clip(row, 0, self.height - 1), jnp.clip(columns, 0, self.width - 1), channel)
    return triton.load(ref.at[place], mask=self.exists(inside, channel), other=0)

  def read_shifts(self, ref, image, row, columns, channel):
    """The same for the columns to the left, the columns themselves and those to the right."""
    return tuple(self.read(ref, image, row, columns + shift, channel) for shift in (-1, 0, 1))

  def write(self, ref, image, row, columns, channel, value):
    inside = (row < self.height) & (columns < self.width)
    triton.store(ref.at[image, row, columns, channel], value.astype(ref.dtype), mask=self.exists(inside, channel))

  def exists(self, inside, channel):
    if self.channels % self.tile_channels:
      return inside & (channel < self.channels)
    return jnp.broadcast_to(inside, (self.tile_columns, self.tile_channels))

  def taps(self, ref, channel):
    """The kernel, nine times `[1, channels]`."""
    read = lambda tap: triton.load(ref.at[tap, channel[0]], mask=channel[0] < self.channels, other=0)
    return [read(tap).astype(jnp.promote_types(ref.dtype, jnp.float32))[None] for tap in range(9)]


def _conv_kernel(x_ref, kernel_ref, out_ref, *, tiles):
  image, first_row, columns, channel = tiles.of_program()
  taps = tiles.taps(kernel_ref, channel)
  read = lambda row: tiles.read_shifts(x_ref, image, row, columns, channel)

  def add_rows(index, above_and_here):
    row = first_row + index * tiles.rows_at_once
    lines = list(above_and_here) + [read(row + step + 1) for step in range(tiles.rows_at_once)]
    for step in range(tiles.rows_at_once):
      tiles.write(out_ref, image, row + step, columns, channel, _weighted(taps, lines[step:step + 3]))
    return tuple(lines[-2:])

  lax.fori_loop(0, tiles.rows // tiles.rows_at_once, add_rows, (read(first_row - 1), read(first_row)))


def _transpose_kernel(x_ref, kernel_ref, cotangent_ref, x_grad_ref, parts_ref, *, tiles):
  image, first_row, columns, channel = tiles.of_program()
  taps = tiles.taps(kernel_ref, channel)[::-1]
  read = lambda row: tiles.read_shifts(cotangent_ref, image, row, columns, channel)

  def add_rows(index, carry):
    above_and_here, totals = carry
    row = first_row + index * tiles.rows_at_once
    lines = list(above_and_here) + [read(row + step + 1) for step in range(tiles.rows_at_once)]
    pixels = [tiles.read(x_ref, image, row + step, columns, channel) for step in range(tiles.rows_at_once)]
    for step, x in enumerate(pixels):
      shifts = lines[step:step + 3]
      tiles.write(x_grad_ref, image, row + step, columns, channel, _weighted(taps, shifts))
      x = x.astype(totals[0].dtype)
      totals = tuple(total + x * shift.astype(x.dtype) for total, shift in zip(totals, itertools.chain(*shifts)))
    return tuple(lines[-2:]), totals

  zeros = (jnp.zeros((tiles.tile_columns, tiles.tile_channels), parts_ref.dtype),) * 9
  before = (read(first_row - 1), read(first_row))
  _, totals = lax.fori_loop(0, tiles.rows // tiles.rows_at_once, add_rows, (before, zeros))
  for tap, total in enumerate(totals[::-1]):  # A pixel meets the cotangent of its left neighbour in the right tap.
    triton.store(parts_ref.at[pl.program_id(0), tap, channel[0]], jnp.sum(total, 0), mask=channel[0] < tiles.channels)


def _weighted(taps, lines):
  """Three rows, each in its three shifts, times the taps."""
  return sum(shift.astype(tap.dtype) * tap for tap, shift in zip(taps, itertools.chain(*lines)))
