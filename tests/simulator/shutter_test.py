"""Laws of the shutter: windows, exact box integrals and their derivatives (paper, Eq. 4, 7, 9, 10).

The judge is a loop over every subframe in numpy, and central differences of it. Times of a test are in subframes of
1/1920 s (`_S`) until they enter the simulator.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from debir_jax.simulator import (
  burst_windows,
  capture_time,
  integrate,
  integrate_windows,
  preview_windows,
  shutter,
  window_weights,
)
from debir_jax.types import BurstTiming

_S = 1 / 1920  # One subframe in s.
PAPER, RELEASE = BurstTiming.paper(), BurstTiming.release()
BOTH_TIMINGS = pytest.mark.parametrize("timing", (PAPER, RELEASE), ids=("paper", "release"))
WHOLE_BUDGET = pytest.mark.parametrize("subframes", ([32, 32, 32, 32], [8, 24, 40, 56]), ids=("uniform", "bracket"))
BOTH_PRECISIONS = pytest.mark.parametrize("as_dtype", (np.float32, np.float64), ids=("float32", "float64"))


# The slow, obvious versions.


def _slow_weights(start, end, num_subframes, support):
  """w_k = max(0, min(end, k + 1) - max(start, k)) over [start, end - support + 1), normalised, one by one."""
  weights = np.zeros((len(start), num_subframes))
  for row, (window_start, window_end) in enumerate(zip(start, end)):
    entries_end = window_end - (support - 1)
    for k in range(num_subframes):
      weights[row, k] = max(0.0, min(entries_end, k + 1) - max(window_start, k))
    weights[row] /= entries_end - window_start
  return weights


def _slow_means(radiance, start, end, support):
  """Adds the weighted entries one after the other."""
  weights = _slow_weights(start, end, len(radiance), support)
  return np.stack([sum(w * entry for w, entry in zip(row, np.asarray(radiance))) for row in weights])


def _slow_burst(radiance, times, timing):
  """Means of the frames of a burst; times in subframes."""
  start, end, now = [], [], timing.burst_start_s / _S
  for time in times:
    start.append(now)
    end.append(now + time)
    now = end[-1] + timing.frame_gap_s / _S
  return _slow_means(radiance, start, end, timing.subframe_support)


def _slow_jacobian(radiance, times, timing, step=2e-4):
  """Central differences of `_slow_burst` per subframe of exposure time: [n, h, w, c, n]."""
  columns = []
  for j in range(len(times)):
    shift = step * np.eye(len(times))[j]
    columns.append((_slow_burst(radiance, times + shift, timing) - _slow_burst(radiance, times - shift, timing)))
  return np.stack(columns, -1) / (2 * step)


# Scenes and times.


def _smooth_scene(num_subframes, seed=0, shape=(2, 3, 4)):
  rng = np.random.default_rng(seed)
  k = np.arange(num_subframes).reshape(-1, 1, 1, 1)
  rate, phase = rng.uniform(0.02, 0.2, shape), rng.uniform(0, 2 * np.pi, shape)
  return 0.5 + 0.3 * np.sin(rate * k + phase)


def _rough_scene(num_subframes, seed=0, shape=(2, 3, 4)):
  return np.random.default_rng(seed).uniform(0, 1, (num_subframes, *shape))


def _random_windows(num_windows, num_subframes, support, seed=0):
  """Windows of every kind: arbitrary, inside one subframe, on boundaries, as long as the sequence."""
  rng = np.random.default_rng(seed)
  start = rng.uniform(0, num_subframes - support - 8, num_windows)
  length = rng.uniform(0.3, num_subframes - support + 1 - start)
  start[0], length[0] = 7.25, 0.5  # inside one subframe
  start[1], length[1] = 7.0, 1.0  # exactly one
  start[2], length[2] = 3.0, 0.25  # from a boundary
  start[3], length[3] = 3.75, 0.25  # up to a boundary
  start[4], length[4] = 5.0, 8.0  # boundary to boundary
  start[5], length[5] = 0.0, num_subframes - support + 1  # all
  start[6], length[6] = 4.9, 0.2  # across one boundary
  return start, start + length + support - 1


def _times_off_boundaries(timing, seed, num_frames=4):
  """Exposure times with which every window starts and ends well inside a subframe (but for t^0)."""
  rng = np.random.default_rng(seed)
  while True:
    times = rng.uniform(8, 32, num_frames)
    ends = np.cumsum(times) % 1
    if np.all((ends > 0.05) & (ends < 0.95)):
      return times


@functools.partial(jax.jit, static_argnums=2)
def _burst(radiance, exposure_times, timing):
  return integrate_windows(radiance, *burst_windows(exposure_times, timing), timing)


@functools.partial(jax.jit, static_argnums=2)
def _jacobian(radiance, exposure_times, timing):
  """d burst / d exposure time by reverse mode, [n, h, w, c, n], per second."""
  return jax.jacrev(_burst, argnums=1)(radiance, exposure_times, timing)


# Windows.


def test_frames_do_not_overlap_and_keep_their_gap(x64):
  """t_1^s = t^0, t_i^e - t_i^s = t_i and t_{i+1}^s - t_i^e = delta > 0 for any times and any even n (Eq. 4)."""
  for num_frames in (2, 4, 6, 8):
    timing = BurstTiming.paper(num_frames)
    times = np.random.default_rng(num_frames).uniform(8, 64, num_frames) * _S
    start, end = burst_windows(times, timing)
    np.testing.assert_allclose(start[0], 80 * _S, rtol=1e-15)
    np.testing.assert_allclose(end - start, times, rtol=1e-13)
    np.testing.assert_allclose(start[1:] - end[:-1], 7 * _S, rtol=1e-12)
    np.testing.assert_allclose(capture_time(times, timing), end[-1] - start[0], rtol=1e-12)


@BOTH_TIMINGS
def test_no_subframe_is_seen_by_two_frames(x64, timing):
  """At whole subframes an entry has weight in one frame at most, and 7 entries lie between neighbouring frames.

  In the paper these are the readout gap; in the release the 7 entries that an entry's own exposure skips.
  """
  weights = window_weights(*burst_windows(np.array([8.0, 24, 40, 56]) * _S, timing), 230, timing)
  seen = np.asarray(weights) > 1e-12
  assert seen.sum(axis=0).max() == 1
  first, last = seen.argmax(axis=1), 229 - seen[:, ::-1].argmax(axis=1)
  np.testing.assert_array_equal(first[1:] - last[:-1] - 1, 7)


def test_previews_lie_where_the_paper_puts_them(x64):
  """[t'_p^s, t'_p^e] = [2, 18], [t_p^s, t_p^e] = [57, 73] subframes: 39 apart, 7 before t^0 = 80 (Eq. 9, 10)."""
  start, end = preview_windows(PAPER)
  np.testing.assert_allclose(start / _S, [2, 57], rtol=1e-12)
  np.testing.assert_allclose(end / _S, [18, 73], rtol=1e-12)


def test_previews_of_the_release_are_means_of_entries_0_to_8_and_41_to_49(x64):
  """9 entries each, as an entry is itself exposed for 8 subframes and a preview for 16."""
  radiance = _rough_scene(179)
  expected = np.stack([radiance[0:9].mean(axis=0), radiance[41:50].mean(axis=0)])
  start, end = preview_windows(RELEASE)
  np.testing.assert_allclose(integrate_windows(radiance, start, end, RELEASE), expected, rtol=1e-12)
  weights = window_weights(start, end, 179, RELEASE)
  np.testing.assert_allclose(integrate(jnp.asarray(radiance), weights), expected, rtol=1e-12)


def test_burst_of_the_release_averages_t_minus_7_entries(x64):
  """With support 8 a frame of t subframes that starts at s is the mean of the entries s to s + t - 8."""
  radiance, times = _rough_scene(179), [8, 24, 40, 56]
  starts = [57, 57 + 8, 57 + 8 + 24, 57 + 8 + 24 + 40]
  expected = np.stack([radiance[s:s + t - 7].mean(axis=0) for s, t in zip(starts, times)])
  np.testing.assert_allclose(_burst(radiance, np.array(times) * _S, RELEASE), expected, rtol=1e-12)


def test_burst_of_the_paper_averages_t_entries(x64):
  """With support 1 a frame of t subframes that starts at s is the mean of the entries s to s + t - 1."""
  radiance, times = _rough_scene(230), [8, 24, 40, 56]
  starts = [80, 80 + 15, 80 + 15 + 31, 80 + 15 + 31 + 47]
  expected = np.stack([radiance[s:s + t].mean(axis=0) for s, t in zip(starts, times)])
  np.testing.assert_allclose(_burst(radiance, np.array(times) * _S, PAPER), expected, rtol=1e-12)


# Weights and means.


@BOTH_TIMINGS
def test_weights_sum_to_one_and_equal_a_loop_over_subframes(x64, timing):
  """Eq. 7 as w_k = max(0, min(end, k + 1) - max(start, k)) / length, to 1e-12, for windows of every kind."""
  start, end = _random_windows(200, 60, timing.subframe_support)
  weights = window_weights(start * _S, end * _S, 60, timing)
  np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-14)
  np.testing.assert_allclose(weights, _slow_weights(start, end, 60, timing.subframe_support), rtol=0, atol=1e-12)


@BOTH_TIMINGS
def test_means_equal_a_loop_over_subframes(x64, timing):
  """`integrate_windows` and `integrate(window_weights)` both give the slow sum, to 1e-12."""
  radiance = _rough_scene(60)
  start, end = _random_windows(40, 60, timing.subframe_support)
  expected = _slow_means(radiance, start, end, timing.subframe_support)
  fast = integrate_windows(radiance, start * _S, end * _S, timing)
  dense = integrate(jnp.asarray(radiance), window_weights(start * _S, end * _S, 60, timing))
  np.testing.assert_allclose(fast, expected, rtol=0, atol=1e-12)
  np.testing.assert_allclose(dense, expected, rtol=0, atol=1e-12)


@BOTH_TIMINGS
def test_the_matrix_product_of_accelerators_equals_the_loop_of_a_cpu(x64, timing):
  """Two ways through the same windows; derivatives are one code for both. Called by name, as a CPU never takes one."""
  radiance, off = jnp.asarray(_rough_scene(60)), timing.subframe_support - 1
  start, end = _random_windows(40, 60, timing.subframe_support)
  product = shutter._box_means_by_product(radiance, jnp.asarray(start), jnp.asarray(end - off))
  expected = _slow_means(radiance, start, end, timing.subframe_support)
  np.testing.assert_allclose(product, expected, rtol=0, atol=1e-12)
  loop = shutter._box_means_by_loop(radiance, jnp.asarray(start), jnp.asarray(end - off))
  np.testing.assert_allclose(loop, expected, rtol=0, atol=1e-12)


def test_means_are_accurate_in_float32():
  """Rounding of times (1e-5 subframes) and of the sum costs at most 1e-5 for windows of 8 subframes and more."""
  radiance, rng = _rough_scene(358), np.random.default_rng(3)
  for _ in range(5):
    times = rng.uniform(8, 64, 4)
    fast = _burst(radiance.astype(np.float32), (times * _S).astype(np.float32), PAPER)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, _slow_burst(radiance, times, PAPER), rtol=0, atol=1e-5)


@BOTH_TIMINGS
def test_splitting_a_window_and_averaging_gives_the_whole(x64, timing):
  """(e1 m1 + e2 m2) / (e1 + e2) = m for parts of e1 and e2 entries; cuts anywhere."""
  rng, radiance, off = np.random.default_rng(4), _rough_scene(60), timing.subframe_support - 1
  start, cut, end = np.sort(rng.uniform(0, 60, (30, 3)), axis=1).T
  means = jax.jit(lambda a, b: integrate_windows(jnp.asarray(radiance), a * _S, (b + off) * _S, timing))
  column = lambda x: x.reshape(-1, 1, 1, 1)
  parts = column(cut - start) * means(start, cut) + column(end - cut) * means(cut, end)
  np.testing.assert_allclose(parts / column(end - start), means(start, end), rtol=0, atol=1e-12)


@BOTH_TIMINGS
def test_constant_scene_gives_the_same_image_for_every_exposure(x64, timing):
  """Means of equal entries are that entry, whatever the window."""
  image = _rough_scene(1, seed=5)
  start, end = _random_windows(40, 60, timing.subframe_support)
  means = integrate_windows(np.repeat(image, 60, axis=0), start * _S, end * _S, timing)
  np.testing.assert_allclose(means, np.repeat(image, 40, axis=0), rtol=1e-13)


@BOTH_TIMINGS
@pytest.mark.parametrize("subframes_per_pixel", (1, 2, 4))
def test_point_at_constant_speed_becomes_a_box_of_the_right_width(x64, timing, subframes_per_pixel):
  """A point of unit brightness that moves 1/p px per subframe smears over e/p px at height p/e each; sum 1."""
  num_subframes, width = 64, 64 // subframes_per_pixel
  radiance = np.zeros((num_subframes, 1, width, 1))
  for k in range(num_subframes):
    radiance[k, 0, k // subframes_per_pixel] = 1
  for start, length in ((8.0, 16.0), (8.0, 40.0), (9.3, 20.5)):
    end = start + length + timing.subframe_support - 1
    trace = np.asarray(integrate_windows(radiance, np.array([start * _S]), np.array([end * _S]), timing)).ravel()
    edges = np.arange(width + 1) * subframes_per_pixel
    overlap = np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)
    np.testing.assert_allclose(trace, np.maximum(overlap, 0) / length, atol=1e-12)
    np.testing.assert_allclose(trace.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(trace.sum() / trace.max(), length / subframes_per_pixel, rtol=1e-12)  # its width


# Derivatives.


@BOTH_TIMINGS
@pytest.mark.parametrize("seed", range(3))
def test_gradient_to_every_exposure_time_equals_central_differences(x64, timing, seed):
  """d m_i / d t_j to 1e-6 relative on random smooth scenes: own length (i = j), shift (j < i), nothing (j > i)."""
  radiance, times = _smooth_scene(230, seed), _times_off_boundaries(timing, seed)
  numeric = _slow_jacobian(radiance, times, timing)
  analytic = np.asarray(_jacobian(radiance, times * _S, timing)) * _S
  np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9)
  assert np.abs(numeric).max() > 1e-2  # so that atol above is small
  for i, j in itertools.combinations(range(4), 2):
    np.testing.assert_array_equal(analytic[i, ..., j], 0)
    assert np.abs(analytic[j, ..., i]).max() > 1e-3


@pytest.mark.parametrize("timing, num_subframes", ((PAPER, 230), (RELEASE, 179)), ids=("paper", "release"))
@WHOLE_BUDGET
def test_gradient_at_a_boundary_is_the_mean_of_both_one_sided_derivatives(x64, timing, num_subframes, subframes):
  """Whole subframes that spend the whole budget, the last window ending before the guard subframe.

  Each one-sided derivative is checked on its own side too: by the gradient 1e-6 subframes away from the boundary.
  """
  assert timing.num_subframes(timing.budget_s) == num_subframes
  radiance, times, step = _rough_scene(num_subframes), np.array(subframes, float), 1e-4
  shifts = step * np.eye(4)

  def one_sided(sign):  # second order: (-3 m(0) + 4 m(h) - m(2 h)) / 2 h
    at = lambda shift: _slow_burst(radiance, times + sign * shift, timing)
    return sign * np.stack([(-3 * at(0) + 4 * at(x) - at(2 * x)) / (2 * step) for x in shifts], -1)

  left, right = one_sided(-1), one_sided(1)
  assert np.abs(right - left).max() > 1e-2  # the scene jumps, so the sides differ
  at_boundary = np.asarray(_jacobian(radiance, times * _S, timing)) * _S
  np.testing.assert_allclose(at_boundary, (left + right) / 2, rtol=1e-6, atol=1e-8)
  for side, sign in ((left, -1), (right, 1)):
    # All of t moves, so that every window edge behind t^0 leaves its boundary on the same side.
    nearby = np.asarray(_jacobian(radiance, (times + sign * 1e-6) * _S, timing)) * _S
    np.testing.assert_allclose(nearby, side, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("timing", (PAPER, RELEASE), ids=("paper", "release"))
@WHOLE_BUDGET
def test_a_longer_sequence_changes_nothing_but_a_missing_guard_does(x64, timing, subframes):
  """`num_subframes(budget)` entries suffice for means and derivatives; one fewer would change the last derivative."""
  times, enough = np.array(subframes) * _S, timing.num_subframes(timing.budget_s)
  radiance = _rough_scene(enough + 50)
  for function in (_burst, _jacobian):
    np.testing.assert_array_equal(function(radiance[:enough], times, timing), function(radiance, times, timing))
  without_guard = _jacobian(radiance[:enough - 1], times, timing)
  assert np.abs(without_guard - _jacobian(radiance, times, timing))[-1].max() * _S > 1e-3


@BOTH_TIMINGS
def test_float32_times_on_boundaries_are_recognised(timing):
  """k/1920 s in float32 falls beside the boundary by rounding; the derivative is the mean of both sides all the same.

  The whole-budget cases, and 50 random bursts of whole subframes in a sequence of 358, against float64.
  """
  rng = np.random.default_rng(6)
  bursts = np.concatenate([[[32] * 4, [8, 24, 40, 56]], rng.integers(8, 65, (50, 4))]).astype(float)
  radiance = _rough_scene(358, shape=(1, 2, 4))
  with jax.enable_x64(True):
    exact = np.asarray(jax.vmap(_jacobian, (None, 0, None))(radiance, bursts * _S, timing))
    beside = np.asarray(jax.vmap(_jacobian, (None, 0, None))(radiance, (bursts + 1e-5) * _S, timing))
  in_float32 = (radiance.astype(np.float32), (bursts * _S).astype(np.float32), timing)
  rounded = jax.vmap(_jacobian, (None, 0, None))(*in_float32)
  assert rounded.dtype == np.float32
  # An edge at subframe 300 is rounded by up to 1.5e-5, which a window of one entry (release, t = 8) shows in its mean.
  np.testing.assert_allclose(rounded * _S, exact * _S, rtol=0, atol=5e-5)
  assert np.abs(beside - exact).max() * _S > 1e-2  # a derivative of one side would be far off
  for one in range(3):
    alone = _jacobian(in_float32[0], in_float32[1][one], timing)
    np.testing.assert_allclose(alone, rounded[one], rtol=0, atol=5e-5 / _S)


def test_dense_weights_differentiate_to_the_same_means_of_both_sides(x64):
  """Autodiff of the readable reference agrees at positions that are boundaries exactly (interval 1 s)."""
  timing = dataclasses.replace(
      PAPER, subframe_interval_s=1.0, frame_gap_s=7.0, preview_exposure_s=16.0, preview_gap_s=39.0, burst_start_s=80.0,
      min_exposure_s=8.0, max_exposure_s=64.0, budget_s=128.0)
  radiance, start, end = _rough_scene(60), np.array([3.0, 8.0, 20.5]), np.array([5.0, 40.0, 21.0])
  dense = jax.jit(jax.jacrev(lambda s, e: integrate(jnp.asarray(radiance), window_weights(s, e, 60, timing)), (0, 1)))
  fast = jax.jit(jax.jacrev(lambda s, e: integrate_windows(jnp.asarray(radiance), s, e, timing), (0, 1)))
  np.testing.assert_allclose(fast(start, end), dense(start, end), atol=1e-12)


@BOTH_TIMINGS
@BOTH_PRECISIONS
def test_gradient_is_zero_on_a_static_scene(timing, as_dtype):
  """Nothing moves, so no exposure time matters; the authors' release gives -S / e here."""
  with jax.enable_x64(as_dtype is np.float64):
    radiance = np.repeat(_rough_scene(1, seed=7), 230, axis=0).astype(as_dtype)
    for times in ([32, 32, 32, 32], [8.3, 24.1, 40.7, 9.9]):
      gradient = np.asarray(_jacobian(radiance, (np.array(times) * _S).astype(as_dtype), timing)) * _S
      np.testing.assert_allclose(gradient, 0, atol=20 * np.finfo(as_dtype).eps)  # S / e would be 1e-2


