"""Laws of correlations and their intervals."""

import numpy as np
import pytest
import scipy.stats

from debir_jax.evaluation import correlate


def _correlated(num_scenes, slope, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.standard_normal(num_scenes)
  return x, slope * x + rng.standard_normal(num_scenes)


def test_values_equal_scipy_with_ties():
  """Pearson and Spearman are those of SciPy, also where values repeat."""
  x, y = _correlated(50, 0.5)
  x = np.round(x, 1)
  np.testing.assert_allclose(correlate(x, y, np.arange(50)).value, scipy.stats.pearsonr(x, y).statistic)
  np.testing.assert_allclose(correlate(x, y, np.arange(50), kind="spearman").value,
                             scipy.stats.spearmanr(x, y).statistic)


def test_rank_correlation_ignores_monotone_changes():
  """Spearman of x and exp(x) is 1; Pearson is not."""
  x = np.arange(10.0)
  assert correlate(x, np.exp(x), x, kind="spearman").value == pytest.approx(1)
  assert correlate(x, np.exp(x), x).value < 0.9


def test_interval_is_that_of_fisher_on_independent_normal_data():
  """Bootstrap and Fisher's z agree for 300 scenes with one draw each, to 15 % of the width."""
  x, y = _correlated(300, 0.7)
  result = correlate(x, y, np.arange(300))
  expected = scipy.stats.pearsonr(x, y).confidence_interval(0.95)
  np.testing.assert_allclose([result.low, result.high], expected, atol=0.15 * (expected.high - expected.low))
  np.testing.assert_allclose(result.high - result.low, expected.high - expected.low, rtol=0.15)
  assert result.low < result.value < result.high


def test_repeated_draws_of_a_scene_do_not_narrow_the_interval():
  """Ten identical draws of 30 scenes carry the information of 30 captures, not of 300."""
  x, y = _correlated(30, 0.7)
  once = correlate(x, y, np.arange(30))
  many = correlate(np.repeat(x, 10), np.repeat(y, 10), np.repeat(np.arange(30), 10))
  np.testing.assert_allclose([many.value, many.low, many.high], [once.value, once.low, once.high])
  assert many.num_scenes == 30


def test_what_does_not_vary_has_no_correlation():
  """Constant times, also up to rounding of float32, and too few scenes for an interval."""
  x, _ = _correlated(20, 0)
  flat = np.float32(8 / 1920) * (1 + 1e-8 * x)
  assert np.isnan(correlate(x, flat, np.arange(20)).value) and str(correlate(x, flat, np.arange(20))) == "n/a"
  few = correlate([1., 2., 3., 4.], [1., 2., 3., 5.], [0, 0, 1, 1])
  assert few.value > 0.9 and np.isnan(few.low)


def test_bad_arguments_are_refused():
  """An unknown kind and lengths that differ."""
  with pytest.raises(ValueError, match="'pearson' or 'spearman', got 'kendall'"):
    correlate([1., 2.], [1., 2.], [0, 1], kind="kendall")
  with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
    correlate([1., 2.], [1., 2., 3.], [0, 1])
