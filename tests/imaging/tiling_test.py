"""Laws of tiles along a side: they cover it, and their weights sum to 1."""

import numpy as np
import pytest

from debir_jax.imaging.tiling import tiles_along


@pytest.mark.parametrize("side, size, overlap", [(64, 16, 0), (64, 16, 8), (61, 16, 4), (23, 16, 8), (16, 16, 8)])
def test_weights_are_smooth_and_sum_to_one(side, size, overlap):
  """Every pixel is covered; at an inner edge a tile has no weight, at the edges of the image its full one."""
  starts, weights = tiles_along(side, size, overlap)
  total = np.zeros(side)
  for start, row in zip(starts, weights):
    total[start:start + size] += row
  np.testing.assert_allclose(total, 1, atol=1e-6)
  assert starts[0] == 0 and starts[-1] == side - size and (np.diff(starts) > 0).all()
  assert (weights >= 0).all() and weights[0, 0] == weights[-1, -1] == 1
  if overlap:
    assert (weights[1:, :overlap // 4] == 0).all() and (weights[:-1, size - overlap // 4:] == 0).all()
    assert np.abs(np.diff(weights)).max() < (0.8 if overlap == 4 else 0.4)
