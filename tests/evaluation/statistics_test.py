"""Errors and intervals over groups and seeds hold the truth as often as they say."""

import numpy as np
import pytest

from debir_jax.evaluation.statistics import Units, interval_of_mean, mean_and_error


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says():
  """Of means of 40 skewed numbers, 95 % within a few; and it shrinks with their number."""
  rng = np.random.default_rng(3)
  intervals = np.array([interval_of_mean(values) for values in rng.gamma(2.0, size=(200, 40))])
  held = np.mean((intervals[:, 0] < 2.0) & (2.0 < intervals[:, 1]))
  assert 0.88 < held < 0.98
  wide, narrow = [np.ptp(interval_of_mean(rng.normal(size=size))) for size in (20, 2000)]
  assert narrow == pytest.approx(2 * 1.96 / 2000 ** 0.5, rel=0.15) and wide > 5 * narrow
  assert np.isnan(interval_of_mean(np.ones(2))).all()


def test_without_groups_the_error_is_the_textbooks():
  """std / sqrt(N), of every column."""
  values = np.random.default_rng(0).normal(size=(20, 3))
  mean, error = mean_and_error(values)
  np.testing.assert_allclose(mean, values.mean(0))
  np.testing.assert_allclose(error, values.std(0, ddof=1) / np.sqrt(20))


def _clustered(rng, num_groups=20, size=6):
  """Values that share most of what is random within a group, and their groups."""
  values = rng.normal(size=(num_groups, 1)) + 0.3 * rng.normal(size=(num_groups, size))
  return values.ravel(), Units(np.repeat(np.arange(num_groups), size), [0] * num_groups * size)


def test_errors_and_intervals_are_right_where_scenes_share_a_photo():
  """The error is the spread of the mean over worlds, and 95 % intervals hold 0; over scenes they would hold it rarely.
  """
  rng = np.random.default_rng(1)
  worlds = [_clustered(rng) for _ in range(300)]
  means, errors = np.array([mean_and_error(*world) for world in worlds]).T
  assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
  held = lambda intervals: np.mean([low < 0 < high for low, high in intervals])
  assert 0.88 < held([interval_of_mean(*world) for world in worlds[:150]]) < 0.99
  assert held([interval_of_mean(values) for values, _ in worlds[:150]]) < 0.75


def test_the_luck_of_a_seed_is_part_of_the_error():
  """Networks of three seeds that differ by 1 dB: the mean is known to about 1 / sqrt(3), however many photos."""
  rng = np.random.default_rng(2)
  luck, photos = np.array([-1.0, 0.0, 1.0]), 200
  values = (luck[:, None] + 0.1 * rng.normal(size=(3, photos))).ravel()
  units = Units(np.tile(np.arange(photos), 3), np.repeat(np.arange(3), photos))
  _, error = mean_and_error(values, units)
  assert 0.35 < error < 0.65
  low, high = interval_of_mean(values, units)
  assert low < -0.5 and high > 0.5
  assert (units.num_groups, units.num_seeds) == (photos, 3)


def test_too_few_groups_have_no_interval():
  """Nor an error, where there is one."""
  units = Units(["a"] * 5, [0] * 5)
  assert np.isnan(mean_and_error(np.arange(5.0), units)[1])
  assert np.all(np.isnan(interval_of_mean(np.arange(6.0), Units([0, 0, 0, 1, 1, 1], [0] * 6))))


def test_names_of_groups_do_not_matter():
  """Text, numbers, in any order."""
  values, units = _clustered(np.random.default_rng(5))
  named = Units([f"photo {group}" for group in units.groups], units.seeds)
  assert mean_and_error(values, named) == mean_and_error(values, units)


def test_the_interval_is_that_of_the_percentile_bootstrap():
  """Of skewed numbers: quantiles of the means of as many of them, drawn with replacement."""
  rng = np.random.default_rng(4)
  values = np.exp(2 * rng.normal(size=25))
  means = rng.choice(values, (40_000, 25)).mean(1)
  for confidence in (0.95, 0.5):
    expected = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    np.testing.assert_allclose(interval_of_mean(values, confidence=confidence), expected, rtol=0.06)
  assert interval_of_mean(values) == interval_of_mean(values) != interval_of_mean(values, seed=1)
