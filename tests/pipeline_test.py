"""The capture chain of one scene: each step is the calls that it is made of, alone, under jit and for a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.motion import MotionEstimator
from debir_jax.pipeline import Chain, capture, capture_under, observe_scene, restore, restorer_inputs
from debir_jax.policies import observe
from debir_jax.restoration import RestorerInputs
from debir_jax.simulator import (
  CaptureSetup,
  IsoNoise,
  PoissonGaussianNoise,
  gains_for,
  integrate_windows,
  sample_conditions,
  simulate_burst,
  simulate_previews,
)
from debir_jax.simulator.shutter import burst_windows
from debir_jax.types import BurstTiming, CameraColor, SampledMotion, Scene

TIMING = BurstTiming.paper()
TIMES = jnp.array([8, 24, 40, 56]) / 1920
GAINS = jnp.array([600.0, 900.0])  # Of the previews of two scenes.
KEYS = jax.random.split(jax.random.key(0), 2)
MOTION = MotionEstimator(full_scale_px_per_s=100.0)
OPTIONS = RestorerInputs(noise_map=True, validity=True, relative_exposure=True, frame_mask=True)


@dataclasses.dataclass(frozen=True)
class _WeightedMean:
  """A restorer of one number: so many times the mean of the frames' RAW."""

  def init(self, key, frames):
    del key, frames
    return {"params": {"scale": jnp.ones(())}}

  def apply(self, variables, frames):
    return variables["params"]["scale"] * frames[..., :4].mean(-4)


@pytest.fixture(scope="module")
def radiance():
  """Two gratings `[2, F, 16, 16, 4]` that move, one faster than the other."""
  places = jnp.arange(16)[None, None, :] + jnp.array([1, 2])[:, None, None] * jnp.arange(230)[None, :, None] / 40
  stripes = 0.3 + 0.2 * jnp.sin(places * 1.2)
  return jnp.broadcast_to(stripes[:, :, None, :, None], (2, 230, 16, 16, 4))


@pytest.fixture(scope="module")
def colors():
  """White balances of two cameras."""
  return CameraColor(white_balance=jnp.array([[2.0, 1.0, 1.7], [1.0, 1.0, 1.0]]),
                     ccm=jnp.broadcast_to(jnp.eye(3), (2, 3, 3)))


def _one(tree, index):
  return jax.tree.map(lambda leaf: leaf[index], tree)


def _assert_steps_agree(step, parts, batch, **tolerance):
  """`step` of one scene, under jit, and of both under jit and vmap gives what `parts` gives."""
  jitted, together, first = jax.jit(step), jax.jit(jax.vmap(step))(*batch), [_one(tree, 0) for tree in batch]
  for index, founds in ((0, (step(*first), jitted(*first), _one(together, 0))), (1, (_one(together, 1),))):
    expected = jax.jit(parts)(*[_one(tree, index) for tree in batch])
    for found in founds:
      assert jax.tree.structure(found) == jax.tree.structure(expected)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


def test_an_observation_is_made_of_previews_and_motion(radiance, colors):
  """`simulate_previews`, then `observe`."""
  def step(key, radiance, color, gain):
    return observe_scene(key, radiance, color, gain, IsoNoise(), TIMING, MOTION)

  def parts(key, radiance, color, gain):
    return observe(simulate_previews(key, radiance, gain, IsoNoise(), TIMING), gain, color, MOTION, TIMING)

  _assert_steps_agree(step, parts, (KEYS, radiance, colors, GAINS), rtol=1e-4, atol=1e-5)


def test_a_burst_is_simulated_at_the_gains_that_it_tells(radiance):
  """`simulate_burst` at `gains_for`; times, camera and what was taken stand beside the frames."""
  cameras = IsoNoise(base_iso=jnp.array([100.0, 80.0]), shot_jitter=jnp.zeros(2), log_read_jitter=jnp.zeros(2))

  def step(key, radiance, gain, camera):
    return capture(key, radiance, TIMES, gain, camera, TIMING)

  def parts(key, radiance, gain, camera):
    burst = step(key, radiance, gain, camera)
    return dataclasses.replace(
        burst, raw=simulate_burst(key, radiance, TIMES, gain, camera, TIMING), exposure_times=TIMES,
        gains=gains_for(TIMES, gain, TIMING), frame_mask=jnp.ones(4, bool), noise_model=camera)

  _assert_steps_agree(step, parts, (KEYS, radiance, GAINS, cameras), rtol=1e-5, atol=1e-5)