@BOTH_TIMINGS
def test_derivatives_are_the_closed_forms(x64, timing):
  """dm/de = (S(s+e) - m) / e and dm/ds = (S(s+e) - S(s)) / e with e = t - f + 1 for support f, in forward mode."""
  rng, radiance, off = np.random.default_rng(8), _rough_scene(60), timing.subframe_support - 1
  start, length = rng.uniform(0, 20, 50), rng.uniform(0.3, 30, 50)
  column = lambda x: x.reshape(-1, 1, 1, 1)
  means = lambda s, e: integrate_windows(radiance, s * _S, (s + e + off) * _S, timing)
  mean, by_length = jax.jvp(means, (start, length), (np.zeros(50), np.ones(50)))
  _, by_start = jax.jvp(means, (start, length), (np.ones(50), np.zeros(50)))
  at_start, at_end = radiance[np.floor(start).astype(int)], radiance[np.floor(start + length).astype(int)]
  np.testing.assert_allclose(by_length, (at_end - mean) / column(length), rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(by_start, (at_end - at_start) / column(length), rtol=1e-9, atol=1e-12)


def _dense_and_fast(timing, num_subframes):
  def dense(radiance, start, end):
    return integrate(radiance, window_weights(start * _S, end * _S, num_subframes, timing))

  def fast(radiance, start, end):
    return integrate_windows(radiance, start * _S, end * _S, timing)

  return dense, fast


def _windows_off_boundaries(timing):
  off = timing.subframe_support - 1
  return np.array([2.3, 7.6, 9.45]), np.array([11.7, 7.85, 20.2]) + off  # the second inside one subframe


@BOTH_TIMINGS
def test_every_derivative_equals_that_of_the_dense_reference(x64, timing):
  """jvp, jacfwd, jacrev and hessian to radiance, start and end: the closed forms are one function's derivatives."""
  dense, fast = _dense_and_fast(timing, 30)
  radiance = jnp.asarray(_rough_scene(30, shape=(1, 2, 2)))
  args = (radiance, *map(jnp.asarray, _windows_off_boundaries(timing)))
  projection = np.random.default_rng(9).standard_normal((3, 1, 2, 2))
  tangents = tuple(np.random.default_rng(i).standard_normal(x.shape) for i, x in enumerate(args))
  transforms = {
      "jvp": lambda f: lambda *x: jax.jvp(f, x, tangents),
      "jacfwd": lambda f: jax.jacfwd(f, (0, 1, 2)),
      "jacrev": lambda f: jax.jacrev(f, (0, 1, 2)),
      "hessian": lambda f: jax.hessian(lambda *x: (projection * f(*x)).sum(), (0, 1, 2)),
  }
  for name, transform in transforms.items():
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=name),
                 jax.jit(transform(fast))(*args), jax.jit(transform(dense))(*args))


