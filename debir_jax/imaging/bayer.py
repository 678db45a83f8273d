"""The Bayer mosaic: sampling, packing, demosaicking, and flips that keep the phase.

A mosaic `[H, W]` is RGGB: R at (0, 0), Gr at (0, 1), Gb at (1, 0), B at (1, 1), repeated. Packed planes
`[h, w, 4]` hold the same samples in the order R, Gr, Gb, B with h = H / 2, w = W / 2 (a pixel unshuffle by 2).
Every function takes leading axes (frames, batch) and does not clip, so that calls can be chained.
"""

import math

import jax
import jax.numpy as jnp

CHANNEL_OF_PLANE = (0, 1, 1, 2)  # Of RGB, for the planes R, Gr, Gb, B.


def mosaic(rgb: jax.Array) -> jax.Array:
  """Samples `rgb [..., H, W, 3]` through the RGGB color filter array: `[..., H, W]`."""
  _check_sides("rgb", rgb, rgb.shape[-3:-1], rgb.ndim >= 3 and rgb.shape[-1] == 3, "[..., H, W, 3]")
  return unpack(jnp.stack([
      rgb[..., 0::2, 0::2, 0], rgb[..., 0::2, 1::2, 1], rgb[..., 1::2, 0::2, 1], rgb[..., 1::2, 1::2, 2]], axis=-1))


