"""Restoration of images of any size in overlapping tiles: memory for one tile, and the statistics of one.

Attention between channels sums over all pixels, so a network with attention gives another result for another size of
the image. In tiles of the size that it was trained with, it works as it was trained. Sizes are in packed px.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.tiling import tiles_along
from debir_jax.restoration.restorer import Restorer

_GRID = 4  # Networks go down to a quarter of the size: tiles begin where whole images have the same pixels there.


@dataclasses.dataclass(frozen=True)
class TiledRestorer:
  """A restorer in another's place that works in tiles. Hashable if the other is.

  Attributes:
    restorer: of a tile.
    tile_size, overlap: see `restore_in_tiles`.
  """

  restorer: Restorer
  tile_size: int
  overlap: int = 0

  def init(self, key: jax.Array, frames: jax.Array) -> Any:
    """Variables of the restorer."""
    return self.restorer.init(key, frames)

  def apply(self, variables: Any, frames: jax.Array) -> jax.Array:
    """Restored `[..., H, W, 4]`."""
    return restore_in_tiles(lambda tile: self.restorer.apply(variables, tile), frames, tile_size=self.tile_size,
                            overlap=self.overlap)


def restore_in_tiles(restore: Callable[[jax.Array], jax.Array], frames: jax.Array, *, tile_size: int,
                     overlap: int = 0) -> jax.Array:
  """Restores tile after tile and blends them, with weights that sum to 1 at every pixel.

  Of what two neighbours share, each drops the outer quarter, and the half between is blended smoothly. So the result is
  that of the whole image where `restore` reaches no further than `overlap / 4` px; an overlap of 0 puts tiles side by
  side. The last tile of a row or column ends with the image and shares more with the one before it where sides do not
  fit.

  Args:
    restore: maps frames `[..., n, tile_size, tile_size, c]` to `[..., tile_size, tile_size, out]`.
    frames: `[..., n, H, W, c]` of any size from that of a tile on.
    tile_size: px, a multiple of 4.
    overlap: px that neighbours share at least, a multiple of 4 and at most half of a tile.

  Returns:
    `[..., H, W, out]`.

  Raises:
    ValueError: for a tile size or overlap that is none of the above.
  """
  _check(frames.shape, tile_size, overlap)
  height, width, channels = frames.shape[-3:]
  (tops, row_weights), (lefts, column_weights) = (tiles_along(side, tile_size, overlap) for side in (height, width))
  tile = jax.ShapeDtypeStruct((*frames.shape[:-3], tile_size, tile_size, channels), frames.dtype)
  restored = jax.eval_shape(restore, tile)
  leading = (0,) * (len(restored.shape) - 3)

  def add_tile(image, place):
    top, left, rows, columns = place
    cut = lax.dynamic_slice(frames, (0, *leading, top, left, 0), tile.shape)
    weights = (rows[:, None] * columns)[..., None].astype(image.dtype)
    so_far = lax.dynamic_slice(image, (*leading, top, left, 0), restored.shape)
    return lax.dynamic_update_slice(image, so_far + weights * restore(cut), (*leading, top, left, 0)), None

  every = np.indices((len(tops), len(lefts))).reshape(2, -1)
  places = (tops[every[0]], lefts[every[1]], row_weights[every[0]], column_weights[every[1]])
  empty = jnp.zeros((*restored.shape[:-3], height, width, restored.shape[-1]), restored.dtype)
  return lax.scan(add_tile, empty, jax.tree.map(jnp.asarray, places))[0]


def _check(shape, tile_size, overlap):
  if len(shape) < 4:
    raise ValueError(f"Expected frames [..., n, H, W, c], got the shape {shape}.")
  if tile_size < _GRID or tile_size % _GRID:
    raise ValueError(f"The size of tiles must be a multiple of {_GRID} px, got {tile_size}.")
  if tile_size > min(shape[-3:-1]):
    raise ValueError(f"Tiles of {tile_size} px are larger than the image of {shape[-3]}x{shape[-2]} px. Use smaller "
                     "ones, or restore the image as a whole.")
  if overlap < 0 or overlap % _GRID or 2 * overlap > tile_size:
    raise ValueError(f"The overlap must be a multiple of {_GRID} px and at most half of a tile of {tile_size} px, got "
                     f"{overlap}.")