def test_first_and_second_derivatives_equal_finite_differences(x64):
  """`check_grads` to order 2 in forward and reverse mode, in all three arguments at once."""
  _, fast = _dense_and_fast(PAPER, 30)
  args = (jnp.asarray(_rough_scene(30, shape=(1, 1, 2))), *map(jnp.asarray, _windows_off_boundaries(PAPER)))
  check_grads(jax.jit(fast), args, order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


# The same under every transformation.


def _batched_arguments():
  rng = np.random.default_rng(10)
  radiance = np.stack([_rough_scene(40, seed=i, shape=(2, 1, 4)) for i in range(6)]).reshape(2, 3, 40, 2, 1, 4)
  start = rng.uniform(0, 15, (2, 3, 4))
  return radiance, start, start + rng.uniform(1, 20, (2, 3, 4))


@pytest.mark.parametrize("outer", ((0, 0, 0), (None, 0, 0), (0, None, None)), ids=("batch", "same scene", "same times"))
@pytest.mark.parametrize("inner", ((0, 0, 0), (None, 0, 0), (0, None, 0)), ids=("batch", "same scene", "same start"))
def test_one_result_under_vmap_of_vmap_with_any_argument_shared(x64, outer, inner):
  """Means and gradients of a doubly vmapped call are those of single calls, whichever arguments are shared."""
  pick = lambda x, index, axes: x[index] if axes == 0 else x
  args = tuple(x if o == 0 else x[0] for x, o in zip(_batched_arguments(), outer))
  args = tuple(x if i == 0 else np.take(x, 0, axis=1 if o == 0 else 0) for x, o, i in zip(args, outer, inner))
  both = jax.jit(jax.vmap(jax.vmap(_means_and_gradients, inner), outer))(*args)
  for b, c in itertools.product(range(2), range(3)):
    single = tuple(pick(pick(x, b, o), c, i) for x, o, i in zip(args, outer, inner))
    jax.tree.map(lambda got, one: np.testing.assert_allclose(got[b, c], one, rtol=1e-12, atol=1e-14),
                 both, _jitted_means_and_gradients(*single))


def _means_and_gradients(radiance, start, end):
  weigh = lambda *x: jnp.sum(jnp.sin(3 * integrate_windows(*x[:1], *(t * _S for t in x[1:]), PAPER)))
  return integrate_windows(radiance, start * _S, end * _S, PAPER), jax.grad(weigh, (0, 1, 2))(radiance, start, end)


_jitted_means_and_gradients = jax.jit(_means_and_gradients)


def test_plain_jitted_vmapped_and_mapped_agree(x64):
  """One definition, four ways to call it."""
  radiance, start, end = (x[0, :2] for x in _batched_arguments())
  plain = jax.tree.map(lambda *x: np.stack(x), *(_means_and_gradients(*x) for x in zip(radiance, start, end)))
  for name, results in {
      "jit": jax.tree.map(lambda *x: np.stack(x), *map(_jitted_means_and_gradients, radiance, start, end)),
      "jit of vmap": jax.jit(jax.vmap(_means_and_gradients))(radiance, start, end),
      "jit of map": jax.jit(lambda *x: jax.lax.map(lambda y: _means_and_gradients(*y), x))(radiance, start, end),
  }.items():
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name), results, plain)


