"""Laws of aligned frames: what moved is where it was, blur is told, and gradients see blur and noise alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.pipeline import capture, preview_before
from debir_jax.restoration import RestorerInputs, aligned_planes
from debir_jax.restoration.aligned_inputs import searched_frames
from debir_jax.simulator import IsoNoise, burst_windows, starts_after_target
from debir_jax.types import BurstTiming, SampledMotion

_TIMING = BurstTiming.paper()
_TIMES = jnp.array([8.0, 20.0, 33.0, 56.0]) / 1920
_VELOCITY = np.array([90.0, -40.0])  # Packed px/s, x and y.
_SIDE = 48
_TARGET_S = (_TIMING.target_index + 0.5) / 1920


@dataclasses.dataclass(frozen=True)
class _Silence:
  """A camera without noise, whose model claims the same little for all."""

  def variance(self, signal, gain):
    return 0 * signal + 1e-14 + 0 * gain


jax.tree_util.register_static(_Silence)


def _scene(image_of, velocity=_VELOCITY):
  """Radiance and exact motion of an image `(x, y) -> value` that moves at one velocity."""
  y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float64)
  since_target_s = (np.arange(230) + 0.5) / 1920 - _TARGET_S
  frames = np.stack([image_of(x - velocity[0] * t, y - velocity[1] * t) for t in since_target_s])
  flow = velocity * (np.arange(22) * 8 / 1920)[:, None, None, None] * np.ones((1, _SIDE, _SIDE, 1))
  return (jnp.asarray(np.repeat(frames[..., None], 4, -1)),
          SampledMotion(flow_px=jnp.asarray(flow), interval_s=8 / 1920))


def _planes(times, scene, camera=_Silence(), **changes):
  radiance, motion = scene
  burst = capture(jax.random.key(0), radiance, times, 600.0, camera, _TIMING, motion=motion)
  return aligned_planes(dataclasses.replace(burst, **changes))


def _inside(planes):
  return planes[..., 14:-14, 14:-14, :]


def test_start_is_told_from_the_instant_that_is_restored():
  """The middle of the entry at t^0, with either timing."""
  for timing, middle in ((_TIMING, 80.5), (BurstTiming.release(), 61.0)):
    starts = starts_after_target(_TIMES, timing)
    np.testing.assert_allclose(starts, burst_windows(_TIMES, timing)[0] - middle / 1920, atol=1e-7)


def test_a_ramp_that_moves_is_back_in_its_place(x64):
  """A linear image is not changed by its blur, so all frames show the target exactly where they are valid."""
  scene = _scene(lambda x, y: 0.2 + 0.006 * x + 0.004 * y)
  planes = _inside(_planes(_TIMES, scene))
  target = _inside(scene[0][_TIMING.target_index][None])
  np.testing.assert_allclose(planes[..., :4], jnp.broadcast_to(target, planes[..., :4].shape), atol=2e-4)
  np.testing.assert_array_equal(planes[..., 5], 1)


def test_blur_is_the_way_during_the_exposure(x64):
  """Length and twice the direction, in tens of packed px."""
  planes = _inside(_planes(_TIMES, _scene(lambda x, y: 0.5 + 0 * x)))
  speed, angle = np.hypot(*_VELOCITY), np.arctan2(_VELOCITY[1], _VELOCITY[0])
  length = speed * np.asarray(_TIMES) / 10
  for channel, factor in ((6, 1), (7, np.cos(2 * angle)), (8, np.sin(2 * angle))):
    np.testing.assert_allclose(planes[:, 0, 0, channel], factor * length, rtol=1e-3)


def test_what_comes_from_outside_is_not_valid(x64):
  """Frames are read at p + flow: the last ones lie outside on the side that the scene moves to."""
  planes = _planes(_TIMES, _scene(lambda x, y: 0.5 + 0 * x))
  middle = (starts_after_target(_TIMES, _TIMING) + _TIMES / 2)[-1]
  shift = np.floor(_VELOCITY * middle).astype(int)  # x to the right, y up.
  valid = np.asarray(planes[-1, ..., 5])
  assert valid[-shift[1]:, :_SIDE - shift[0] - 1].all()
  assert not valid[:, _SIDE - shift[0]:].any() and not valid[:-shift[1] - 1].any()


class _Held:
  """A motion whose flow is taken for a constant."""

  def __init__(self, motion):
    self._motion = motion

  def at(self, times_s):
    return jax.lax.stop_gradient(self._motion.at(times_s))


def test_gradients_see_no_misalignment(x64):
  """A ramp is the same at any exposure time, so nothing depends on them; with the flow held a longer one looks wrong.
  """
  scene = _scene(lambda x, y: 0.2 + 0.006 * x + 0.004 * y)
  mean = lambda times, motion: _inside(_planes(times, scene, motion=motion))[..., :4].mean()
  gradient, wrong = (np.abs(jax.grad(mean)(_TIMES, motion)).max() for motion in (scene[1], _Held(scene[1])))
  assert wrong > 0.02 and gradient < 0.02 * wrong


def test_gradients_see_the_blur(x64):
  """A wave along the motion loses contrast like sinc(v t / wavelength), and so does the mean of aligned frames."""
  wavelength, speed, inside = 24.0, 160.0, slice(2, 26)  # One wavelength, inside of all frames.
  scene = _scene(lambda x, y: 0.5 + 0.3 * np.cos(2 * np.pi * x / wavelength), np.array([speed, 0.0]))
  wave = np.cos(2 * np.pi * np.arange(_SIDE)[inside] / wavelength)[None, :, None]
  contrast = lambda times: (_planes(times, scene)[:, :, inside, :4].mean(0) * wave).mean()
  blur_alone = lambda times: 0.15 * jnp.mean(jnp.sinc(speed * times / wavelength))
  times = jnp.array([8.0, 16.0, 24.0, 30.0]) / 1920
  assert contrast(times) == pytest.approx(float(blur_alone(times)), rel=0.01)
  np.testing.assert_allclose(jax.grad(contrast)(times), jax.grad(blur_alone)(times), rtol=0.1, atol=0.05)


def test_motion_is_searched_in_all_frames_and_the_preview_before_them():
  """The preview comes first, in time before the instant that is restored, and counts by its own noise."""
  radiance, _ = _scene(lambda x, y: 0.2 + 0.006 * x + 0.004 * y)
  burst = capture(jax.random.key(0), radiance.astype(jnp.float32), _TIMES, 600.0, IsoNoise(), _TIMING)
  alone = searched_frames(burst)
  preview = preview_before(jnp.stack([burst.raw[0], burst.raw[1]]), 600.0, _TIMING)
  raw, middle_s, exposure_s, precision = searched_frames(dataclasses.replace(burst, preview=preview))
  for with_preview, of_frames in zip((raw, middle_s, exposure_s, precision), alone):
    np.testing.assert_array_equal(with_preview[1:], of_frames)
  np.testing.assert_array_equal(raw[0], burst.raw[1])
  assert exposure_s[0] == pytest.approx(1 / 120) and middle_s[0] < 0 < middle_s[1]
  assert middle_s[0] == pytest.approx(-(0.5 + 7 + 8) / 1920, abs=1e-7)  # From the middle of the entry at t^0.
  noise = IsoNoise().variance(burst.raw.mean(), jnp.array([600.0, burst.gains[0]]))
  np.testing.assert_allclose(precision[0] / precision[1], noise[1] / noise[0], rtol=1e-5)


def test_noise_is_that_of_the_common_brightness():
  """Of a flat scene the plane is the model's standard deviation at its signal and at the gain of each frame."""
  scene = _scene(lambda x, y: 0.3 + 0 * x, np.zeros(2))
  model = IsoNoise()
  radiance, motion = scene
  burst = capture(jax.random.key(0), radiance.astype(jnp.float32), _TIMES, 600.0, model, _TIMING, motion=motion)
  planes = aligned_planes(burst)
  expected = jnp.sqrt(model.variance(jnp.float32(0.3), burst.gains))
  np.testing.assert_allclose(planes[..., 4].mean((1, 2)), expected, rtol=0.03)
  residual = (planes[..., :4] - 0.3) / planes[..., 4:5]
  assert residual[:3].std() == pytest.approx(1, abs=0.05)


