"""Tiles that cover an image along an axis, for what is too large to be worked on at once. Sizes are in px."""

import numpy as np


def tiles_along(side: int, tile_size: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
  """Where tiles along one axis begin, `[k]`, and their weights `[k, tile_size]`, which sum to 1 at every pixel.

  Of what two neighbours share, each drops the outer quarter, and the half between is blended smoothly. The last tile
  ends with the side, and shares more with the one before it where sides do not fit.

  Args:
    side: px, at least that of a tile.
    tile_size: px.
    overlap: px that neighbours share at least, at most half of a tile.
  """
  step = tile_size - overlap
  count = 1 + max(0, -(-(side - tile_size) // step))
  starts = np.minimum(np.arange(count) * step, side - tile_size)
  weights = np.ones((count, tile_size))
  rise = _rise(overlap)
  weights[1:, :overlap] *= rise
  weights[:-1, tile_size - overlap:] *= rise[::-1]
  total = np.zeros(side)
  for start, row in zip(starts, weights):
    total[start:start + tile_size] += row
  normalised = [row / total[start:start + tile_size] for start, row in zip(starts, weights)]
  return starts.astype(np.int32), np.array(normalised, np.float32)


def _rise(overlap) -> np.ndarray:
  """From 0 over the first quarter to 1 over the last, `[overlap]`; with its mirror image it sums to 1."""
  places = (np.arange(overlap) + 0.5) / max(overlap, 1)
  return np.sin(np.pi / 2 * np.clip(2 * places - 0.5, 0, 1))**2