def pack(mosaicked: jax.Array) -> jax.Array:
  """Mosaic `[..., H, W]` -> planes `[..., h, w, 4]` in the order R, Gr, Gb, B. Inverse of `unpack`."""
  _check_sides("mosaic", mosaicked, mosaicked.shape[-2:], mosaicked.ndim >= 2, "[..., H, W]")
  *leading, height, width = mosaicked.shape
  cells = mosaicked.reshape(*leading, height // 2, 2, width // 2, 2)
  return jnp.moveaxis(cells, -3, -2).reshape(*leading, height // 2, width // 2, 4)


def unpack(packed: jax.Array) -> jax.Array:
  """Planes `[..., h, w, 4]` -> mosaic `[..., H, W]`. Inverse of `pack`."""
  check_packed(packed)
  *leading, height, width, _ = packed.shape
  cells = packed.reshape(*leading, height, width, 2, 2)
  return jnp.moveaxis(cells, -2, -3).reshape(*leading, height * 2, width * 2)


def check_packed(packed: jax.Array) -> None:
  """Raises ValueError unless the array is `[..., h, w, 4]`."""
  if packed.ndim < 3 or packed.shape[-1] != 4:
    raise ValueError(f"Packed RAW must be [..., h, w, 4] (R, Gr, Gb, B), got shape {packed.shape}. "
                     "Use pack(mosaic) to make it from a mosaic [..., H, W].")


def demosaic_malvar(mosaicked: jax.Array) -> jax.Array:
  """RGGB mosaic `[..., H, W]` -> RGB `[..., H, W, 3]` by gradient-corrected linear interpolation.

  H. S. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color
  images", ICASSP 2004, Fig. 2. Measured samples are kept. Linear images of equal slope in all channels come back
  exactly away from the two outermost pixels, where the mosaic is mirrored. The result can leave the mosaic's range.

  The five-by-five filters are sums of shifted slices, taken only where their output is used: XLA runs
  single-channel convolutions slowly on CPU.
  """
  _check_sides("mosaic", mosaicked, mosaicked.shape[-2:], mosaicked.ndim >= 2, "[..., H, W]")
  if min(mosaicked.shape[-2:]) < 4:
    raise ValueError(f"Demosaicking needs sides of at least 4 pixels, got {mosaicked.shape[-2:]}.")
  *leading, height, width = mosaicked.shape
  # Mirroring about the outermost sample keeps the phase of the pattern.
  padded = jnp.pad(mosaicked, [(0, 0)] * len(leading) + [(2, 2), (2, 2)], mode="reflect")
  at = [_neighbours(padded, row, column) for row in (0, 1) for column in (0, 1)]
  red_cell, gr_cell, gb_cell, blue_cell = at
  rgb_per_phase = [
      (red_cell(0, 0), _green(red_cell), _opposite(red_cell)),
      (_along_row(gr_cell), gr_cell(0, 0), _along_column(gr_cell)),
      (_along_column(gb_cell), gb_cell(0, 0), _along_row(gb_cell)),
      (_opposite(blue_cell), _green(blue_cell), blue_cell(0, 0)),
  ]
  planes = jnp.stack([jnp.stack(rgb, axis=-1) for rgb in rgb_per_phase], axis=-2)  # [..., h, w, 4, 3]
  cells = planes.reshape(*leading, height // 2, width // 2, 2, 2, 3)
  return jnp.moveaxis(cells, -3, -4).reshape(*leading, height, width, 3)


def _neighbours(padded, row, column):
  """Function (dy, dx) -> all samples of the padded mosaic at that offset from the sites of one Bayer phase."""
  height, width = padded.shape[-2] - 4, padded.shape[-1] - 4

  def at(dy, dx):
    top, left = 2 + row + dy, 2 + column + dx
    return padded[..., top:top + height - 1:2, left:left + width - 1:2]
  return at


def _near(at):
  return at(-1, 0) + at(1, 0) + at(0, -1) + at(0, 1)


def _far(at):
  return at(-2, 0) + at(2, 0) + at(0, -2) + at(0, 2)


def _diagonal(at):
  return at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1)


def _green(at):
  """G at R or B sites."""
  return (4 * at(0, 0) + 2 * _near(at) - _far(at)) / 8


def _opposite(at):
  """R at B sites, B at R sites."""
  return (6 * at(0, 0) + 2 * _diagonal(at) - 1.5 * _far(at)) / 8


def _along_row(at):
  """At a G site, the color of its left and right neighbours."""
  return (5 * at(0, 0) + 4 * (at(0, -1) + at(0, 1)) - _diagonal(at)
          - (at(0, -2) + at(0, 2)) + 0.5 * (at(-2, 0) + at(2, 0))) / 8


def _along_column(at):
  """At a G site, the color of its upper and lower neighbours."""
  return (5 * at(0, 0) + 4 * (at(-1, 0) + at(1, 0)) - _diagonal(at)
          - (at(-2, 0) + at(2, 0)) + 0.5 * (at(0, -2) + at(0, 2))) / 8


def flip_left_right(packed: jax.Array) -> jax.Array:
  """Mirrors planes `[..., h, w, 4]` left to right: `[..., h, w - 1, 4]`, still RGGB.

  A mirrored mosaic begins with G; without its first and last column the pattern is RGGB again.
  """
  check_packed(packed)
  even, odd = packed[..., :0:-1, :], packed[..., -2::-1, :]  # Columns of R and Gb; of Gr and B.
  return jnp.stack([even[..., 0], odd[..., 1], even[..., 2], odd[..., 3]], axis=-1)


def flip_up_down(packed: jax.Array) -> jax.Array:
  """Mirrors planes `[..., h, w, 4]` top to bottom: `[..., h - 1, w, 4]`, still RGGB. See `flip_left_right`."""
  check_packed(packed)
  even, odd = packed[..., :0:-1, :, :], packed[..., -2::-1, :, :]  # Rows of R and Gr; of Gb and B.
  return jnp.stack([even[..., 0], even[..., 1], odd[..., 2], odd[..., 3]], axis=-1)


def transpose(packed: jax.Array) -> jax.Array:
  """Swaps rows and columns of planes `[..., h, w, 4]`: `[..., w, h, 4]`, still RGGB (Gr and Gb change places)."""
  check_packed(packed)
  return jnp.swapaxes(packed, -3, -2)[..., jnp.array([0, 2, 1, 3])]


NUM_ORIENTATIONS = 8


def reorient(packed: jax.Array, orientation: jax.Array) -> jax.Array:
  """Planes `[..., h, h, 4]` in one of the 8 orientations of a square, of the same size and still RGGB.

  A mirrored mosaic begins with another color, so it is shifted by one pixel; the cells that this lacks at one edge
  repeat their neighbours.

  Args:
    packed: the planes.
    orientation: 0 to 7; 0 changes nothing. Its bits, in this order of use: 1 mirrors left to right, 2 top to bottom, 4
      swaps rows and columns.
  """
  if packed.shape[-3] != packed.shape[-2]:
    raise ValueError(f"Only squares have 8 orientations, got shape {packed.shape}.")
  # Of the places of one image, as the planes themselves are hundreds of images: each is read once, and written once.
  places = jnp.arange(math.prod(packed.shape[-3:])).reshape(packed.shape[-3:])
  if_bit = lambda bit, change, places: jax.lax.cond(orientation & bit > 0, change, lambda places: places, places)
  places = if_bit(1, lambda places: _repeat_last(flip_left_right(places), -2), places)
  places = if_bit(2, lambda places: _repeat_last(flip_up_down(places), -3), places)
  places = if_bit(4, transpose, places)
  flat = packed.reshape(*packed.shape[:-3], -1)
  return jnp.take(flat, places.ravel(), axis=-1, mode="clip").reshape(packed.shape)


def reorient_flow(flow: jax.Array, orientation: jax.Array) -> jax.Array:
  """Flow `[..., h, h, 2]` (x, y) of Bayer cells as it is in planes that `reorient` has turned.

  The middles of mirrored cells lie half way between those of two cells, and so does their flow.
  """
  if_bit = lambda bit, change, flow: jax.lax.cond(orientation & bit > 0, change, lambda flow: flow, flow)
  flow = if_bit(1, lambda flow: _mirror_flow(flow, -2) * jnp.array([-1, 1], flow.dtype), flow)
  flow = if_bit(2, lambda flow: _mirror_flow(flow, -3) * jnp.array([1, -1], flow.dtype), flow)
  return if_bit(4, lambda flow: jnp.swapaxes(flow, -3, -2)[..., ::-1], flow)


def _mirror_flow(flow, axis):
  mirrored, last = jnp.flip(flow, axis), flow.shape[axis] - 1
  first, second = (jax.lax.slice_in_dim(mirrored, start, start + last, axis=axis) for start in (0, 1))
  return _repeat_last((first + second) / 2, axis)


def _repeat_last(packed, axis):
  last = jax.lax.slice_in_dim(packed, packed.shape[axis] - 1, None, axis=axis)
  return jnp.concatenate([packed, last], axis=axis)


def _check_sides(name, array, sides, right_layout, layout):
  if not right_layout:
    raise ValueError(f"{name} must be {layout}, got shape {array.shape}.")
  if any(side % 2 or side == 0 for side in sides):
    raise ValueError(f"{name} must have even sides to hold whole Bayer cells, got {tuple(sides)}; "
                     "crop it by one row or column.")