def test_frames_that_were_left_out_are_not_valid():
  """And nothing of them is infinite."""
  scene = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _scene(lambda x, y: 0.3 + 0 * x))
  planes = _planes(_TIMES.at[2].set(0), scene, IsoNoise())
  assert not planes[2, ..., 5].any() and jnp.isfinite(planes).all()


def test_motion_that_is_not_told_is_found():
  """In the frames themselves."""
  scene = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _scene(
      lambda x, y: 0.4 + 0.15 * np.cos(0.5 * x + 0.1 * y) + 0.15 * np.cos(0.37 * y - 0.2 * x)))
  told, found = jax.jit(lambda: (_planes(_TIMES, scene), _planes(_TIMES, scene, motion=None)))()
  difference = jnp.abs(_inside(told) - _inside(found))[..., :4]
  assert jnp.median(difference) < 0.03


@pytest.mark.parametrize("missing", ["start_s", "noise_model"])
def test_what_a_burst_does_not_say_is_named(missing):
  """Alignment wants both."""
  with pytest.raises(ValueError, match=f"the burst has no {missing}"):
    _planes(_TIMES, _scene(lambda x, y: 0.3 + 0 * x), **{missing: None})


def test_aligned_frames_have_planes_of_their_own():
  """Nine; no others beside them."""
  assert RestorerInputs(aligned=True).num_channels == 9
  with pytest.raises(ValueError, match="restorer_inputs.aligned or noise_map, validity off"):
    RestorerInputs(aligned=True, noise_map=True, validity=True)
