"""Policies that meter a preview by hand: one time for all frames, within the limits, in the right direction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import AverageAE, GradientAE, MotionMetering
from debir_jax.types import BurstTiming, CameraColor, Observation

KEY, TIMING = jax.random.key(0), BurstTiming.paper()
POLICIES = pytest.mark.parametrize("policy", [
    AverageAE(reference_gain=600.0), GradientAE(reference_gain=600.0), GradientAE(reference_gain=600.0, update="2014"),
    MotionMetering(max_blur_px=2.0)], ids=["average", "gradient 2018", "gradient 2014", "motion"])


def _observation(previews=None, gain=600.0, flow_px=1.0):
  previews = jnp.full((2, 16, 16, 4), 0.18) if previews is None else jnp.stack([jnp.zeros_like(previews), previews])
  return Observation(previews=previews, preview_gain=jnp.float32(gain), mean_flow_px=jnp.float32(flow_px),
                     motion_magnitude=jnp.float32(0.5), color=CameraColor.neutral())


def _texture(scale, seed=0):
  """Smooth blobs, their mean at `scale`."""
  y, x = np.mgrid[:48, :48]
  phase = np.random.default_rng(seed).uniform(0, 6, 3)
  waves = sum(np.sin(k * x / 6 + phase[k]) * np.cos(k * y / 7 - phase[k]) for k in range(3))
  image = np.clip(scale * (1 + 0.9 * waves / np.abs(waves).max()), 0, 1)
  return jnp.asarray(np.repeat(image[..., None], 4, -1), jnp.float32)


@POLICIES
@pytest.mark.parametrize("num_frames", [2, 4, 8])
def test_one_time_for_all_frames_within_the_limits(policy, num_frames):
  """Whatever the preview: black, white, still, fast."""
  timing = BurstTiming.paper(num_frames)
  for previews in (None, jnp.zeros((16, 16, 4)), jnp.ones((16, 16, 4)), _texture(0.2)):
    for flow_px in (0.0, 1.0, 1e4):
      times = np.asarray(jax.jit(policy, static_argnums=2)(KEY, _observation(previews, flow_px=flow_px), timing))
      assert times.shape == (num_frames,) and np.ptp(times) == 0
      assert timing.min_exposure_s * (1 - 1e-6) <= times[0] <= timing.budget_s / num_frames * (1 + 1e-6)


def test_average_ae_meets_its_target(x64):
  """A preview at the target, taken at the reference gain, keeps the preview's exposure; half as bright, twice it; a
  black one gets as long as can be."""
  policy, time = AverageAE(reference_gain=600.0), lambda **kw: float(policy(KEY, _observation(**kw), TIMING)[0])
  np.testing.assert_allclose(time(), TIMING.preview_exposure_s, rtol=1e-5)
  np.testing.assert_allclose(time(previews=jnp.full((16, 16, 4), 0.12)), 1.5 * TIMING.preview_exposure_s, rtol=1e-5)
  np.testing.assert_allclose(time(gain=900.0), 1.5 * TIMING.preview_exposure_s, rtol=1e-5)
  for dark in (0.0, -0.01):  # Noise around a black level may be negative in the mean.
    np.testing.assert_allclose(time(previews=jnp.full((16, 16, 4), dark)), TIMING.budget_s / 4, rtol=1e-5)


def test_motion_metering_keeps_the_blur():
  """Speed times exposure time is b_max, between the limits."""
  policy, interval_s = MotionMetering(max_blur_px=1.0), TIMING.preview_exposure_s + TIMING.preview_gap_s
  for scale in (1.0, 1e-3):  # Also where both are small.
    time = MotionMetering(max_blur_px=scale)(KEY, _observation(flow_px=3.0 * scale), TIMING)[0]
    np.testing.assert_allclose(time * 3.0 / interval_s, 1.0, rtol=1e-5)
  np.testing.assert_allclose(policy(KEY, _observation(flow_px=0.0), TIMING)[0], TIMING.budget_s / 4, rtol=1e-5)


def test_information_of_a_gradient_is_that_of_the_papers():
  """A ramp with one gradient everywhere, by hand; below the threshold it tells nothing; a full step tells 1."""
  policy = GradientAE(reference_gain=1.0)
  ramp = lambda slope: jnp.arange(5) * slope * jnp.ones((5, 1))
  expected = 16 * np.log(1000 * (0.1 - 0.06) + 1) / np.log(1000 * (1 - 0.06) + 1)
  np.testing.assert_allclose(policy.information(ramp(0.1)), expected, rtol=1e-5)
  assert policy.information(ramp(0.05)) == 0
  np.testing.assert_allclose(policy.information(jnp.array([[0.0, 1.0], [0.0, 1.0]])), 1.0, rtol=1e-5)


def test_the_best_gamma_is_the_maximum_of_the_fitted_polynomial(x64):
  """Against numpy's fit, for bright and dark images, also such with two maxima."""
  del x64
  gammas = np.array([1 / 1.9, 1 / 1.5, 1 / 1.2, 1, 1.2, 1.5, 1.9])
  for threshold, scale in ((0.01, 0.05), (0.01, 0.3), (0.01, 0.5), (0.06, 0.3), (0.06, 0.4)):
    policy, image = GradientAE(reference_gain=1.0, threshold=threshold), _texture(scale)[..., 0].astype(jnp.float64)
    information = [float(policy.information(image ** gamma)) for gamma in gammas]
    grid = np.linspace(gammas[0], gammas[-1], 1000)
    best = grid[np.argmax(np.polyval(np.polyfit(gammas, information, 5), grid))]
    np.testing.assert_allclose(policy.best_gamma(image), best, atol=0.01)