def test_hessian_under_vmap_over_a_shared_scene(x64):
  """Second derivatives to the times survive the batching rule: equal to those of the dense reference, one by one."""
  radiance, times = jnp.asarray(_rough_scene(230, shape=(1, 1, 4))), np.stack(
      [_times_off_boundaries(PAPER, seed) for seed in range(3)])
  fast = lambda t: jnp.sum(jnp.cos(integrate_windows(radiance, *burst_windows(t * _S, PAPER), PAPER)))
  dense = lambda t: jnp.sum(jnp.cos(integrate(radiance, window_weights(*burst_windows(t * _S, PAPER), 230, PAPER))))
  hessians = jax.jit(jax.vmap(jax.hessian(fast)))(times)
  np.testing.assert_allclose(hessians, jax.jit(jax.vmap(jax.hessian(dense)))(times), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_bursts", (None, 3), ids=("alone", "vmapped"))
def test_working_memory_is_a_few_frames_not_a_sequence(num_bursts):
  """Forward and gradient to the times keep neither [n, F, h, w] nor a copy of the sequence: under a fifth of it."""
  if jax.default_backend() != "cpu":
    pytest.skip("memory plan of the CPU path")
  shape = (230, 16, 16, 4) if num_bursts is None else (num_bursts, 230, 16, 16, 4)
  loss = lambda radiance, times: jnp.sum(_burst(radiance, times, PAPER)**2)
  step = jax.value_and_grad(loss, argnums=1)
  step = step if num_bursts is None else jax.vmap(step)
  compiled = jax.jit(step).lower(jnp.zeros(shape), jnp.full((*shape[:-4], 4), 32 * _S)).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * np.prod(shape) / 5


# Bad input.


def test_windows_outside_the_sequence_are_an_error_that_names_the_remedy(x64):
  """More than 1e-3 subframes before the start or behind the end; rounding below that is accepted."""
  radiance, one = np.ones((60, 1, 1, 4)), lambda x: np.array([x * _S])
  for start, end in ((-2e-3, 5), (50, 60.002), (100, 110)):
    for call in (lambda s, e: integrate_windows(radiance, s, e, PAPER), lambda s, e: window_weights(s, e, 60, PAPER)):
      with pytest.raises(ValueError, match="leave the sequence of 60 subframes.*Render a longer sequence"):
        call(one(start), one(end))
  for start, end in ((-5e-4, 5), (50, 60.0005)):
    np.testing.assert_allclose(integrate_windows(radiance, one(start), one(end), PAPER), 1, rtol=2e-4)
    np.testing.assert_allclose(window_weights(one(start), one(end), 60, PAPER).sum(), 1, rtol=1e-12)


def test_empty_and_backward_windows_are_an_error(x64):
  """A window must be longer than support - 1 subframes; equal is too short."""
  radiance = np.ones((60, 1, 1, 4))
  for timing, length in ((PAPER, 0), (PAPER, -3), (RELEASE, 7), (RELEASE, 6.5)):
    with pytest.raises(ValueError, match=f"longer than .* = {timing.subframe_support - 1} subframes"):
      integrate_windows(radiance, np.array([9 * _S]), np.array([(9 + length) * _S]), timing)


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_times_that_are_not_finite_are_an_error(bad):
  """NaN and infinity are named, not averaged."""
  with pytest.raises(ValueError, match="must be finite"):
    integrate_windows(np.ones((60, 1, 1, 4)), np.array([5 * _S]), np.array([bad]), PAPER)
  with pytest.raises(ValueError, match="must be finite"):
    window_weights(np.array([bad]), np.array([5 * _S]), 60, PAPER)


def test_wrong_shapes_and_integers_are_an_error():
  """A batch where one sequence is due, weights of another sequence, times of another burst length, sensor counts."""
  with pytest.raises(ValueError, match=r"\[num_subframes, h, w, c\], got shape \(2, 60, 1, 1, 4\)"):
    integrate_windows(np.ones((2, 60, 1, 1, 4)), np.array([0.0]), np.array([5 * _S]), PAPER)
  with pytest.raises(ValueError, match="floating point relative to white = 1, got uint16"):
    integrate_windows(np.ones((60, 1, 1, 4), np.uint16), np.array([0.0]), np.array([5 * _S]), PAPER)
  with pytest.raises(ValueError, match=r"weights must have shape \[n, 60\].*got \(2, 59\)"):
    integrate(jnp.ones((60, 1, 1, 4)), jnp.ones((2, 59)))
  for times in (np.ones(3), np.ones((4, 1)), np.float64(1)):
    with pytest.raises(ValueError, match=r"must have shape \(4,\)"):
      burst_windows(times, PAPER)
