"""Laws of the local motion: what stands still stays so, what moves differently is found better than by one motion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging.resample import gaussian_blur, read_cubic_at
from debir_jax.motion import find_local_motion
from debir_jax.motion.burst_flow import WindowedMotion
from debir_jax.motion.residual_flow import LocalMotion, find_residual, load_networks, residual_flow

_TIMES_S = jnp.array([0.004, 0.014, 0.026, 0.040])
_EXPOSURE_S = jnp.full(4, 0.006)
_find = jax.jit(find_local_motion)


def _frames(velocity, own_velocity=None, side=48, noise=0.03, seed=0):
  """A texture that moves, packed px per 10 ms, and a disc before it that moves on its own: `[4, side, side, 4]`."""
  keys = jax.random.split(jax.random.key(seed), 3)
  canvases = [0.3 + 0.5 * gaussian_blur(jax.random.normal(key, (3 * side, 3 * side)), 1.5) for key in keys[:2]]
  y, x = jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij")

  def frame(time):
    read = lambda canvas, v: read_cubic_at(canvas, x - time * v[0] + side, y - time * v[1] + side)
    behind = read(canvases[0], velocity)
    if own_velocity is None:
      return behind
    return jnp.where(_in_disc(x - time * own_velocity[0], y - time * own_velocity[1], side),
                     read(canvases[1], own_velocity), behind)

  frames = jnp.stack([frame(time) for time in _TIMES_S / 0.01])[..., None]
  return frames + noise * jax.random.normal(keys[2], (*frames.shape[:3], 4))


def _in_disc(x, y, side):
  return jnp.hypot(x - 0.4 * side, y - 0.45 * side) < 0.25 * side


def test_flow_is_the_global_one_plus_the_residual():
  """t v + t^2 / 5 a, t in 10 ms."""
  base = WindowedMotion(parameters=jnp.array([[[1.0, 0, 0, 0, 0, 0, 0, 0]]]), size=(8, 12))
  residual = jnp.broadcast_to(jnp.array([0.5, -1.0, 0.0, 1.0]), (8, 12, 4))
  flow = LocalMotion(base=base, residual=residual, error=jnp.zeros((8, 12))).at(jnp.array([0.0, 0.02]))
  np.testing.assert_allclose(flow[0], 0, atol=1e-7)
  np.testing.assert_allclose(flow[1], jnp.broadcast_to(jnp.array([3.0, -2.0 + 4 / 5]), (8, 12, 2)), rtol=1e-6)


def test_what_stands_still_stays_still():
  """To a tenth of a packed px at the last frame."""
  flow = _find(_frames((0.0, 0.0)), _TIMES_S, _EXPOSURE_S, jnp.ones(4)).at(_TIMES_S)
  assert jnp.median(jnp.linalg.norm(flow[-1], axis=-1)) < 0.1


@pytest.mark.parametrize("velocity, own_velocity", [((1.0, 0.5), (2.0, 1.0)), ((1.2, 0.0), (0.0, -1.0))])
def test_something_with_a_motion_of_its_own_is_found_better_than_by_one_motion(velocity, own_velocity):
  """By a seventh at least; what is behind stays found."""
  frames = _frames(velocity, own_velocity)
  found = _find(frames, _TIMES_S, _EXPOSURE_S, jnp.ones(4))
  y, x = jnp.meshgrid(jnp.arange(48), jnp.arange(48), indexing="ij")
  disc = _in_disc(x, y, 48)[..., None]
  exact = jnp.where(disc, jnp.array(own_velocity), jnp.array(velocity)) * _TIMES_S[-1] / 0.01
  error = lambda motion: jnp.linalg.norm(motion.at(_TIMES_S[-1:])[0] - exact, axis=-1)
  in_disc = lambda errors: np.median(np.asarray(errors)[np.asarray(disc[..., 0])])
  assert in_disc(error(found)) < 6 / 7 * in_disc(error(found.base))
  assert np.median(np.asarray(error(found))[~np.asarray(disc[..., 0])]) < 0.6


def test_error_is_told_where_motions_meet():
  """What the networks say of their error is larger in a scene of two motions than in one that stands still."""
  still = _find(_frames((0.0, 0.0)), _TIMES_S, _EXPOSURE_S, jnp.ones(4)).error
  moving = _find(_frames((1.2, 0.0), (0.0, -1.0)), _TIMES_S, _EXPOSURE_S, jnp.ones(4)).error
  assert jnp.median(moving) > jnp.median(still)


def test_frames_of_no_weight_do_not_matter():
  """A frame that was left out may hold anything."""
  frames, weights = _frames((1.0, 0.0), (2.0, 0.0)), jnp.array([1.0, 1.0, 0.0, 1.0])
  found, other = (_find(raw, _TIMES_S, _EXPOSURE_S, weights) for raw in (frames, frames.at[2].set(0.7)))
  np.testing.assert_allclose(found.residual, other.residual, atol=1e-5)


def test_the_gradient_passes_through_time_not_through_the_search():
  """As for the global motion."""
  frames = _frames((1.0, 0.0))

  def last_flow(times, exposure, frames):
    return find_local_motion(frames, times, exposure, jnp.ones(4)).at(times)[-1].mean()

  of_times, of_exposure, of_frames = jax.jit(jax.grad(last_flow, argnums=(0, 1, 2)))(_TIMES_S, _EXPOSURE_S, frames)
  np.testing.assert_array_equal(of_times[:3], 0)
  assert abs(of_times[3]) > 1 and not of_exposure.any() and not of_frames.any()


@pytest.mark.parametrize("count, height, width", [(2, 12, 16), (3, 34, 20), (6, 100, 8)])
def test_bursts_of_any_size(count, height, width):
  """Whatever the number of frames and the sides."""
  arguments = jnp.zeros((count, height, width, 4)), jnp.ones(count), jnp.ones(count), jnp.ones(count)
  motion = jax.eval_shape(find_local_motion, *arguments)
  assert motion.residual.shape == (height, width, 4) and motion.error.shape == (height, width)


def test_frames_without_detail_give_a_finite_motion():
  """There is nothing to see, and nothing is divided by it."""
  motion = _find(jnp.full((4, 48, 48, 4), 0.3), _TIMES_S, _EXPOSURE_S, jnp.ones(4))
  assert jnp.all(jnp.isfinite(motion.at(_TIMES_S)))


def test_a_mirrored_burst_has_the_mirrored_base_and_nearly_the_mirrored_residual():
  """Residuals are taken along the motion, so that a turned image, with its base, is nothing new."""
  frames = _frames((1.0, 0.0), (2.0, 0.5)).mean(-1)
  base = lambda vx, vy: WindowedMotion(parameters=jnp.array([[[vx, vy, 0, 0, 0, 0, 0, 0]]], jnp.float32), size=(48, 48))
  look = lambda gray, base: find_residual(load_networks(), gray, _TIMES_S, _EXPOSURE_S, jnp.ones(4), base)[-1][0]
  flow = residual_flow(look(frames, base(1.0, 0.0)), jnp.array([4.0]))[0]
  turned = residual_flow(look(frames.swapaxes(1, 2), base(0.0, 1.0)), jnp.array([4.0]))[0].swapaxes(0, 1)[..., ::-1]
  assert jnp.median(jnp.linalg.norm(flow - turned, axis=-1)) < 0.5


def test_an_exposure_time_for_each_frame():
  """Else it is said."""
  with pytest.raises(ValueError, match="an exposure time for each frame"):
    find_local_motion(jnp.zeros((4, 8, 8, 4)), jnp.zeros(4), jnp.zeros(3), jnp.ones(4))