def test_the_polynomial_keeps_its_precision_on_accelerators():
  """Where factors are rounded unless told otherwise: neighbours on the grid differ by less."""
  program = str(jax.make_jaxpr(GradientAE(reference_gain=1.0).best_gamma)(jnp.ones((8, 8))))
  assert program.count("dot_general[") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 1


@pytest.mark.parametrize("update", ["2014", "2018"])
def test_gradient_ae_updates_as_printed(update):
  """At gamma = 1 nothing changes, dark images get longer; one value of each paper's formula."""
  policy = GradientAE(reference_gain=1.0, update=update, proportional_gain=0.4, nonlinearity=0.5)
  np.testing.assert_allclose(policy.factor(jnp.float32(1.0)), 1.0, rtol=1e-5)
  assert policy.factor(jnp.float32(0.6)) > 1 > policy.factor(jnp.float32(1.5))
  ratio = 1.5 if update == "2014" else 0.5 * np.tan(1.5 * np.arctan(2) - np.arctan(2)) + 1
  np.testing.assert_allclose(policy.factor(jnp.float32(0.5)), 1 + 0.4 * (ratio - 1), rtol=1e-5)


def _slow_gradient_ae(previews, gain, reference_gain, update, num_updates):
  """Exposure time in units of the preview's, as the papers write it, on images made for the screen; K, delta, lambda
  and d as they say."""
  gammas, grid = np.array([1 / 1.9, 1 / 1.5, 1 / 1.2, 1, 1.2, 1.5, 1.9]), np.linspace(1 / 1.9, 1.9, 276)

  def information(image):
    slope = np.hypot(image[1:, :-1] - image[:-1, :-1], image[:-1, 1:] - image[:-1, :-1])
    return (np.log(1000 * np.maximum(slope - 0.06, 0) + 1) / np.log(1000 * (1 - 0.06) + 1)).sum()

  exposure = 1.0
  for _ in range(num_updates):
    shown = np.clip(previews[1, ..., 1:3].mean(-1) * reference_gain / gain * exposure, 0, 1) ** (1 / 2.2)
    fit = np.polyfit(gammas, [information(shown ** gamma) for gamma in gammas], 5)
    gamma = grid[np.argmax(np.polyval(fit, grid))]
    ratio = 2 - gamma if update == "2014" else 0.5 * np.tan((2 - gamma) * np.arctan(2) - np.arctan(2)) + 1
    exposure *= 1 + (0.5 if gamma >= 1 else 1) * 0.4 * (ratio - 1)
  return exposure


@pytest.mark.parametrize("update", ["2014", "2018"])
def test_gradient_ae_is_what_the_papers_write(x64, update):
  """Its default numbers, the light of the screen, one update and several, before either limit is met; the best gamma is
  the first of its grid, the last, or, in the second texture, between both."""
  del x64
  planes = jnp.array([0.3, 0.9, 1.1, 0.4])  # Only green counts: both of its planes.
  for scale, num_updates, seed in ((0.02, 1, 0), (0.15, 1, 0), (0.15, 3, 0), (0.6, 1, 0), (0.6, 2, 0), (0.15, 3, 1)):
    observation = _observation(_texture(scale, seed).astype(jnp.float64) * planes, gain=512.0)
    policy = GradientAE(reference_gain=900.0, update=update, num_updates=num_updates)
    found = policy(KEY, observation, TIMING)[0] / TIMING.preview_exposure_s
    expected = _slow_gradient_ae(np.asarray(observation.previews), 512.0, 900.0, update, num_updates)
    assert 0.5 < expected < 2 and abs(expected - 1) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert GradientAE(reference_gain=900.0).num_updates == 20  # So many frames settle the papers' loop.


@pytest.mark.parametrize("update", ["2014", "2018"])
def test_gradient_ae_exposes_dark_scenes_longer_than_bright_ones(update):
  """As every auto-exposure; and the preview's gain tells how dark a scene is."""
  policy = GradientAE(reference_gain=700.0, update=update, threshold=0.01)
  time = lambda scale, gain=700.0: float(policy(KEY, _observation(_texture(scale), gain=gain), TIMING)[0])
  assert time(0.05) > time(0.5)
  assert time(0.2, gain=1024.0) >= time(0.2, gain=512.0)


@pytest.mark.parametrize("make", [
    lambda: AverageAE(reference_gain=0.0), lambda: AverageAE(reference_gain=1.0, target=1.5),
    lambda: MotionMetering(max_blur_px=0.0), lambda: GradientAE(reference_gain=-1.0),
    lambda: GradientAE(reference_gain=1.0, update="2016"), lambda: GradientAE(reference_gain=1.0, num_updates=0)])
def test_impossible_settings_are_refused(make):
  """The message names the field."""
  with pytest.raises(ValueError, match="must be"):
    make()


def test_policies_are_values():
  """Equal settings are equal, so that a compiled program serves both."""
  assert hash(AverageAE(reference_gain=2.0)) == hash(AverageAE(reference_gain=2.0))
  assert dataclasses.replace(GradientAE(reference_gain=2.0), update="2014") != GradientAE(reference_gain=2.0)
