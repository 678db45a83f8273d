"""Exposure times that do not look at the scene, for every burst length of the paper."""

import jax
import numpy as np
import pytest

from debir_jax.policies import (
  Fixed,
  bracket,
  candidate_set,
  format_exposure_times,
  random_exposure_times,
  uniform,
)
from debir_jax.types import BurstTiming

KEY = jax.random.key(0)
PRESETS = pytest.mark.parametrize("preset", (BurstTiming.paper, BurstTiming.release), ids=("paper", "release"))
NUM_FRAMES = pytest.mark.parametrize("num_frames", (2, 4, 6, 8))


@pytest.mark.parametrize("num_frames,expected", (
    (2, [8, 56]), (4, [8, 24, 40, 56]), (6, [8, 17.6, 27.2, 36.8, 46.4, 56]),
    (8, [8, 14.857, 21.714, 28.571, 35.429, 42.286, 49.143, 56])))
def test_bracket_is_the_one_of_the_paper(num_frames, expected):
  """Linear from 8/1920 s, for n = 2, 4, 6, 8."""
  timing = BurstTiming.paper(num_frames)
  np.testing.assert_allclose(1920 * bracket(timing)(KEY, None, timing), expected, atol=1e-3)


@PRESETS
@NUM_FRAMES
def test_bracket_uses_up_the_budget(preset, num_frames):
  """The times add up to t_u, the first is t_min, steps are equal."""
  timing = preset(num_frames)
  times = np.array(bracket(timing).exposure_times)
  np.testing.assert_allclose([times.sum(), times[0]], [timing.budget_s, timing.min_exposure_s], rtol=1e-12)
  np.testing.assert_allclose(np.diff(times), times[1] - times[0], rtol=1e-9)


def test_candidates_for_four_frames_are_the_set_of_the_paper():
  """E = {8}x4, {16}x4, {24}x4, {32}x4, {8,16,24,32} / 1920 s, with these names."""
  names, exposure_times = candidate_set(BurstTiming.paper())
  np.testing.assert_allclose(1920 * exposure_times, [[8] * 4, [16] * 4, [24] * 4, [32] * 4, [8, 16, 24, 32]])
  assert names == ("{8}x4", "{16}x4", "{24}x4", "{32}x4", "{8,16,24,32}")


@PRESETS
@NUM_FRAMES
def test_every_candidate_is_a_legal_policy(preset, num_frames):
  """Each candidate has n times within minimum and budget, and comes out of `Fixed` unchanged."""
  timing = preset(num_frames)
  for exposure_times in candidate_set(timing).exposure_times:
    np.testing.assert_allclose(Fixed(exposure_times)(KEY, None, timing), exposure_times, rtol=1e-6)


@NUM_FRAMES
def test_uniform_fits_every_burst_length(num_frames):
  """One time, given to all n frames."""
  times = uniform(24 / 1920)(KEY, None, BurstTiming.paper(num_frames))
  np.testing.assert_allclose(times, [24 / 1920] * num_frames, rtol=1e-6)


def test_fixed_is_hashable_and_traceable():
  """A policy may be static under jit and mapped over scenes."""
  timing = BurstTiming.paper()
  times = jax.vmap(lambda key: bracket(timing)(key, None, timing))(jax.random.split(KEY, 3))
  np.testing.assert_allclose(times, np.tile(np.array([8, 24, 40, 56]) / 1920, (3, 1)), rtol=1e-6)
  assert hash(bracket(timing)) == hash(bracket(timing)) and bracket(timing) == bracket(timing)


def test_random_times_are_uniform_between_minimum_and_maximum():
  """Each of n times is uniform in [8, 64]/1920 s: bounds, quartiles (Monte Carlo), no correlation between frames."""
  timing = BurstTiming.paper()
  times = 1920 * np.asarray(jax.vmap(lambda key: random_exposure_times(key, timing))(jax.random.split(KEY, 4000)))
  assert times.shape == (4000, 4) and times.min() >= 8 and times.max() <= 64
  np.testing.assert_allclose(np.quantile(times, [0.25, 0.5, 0.75], axis=0), [[22] * 4, [36] * 4, [50] * 4], atol=2)
  assert np.abs(np.corrcoef(times.T) - np.eye(4)).max() < 0.08


def test_random_bursts_of_several_sizes_have_each_as_often():
  """Frames behind the last one are left out; those before it are drawn as ever."""
  draw = lambda key: random_exposure_times(key, BurstTiming.paper(8), (2, 4, 8))
  times = 1920 * np.asarray(jax.vmap(draw)(jax.random.split(KEY, 3000)))
  sizes, counts = np.unique((times > 0).sum(1), return_counts=True)
  np.testing.assert_array_equal(sizes, (2, 4, 8))
  np.testing.assert_allclose(counts, 1000, atol=100)
  assert np.all((times > 0) == (np.arange(8) < (times > 0).sum(1)[:, None]))
  np.testing.assert_allclose(np.quantile(times[:, :2], [0, 0.5, 1]), (8, 36, 64), atol=2)


def test_fixed_times_may_leave_frames_out_but_the_first():
  burst = Fixed((20 / 1920, 30 / 1920, 0, 0, 0, 0))
  np.testing.assert_allclose(burst(KEY, None, BurstTiming.paper(6)), np.array([20, 30, 0, 0, 0, 0]) / 1920, rtol=1e-6)
  assert format_exposure_times(burst.exposure_times) == "{20,30}"
  with pytest.raises(ValueError, match="minimum"):
    Fixed((0.0, 20 / 1920))(KEY, None, BurstTiming.paper(2))


@pytest.mark.parametrize("exposure_times,name", (
    ([8 / 1920, 14.857 / 1920], "{8,14.9}"), ([32 / 1920] * 6, "{32}x6"), ([8 / 1920], "{8}x1")))
def test_names_are_in_subframes(exposure_times, name):
  """Three digits at most, "{t}xn" for equal times."""
  assert format_exposure_times(exposure_times) == name


@pytest.mark.parametrize("exposure_times,message", (
    ([8 / 1920] * 3, r"\{8\}x3.*3 exposure times for a burst of 4"), ([4 / 1920] * 4, r"\{4\}x4.*below the minimum"),
    ([33 / 1920] * 4, r"\{33\}x4.*more than the budget"), ([8.0, 16.0, 24.0, 32.0], "more than the budget"),
    ([np.nan] * 4, "below the minimum")))
def test_times_that_cannot_be_are_refused(exposure_times, message):
  """A wrong count, too short, too long, subframes instead of seconds, NaN: named with the remedy."""
  with pytest.raises(ValueError, match=message):
    Fixed(exposure_times)(KEY, None, BurstTiming.paper())