def test_what_the_restorer_sees_and_gives_is_its_own_call(radiance):
  """`options(burst)`, then `restorer.apply`; leading axes of the restorer are a batch."""
  take = lambda key, radiance, gain: capture(key, radiance, TIMES, gain, IsoNoise(), TIMING)
  bursts = jax.vmap(take)(KEYS, radiance, GAINS)
  _assert_steps_agree(lambda burst: restorer_inputs(burst, OPTIONS), OPTIONS, (bursts,), rtol=1e-5, atol=1e-6)
  inputs = jax.vmap(OPTIONS)(bursts)
  variables = {"params": {"scale": jnp.array(0.7)}}
  step = lambda inputs: restore(_WeightedMean(), variables, inputs)
  _assert_steps_agree(step, lambda inputs: 0.7 * inputs[..., :4].mean(0), (inputs,), rtol=1e-6)
  np.testing.assert_allclose(step(inputs), jax.vmap(step)(inputs), rtol=1e-6)


def test_gains_keep_the_brightness_of_the_preview(radiance):
  """g_i t_i = g_p t_p (Eq. 1), whatever the times; where a frame is left out its gain is 0."""
  for times in (TIMES, TIMES[::-1], TIMES.at[2].set(0)):
    burst = capture(KEYS[0], radiance[0], times, GAINS[0], IsoNoise(), TIMING)
    expected = np.where(times > 0, GAINS[0] * TIMING.preview_exposure_s, 0)
    np.testing.assert_allclose(burst.gains * burst.exposure_times, expected, rtol=1e-6)
    np.testing.assert_array_equal(burst.exposure_times, times)


def test_gains_noise_and_noise_map_belong_together(x64):
  """Frames less their signal have the variance that the noise model has at the gains of the burst, and so says the map.
  """
  noise, still = PoissonGaussianNoise(1e-6, 1e-10), jnp.full((230, 60, 60, 4), 0.3)
  burst = capture(KEYS[0], still, TIMES.astype(jnp.float64), 600.0, noise, TIMING)
  expected = noise.variance(0.3, 600.0 / 120 / np.asarray(burst.exposure_times))
  np.testing.assert_allclose(noise.variance(0.3, burst.gains), expected, rtol=1e-12)
  np.testing.assert_allclose(burst.raw.var((1, 2, 3)), expected, rtol=0.05)
  noise_map = restorer_inputs(burst, RestorerInputs(noise_map=True))[..., 4:]
  np.testing.assert_allclose((noise_map**2).mean((1, 2, 3)), expected, rtol=0.01)


def test_a_frame_that_is_left_out_leaves_the_others_as_they_are(radiance):
  """Same noise, same windows; in its place stand zeros, and for the restorer frames that were taken."""
  whole = capture(KEYS[0], radiance[0], TIMES, GAINS[0], IsoNoise(), TIMING)
  burst = capture(KEYS[0], radiance[0], TIMES.at[2:].set(0), GAINS[0], IsoNoise(), TIMING)
  np.testing.assert_allclose(burst.raw[:2], whole.raw[:2], atol=1e-6)
  assert not np.any(burst.raw[2:]) and not np.any(burst.gains[2:])
  np.testing.assert_array_equal(burst.frame_mask, [True, True, False, False])
  frames = restorer_inputs(burst, OPTIONS)
  np.testing.assert_array_equal(frames[2:, ..., :-1], frames[:2, ..., :-1])
  np.testing.assert_array_equal(frames[:, 0, 0, -1], [1, 1, 0, 0])
  middle = capture(KEYS[0], radiance[0], TIMES.at[1].set(0), GAINS[0], PoissonGaussianNoise(0.0, 0.0), TIMING)
  taken = jnp.array([0, 2, 3])
  signal = integrate_windows(radiance[0], *(s[taken] for s in burst_windows(TIMES.at[1].set(0), TIMING)), TIMING)
  np.testing.assert_allclose(middle.raw[taken], signal, atol=1e-4)


