"""Laws of the motion of a burst: what a known motion does to frames is found in them again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging.resample import gaussian_blur, warp
from debir_jax.motion import WindowedMotion, burst_flow, find_motion

_SIDE = 40
_TIMES_S = jnp.array([0.002, 0.012, 0.026, 0.045])
_find = jax.jit(find_motion)


def _parameters(**values):
  order = ("vx", "vy", "ax", "ay", "turn", "zoom", "jx", "jy")
  return jnp.array([[[values.get(name, 0.0) for name in order]]])


def _motion(side=_SIDE, **values):
  return WindowedMotion(parameters=_parameters(**values), size=(side, side))


def _frames(motion, noise=0.0, seed=0, times_s=_TIMES_S):
  """A random texture as it is seen along a motion of one window, `[n, side, side, 4]`."""
  side = motion.size[0]
  vx, vy, ax, ay, turn, zoom, jx, jy = motion.parameters[0, 0]
  wide = gaussian_blur(jax.random.normal(jax.random.key(seed), (2 * side, 2 * side)), 1.5)
  canvas, middle = 0.3 + 0.4 * wide, slice(side // 2, 3 * side // 2)
  y, x = jnp.meshgrid(*2 * (jnp.arange(2 * side) - side + 0.5,), indexing="ij")
  linear = jnp.stack([vx + zoom * x - turn * y, vy + zoom * y + turn * x], -1)

  def frame(time):
    flow = time * linear + time**2 / 5 * jnp.array([ax, ay]) + time**3 / 50 * jnp.array([jx, jy])
    back = -flow  # What is seen at p at t came from q with q + flow(q) = p: a few steps towards the fixed point.
    for _ in range(4):
      back = -jax.vmap(lambda plane: warp(plane, back)[0], 2, 2)(flow)
    return warp(canvas, back)[0][middle, middle]

  frames = jnp.repeat(jax.vmap(frame)(times_s / 0.01)[..., None], 4, -1)
  return frames + noise * jax.random.normal(jax.random.key(seed + 1), frames.shape)


def test_flow_is_the_stated_function_of_time():
  """t v + t^2 / 5 a + t^3 / 50 j + t (zoom p + turn Jp), t in 10 ms, p from the middle, for one window."""
  flow = _motion(vx=1.0, vy=-2.0, ax=0.5, ay=0.25, turn=0.01, zoom=0.02, jx=3.0).at(jnp.array([0.0, 0.02]))
  np.testing.assert_allclose(flow[0], 0, atol=1e-6)
  x, y = 3 - 19.5, 30 - 19.5
  expected = [2 * (1 + 0.02 * x - 0.01 * y) + 4 / 5 * 0.5 + 8 / 50 * 3, 2 * (-2 + 0.02 * y + 0.01 * x) + 4 / 5 * 0.25]
  np.testing.assert_allclose(flow[1, 30, 3], expected, rtol=1e-5)


def test_windows_are_blended_between_their_middles():
  """One motion in all windows is that motion everywhere; turns and zooms around each middle stay around it."""
  parameters = jnp.broadcast_to(_parameters(vx=1.5, vy=0.5), (1, 2, 8))
  flow = WindowedMotion(parameters=parameters, size=(40, 144)).at(jnp.array([0.01]))
  np.testing.assert_allclose(flow, jnp.broadcast_to(jnp.array([1.5, 0.5]), flow.shape), rtol=1e-6)
  middles = 47.5, 95.5
  half_way = int(sum(middles) / 2 + 0.5)
  parameters = jnp.stack([_parameters(vx=1.0, zoom=0.1)[0, 0], _parameters(vx=3.0)[0, 0]])[None]
  flow = WindowedMotion(parameters=parameters, size=(40, 144)).at(jnp.array([0.01]))
  np.testing.assert_allclose(flow[0, 10, :40, 0], 1.0 + 0.1 * (np.arange(40) - 47.5), rtol=1e-4)
  np.testing.assert_allclose(flow[0, 10, 100:, 0], 3.0, rtol=1e-5)
  near = (3.0 + 1.0 + 0.1 * (half_way - 47.5)) / 2
  assert flow[0, 10, half_way, 0] == pytest.approx(near, abs=0.1)


@pytest.mark.parametrize("values", [
    dict(), dict(vx=1.2, vy=-0.7), dict(vx=-2.5, vy=1.0, ax=0.3), dict(vx=0.8, vy=0.8, turn=0.008, zoom=-0.006)])
def test_a_motion_is_found_again(values):
  """In noisy frames to about a third of a packed px at the last frame, which moved up to 12."""
  motion = _motion(**values)
  found = _find(_frames(motion, noise=0.05), _TIMES_S, jnp.ones(4))
  wrong = jnp.linalg.norm(found.at(_TIMES_S) - motion.at(_TIMES_S), axis=-1)
  assert jnp.median(wrong[-1]) < 0.4 and jnp.median(wrong[0]) < 0.2


def test_the_way_to_late_frames_is_followed_from_the_near_ones():
  """Eight frames over 0.1 s along a way that no acceleration describes; also if some of them were left out."""
  times_s = jnp.linspace(0.008, 0.1, 8)
  motion = _motion(64, vx=1.0, vy=-0.6, ax=0.4, jx=-0.35, jy=0.2)
  frames = _frames(motion, noise=0.03, times_s=times_s)
  for weights in (jnp.ones(8), jnp.ones(8).at[jnp.array([4, 7])].set(0)):
    found = _find(frames, times_s, weights)
    wrong = jnp.linalg.norm(found.at(times_s) - motion.at(times_s), axis=-1)
    wrong = jnp.median(wrong, (1, 2)) * (weights > 0)
    assert wrong[0] < 0.2 and jnp.max(wrong) < 0.5, wrong  # Searched all at once: 0.4 and 0.9.


def test_frames_of_no_weight_do_not_matter():
  """A frame that was left out may hold anything."""
  frames = _frames(_motion(vx=1.0), noise=0.03)
  weights = jnp.array([1.0, 1.0, 0.0, 1.0])
  found = _find(frames, _TIMES_S, weights)
  other = _find(frames.at[2].set(0.7), _TIMES_S, weights)
  np.testing.assert_allclose(found.parameters, other.parameters, atol=1e-6)


def test_the_ratio_is_one_for_frames_that_are_alike():
  """And less for any other candidate; what leaves the common area costs."""
  frames = _frames(_motion())[..., 0]
  candidates = jnp.array([[0.0] * 8, [2.0] + [0.0] * 7, [60.0] + [0.0] * 7])
  ratios = burst_flow._ratios(frames - frames.mean(), candidates, _TIMES_S / 0.01, jnp.full(4, 0.25))
  np.testing.assert_allclose(ratios[0], 1, rtol=1e-4)
  assert ratios[1] < 0.9 and ratios[2] < 0.1


def test_the_gradient_passes_through_time_not_through_the_search():
  """A flow follows its times; the parameters are found, not differentiated."""
  frames = _frames(_motion(vx=1.0))

  def last_flow(times, frames):
    return find_motion(frames, times, jnp.ones(4)).at(times)[-1].mean()

  of_times, of_frames = jax.jit(jax.grad(last_flow, argnums=(0, 1)))(_TIMES_S, frames)
  np.testing.assert_array_equal(of_times[:3], 0)
  assert abs(of_times[3]) > 1 and not of_frames.any()


def test_windows_of_a_large_image_find_its_motion():
  """They begin from a search through larger windows; a turn is a velocity of its own in the middle of each.

  What leaves a window is read outside of it: frames move by a quarter of one.
  """
  motion = _motion(120, vx=4.0, vy=-3.0, turn=0.01)
  found = _find(_frames(motion, noise=0.05), _TIMES_S, jnp.ones(4))
  assert found.parameters.shape == (2, 2, 8)
  np.testing.assert_allclose(found.parameters[..., 4], 0.01, atol=0.003)
  true = np.asarray(motion.at(_TIMES_S))
  errors = np.median(np.linalg.norm(found.at(_TIMES_S) - true, axis=-1), (1, 2))
  assert (errors < 0.05 * np.median(np.linalg.norm(true, axis=-1), (1, 2)) + 0.05).all(), errors


def test_large_images_have_several_windows():
  """Evenly spread, with an overlap of a third or more."""
  np.testing.assert_array_equal(burst_flow._window_starts(96), [0])
  np.testing.assert_array_equal(burst_flow._window_starts(97), [0, 1])
  starts = burst_flow._window_starts(500)
  assert starts[0] == 0 and starts[-1] == 404 and np.diff(starts).max() <= 64


@pytest.mark.parametrize("raw, times, weights", [((4, 8, 8), 4, 4), ((4, 8, 8, 4), 3, 4), ((4, 8, 8, 4), 4, 2)])
def test_shapes_that_do_not_fit_are_named(raw, times, weights):
  """All three are shown."""
  with pytest.raises(ValueError, match=r"Expected frames \[n, h, w, 4\] .* got"):
    find_motion(jnp.zeros(raw), jnp.zeros(times), jnp.ones(weights))
