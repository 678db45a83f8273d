"""Laws of a motion that is not known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.motion.uncertain import error_of_search, with_error
from debir_jax.types import SampledMotion

_TIMES_S = jnp.array([0.004, 0.02, 0.06])


def _motion(speed_px_s):
  """All to the right, for 0.08 s."""
  flow = jnp.arange(11)[:, None, None, None] * 0.008 * jnp.array([speed_px_s, 0.0]) * jnp.ones((1, 3, 5, 1))
  return SampledMotion(flow_px=flow, interval_s=0.008)


def test_errors_are_in_proportion_to_speed_and_time():
  """Alike in all directions and for all pixels of one draw."""
  motion = _motion(100.0)
  keys = jax.random.split(jax.random.key(0), 4000)
  wrong = jax.vmap(lambda key: with_error(key, motion, 0.1).at(_TIMES_S))(keys) - motion.at(_TIMES_S)
  # E[s^2] of the exponential distribution is 2.
  np.testing.assert_allclose(wrong.std(0)[:, 0, 0], 2**0.5 * 0.1 * 100 * _TIMES_S[:, None] * jnp.ones(2), rtol=0.06)
  np.testing.assert_allclose(wrong.mean(0), 0, atol=0.05)
  np.testing.assert_allclose(wrong, jnp.broadcast_to(wrong[:, :, :1, :1], wrong.shape), atol=1e-5)


def test_most_motions_are_known_well_and_some_hardly():
  """Relative to the way: the stated median and fifth."""
  keys = jax.random.split(jax.random.key(0), 4000)
  wrong = jax.vmap(lambda key: with_error(key, _motion(100.0), 0.1).velocity_error_px_s)(keys)
  relative = jnp.linalg.norm(wrong, axis=-1) / 100
  assert float(jnp.median(relative)) == pytest.approx(0.075, abs=0.01)
  assert float(jnp.mean(relative > 0.2)) == pytest.approx(0.2, abs=0.03)


def test_what_stands_still_is_known():
  """And without an error the motion is the exact one."""
  still = with_error(jax.random.key(0), _motion(0.0), 0.5)
  np.testing.assert_array_equal(still.at(_TIMES_S), 0)
  exact = with_error(jax.random.key(0), _motion(80.0), 0.0)
  np.testing.assert_array_equal(exact.at(_TIMES_S), _motion(80.0).at(_TIMES_S))


def test_gradients_see_the_error_grow(x64):
  """Per second by the error of the velocity."""
  uncertain = with_error(jax.random.key(1), _motion(50.0), 0.2)
  slope = jax.jacobian(lambda time: uncertain.at(time[None])[0, 0, 0])(jnp.asarray(0.02))
  assert slope[0] == pytest.approx(50 + float(uncertain.velocity_error_px_s[0]))
  assert slope[1] == pytest.approx(float(uncertain.velocity_error_px_s[1]))


def test_longer_exposures_are_searched_less_well(x64):
  """As the mean exposure time of the frames that are taken, to the power of 3/4; also by finite differences."""
  shortest = 8 / 1920
  times = jnp.array([8.0, 24.0, 40.0, 0.0]) / 1920
  assert float(error_of_search(0.14, jnp.full(4, shortest), shortest)) == pytest.approx(0.14)
  assert float(error_of_search(0.14, times, shortest)) == pytest.approx(0.14 * 3**0.75)
  slope, step = jax.grad(lambda times: error_of_search(0.14, times, shortest))(times), 1e-7
  for frame in range(3):
    ahead, behind = (error_of_search(0.14, times.at[frame].add(sign * step), shortest) for sign in (1, -1))
    assert float(slope[frame]) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-6)