def test_a_burst_is_differentiable_in_its_times_through_frames_and_gains(radiance):
  """Also where a frame is left out; the gain of a frame falls with the square of its time."""
  def total(times):
    burst = capture(KEYS[0], radiance[0], times, GAINS[0], IsoNoise(), TIMING)
    return jnp.sum(jnp.sin(restorer_inputs(burst, OPTIONS))), burst.gains

  for times in (TIMES, TIMES.at[3].set(0)):
    gradient, _ = jax.grad(total, has_aux=True)(times)
    assert np.all(np.isfinite(gradient)) and np.all(np.asarray(gradient)[np.asarray(times) > 0] != 0)
  slopes = jax.jacobian(lambda times: total(times)[1])(TIMES)
  np.testing.assert_allclose(slopes, np.diag(-GAINS[0] / 120 / TIMES**2), rtol=1e-4)


def test_a_burst_knows_a_scene_s_motion_only_where_the_chain_says_so(radiance, colors):
  """And in every case when its frames were taken."""
  motion = SampledMotion(flow_px=jnp.zeros((22, 16, 16, 2)), interval_s=8 / 1920)
  scene = Scene(radiance=radiance[0], color=_one(colors, 0), scene_id=jnp.int32(0), motion=motion)
  chain = Chain(setup=CaptureSetup(timing=TIMING, noise_model=IsoNoise(), min_preview_gain=512.0,
                                   max_preview_gain=1024.0), restorer=_WeightedMean())
  assert chain.motion_of(scene) is None
  assert dataclasses.replace(chain, exact_motion=True).motion_of(scene) is motion
  take = lambda motion: capture(KEYS[0], radiance[0], TIMES, GAINS[0], IsoNoise(), TIMING, motion=motion)
  assert take(motion).motion is motion and take(None).motion is None
  np.testing.assert_allclose(take(None).start_s, burst_windows(TIMES, TIMING)[0] - 80.5 / 1920, atol=1e-7)


def test_under_conditions_a_burst_brings_the_preview_that_policies_saw(radiance, colors):
  """The very frames of `capture` and, where no motion is told, of `observe_scene` the later preview, at its time."""
  setup = CaptureSetup(timing=TIMING, noise_model=IsoNoise(), min_preview_gain=512.0, max_preview_gain=1024.0)
  conditions = sample_conditions(KEYS[0], setup)
  gain = conditions.preview_gain
  burst = jax.jit(lambda: capture_under(conditions, radiance[0], TIMES, TIMING))()
  expected = jax.jit(lambda: capture(conditions.burst_key, radiance[0], TIMES, gain, IsoNoise(), TIMING))()
  seen = jax.jit(lambda: observe_scene(conditions.preview_key, radiance[0], _one(colors, 0), gain, IsoNoise(), TIMING,
                                       MOTION))()
  np.testing.assert_allclose(burst.raw, expected.raw, atol=1e-6)
  np.testing.assert_allclose(burst.preview.raw, seen.previews[1], atol=1e-6)
  np.testing.assert_allclose(burst.preview.gain * burst.preview.exposure_time, burst.gains * TIMES, rtol=1e-5)
  np.testing.assert_allclose(burst.preview.start_s + burst.preview.exposure_time + TIMING.frame_gap_s,
                             burst.start_s[0], atol=1e-7)
  motion = SampledMotion(flow_px=jnp.zeros((22, 16, 16, 2)), interval_s=8 / 1920)
  assert capture_under(conditions, radiance[0], TIMES, TIMING, motion=motion).preview is None


def test_a_chain_sees_raw_alone_and_measures_by_lucas_kanade_unless_it_is_told():
  chain = Chain(setup=CaptureSetup(timing=TIMING, noise_model=IsoNoise(), min_preview_gain=512.0,
                                   max_preview_gain=1024.0), restorer=_WeightedMean())
  assert chain.restorer_inputs == RestorerInputs() and chain.restorer_inputs.num_channels == 4
  assert chain.motion == MotionEstimator() and chain.motion.estimator.name == "lucas_kanade"
