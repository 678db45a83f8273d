"""Laws of how scenes move: shares and speeds are as stated."""

import jax
import numpy as np
import pytest

from debir_jax.scenes import MotionStatistics, motion_statistics

_KEYS = jax.random.split(jax.random.key(1), 20_000)


def _speeds(**fields):
  return np.asarray(jax.jit(jax.vmap(MotionStatistics(**fields).draw_speed))(_KEYS))


def test_speeds_are_the_stated_mixture():
  """Of the scenes 9 % stand still; of the others 15 % move by 60 px/s in the median, the rest by 360, cut at 1260."""
  speeds = _speeds()
  moving = speeds[speeds > 0]
  assert 1 - len(moving) / len(speeds) == pytest.approx(0.09, abs=0.01)
  assert np.median(_speeds(static_fraction=0, slow_fraction=0)) == pytest.approx(360, abs=7)
  assert np.median(_speeds(static_fraction=0, slow_fraction=1)) == pytest.approx(60, abs=2)
  assert np.mean(moving < 60) == pytest.approx(0.15 * 0.5, abs=0.01)
  assert moving.max() == pytest.approx(1260) and 0.0005 < np.mean(moving > 1259) < 0.006


def test_all_speeds_are_in_proportion_to_the_median():
  """Also those of slow hands."""
  np.testing.assert_allclose(_speeds(median_speed_px_s=540.0), 1.5 * _speeds(), rtol=1e-5)
  assert not _speeds(static_fraction=1.0).any()


def test_parallax_is_faster_than_the_background():
  """By a quarter to twice as fast."""
  factors = jax.vmap(motion_statistics.draw_parallax)(_KEYS)
  assert factors.min() == pytest.approx(1.25, abs=0.01) and factors.max() == pytest.approx(2, abs=0.01)


def test_the_smaller_a_crop_the_rarer_its_layers():
  """Shares are those of crops of 256 px; a crop has none if neither half of it, at half the side, has one."""
  share = MotionStatistics().share_in_crop
  assert share(0.3, 256) == pytest.approx(0.3) and share(1.0, 32) == 1 and share(0.0, 96) == 0
  assert (1 - share(0.3, 64))**2 == pytest.approx(1 - share(0.3, 128))


@pytest.mark.parametrize("field, value", [
    ("static_fraction", 1.1), ("slow_fraction", -0.1), ("parallax_fraction", float("nan")), ("object_fraction", 2),
    ("median_speed_px_s", 0.0), ("median_speed_px_s", float("inf"))])
def test_impossible_statistics_are_named(field, value):
  """The field, its value and what is possible."""
  with pytest.raises(ValueError, match=f"{field}={value} must be"):
    MotionStatistics(**{field: value})
