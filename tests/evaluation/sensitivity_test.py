"""Derivatives through simulator and restorer agree with finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.evaluation import sensitivity
from debir_jax.kernels.depthwise_conv import depthwise_conv3x3
from debir_jax.simulator import PoissonGaussianNoise, simulate_burst, target_of
from debir_jax.types import BurstTiming

TIMING = BurstTiming.paper()
TIMES = np.array([10.3, 20.7, 15.2, 30.4]) / 1920  # Windows end between subframes.
STEP_S = 1e-9


def _chain():
  """A moving grating, and a restorer with a gradient written by hand in it, as Burstormer has."""
  frames = np.arange(TIMING.num_subframes(TIMING.budget_s))[:, None, None, None]
  x, y = np.arange(12)[None, None, :, None], np.arange(10)[None, :, None, None]
  radiance = jnp.asarray(0.4 + 0.2 * np.sin(0.7 * x + 0.3 * y - 0.05 * frames + np.arange(4)))
  kernel = jnp.asarray(np.random.default_rng(0).normal(0.1, 0.1, (3, 3, 1, 4)))

  def image_of(times, key):
    raw = simulate_burst(key, radiance, times, 20.0, PoissonGaussianNoise(1e-5, 1e-9), TIMING)
    return jnp.tanh(jnp.einsum("n,nhwc->hwc", jnp.array([0.4, 0.3, 0.2, 0.1]), depthwise_conv3x3(raw, kernel)))

  target = target_of(radiance, TIMING)
  return image_of, lambda times, key: jnp.mean((image_of(times, key) - target) ** 2)


def _differences(function):
  """Central differences along every exposure time."""
  steps = STEP_S * np.eye(len(TIMES))
  return np.stack([(np.asarray(function(TIMES + h)) - np.asarray(function(TIMES - h))) / (2 * STEP_S) for h in steps])


def test_gradients_of_every_draw_equal_finite_differences(x64):
  """In float64, draw by draw; draws differ."""
  del x64
  _, loss_of = _chain()
  keys = jax.random.split(jax.random.key(0), 3)
  losses, gradients = sensitivity.loss_gradients(loss_of, TIMES, keys)
  for key, loss, gradient in zip(keys, losses, gradients):
    np.testing.assert_allclose(loss, loss_of(jnp.asarray(TIMES), key), rtol=1e-12)
    np.testing.assert_allclose(gradient, _differences(lambda t, k=key: loss_of(jnp.asarray(t), k)), rtol=1e-4)
  assert np.ptp(gradients, axis=0).min() > 0


def test_maps_of_the_image_equal_finite_differences(x64):
  """Every pixel, with every exposure time."""
  del x64
  image_of, _ = _chain()
  key = jax.random.key(1)
  found = sensitivity.image_derivatives(image_of, TIMES, key)
  expected = _differences(lambda t: image_of(jnp.asarray(t), key))
  assert found.shape == (4, 10, 12, 4)
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_landscape_is_the_mean_loss_where_the_budget_allows_it():
  """Rows are the second frame, columns the first; NaN beyond the budget, which may be used up, but for rounding."""
  _, loss_of = _chain()
  keys = jax.random.split(jax.random.key(2), 2)
  first, second = np.array([10.0, 20.0, 80.0]) / 1920, np.array([15.0, 40.0]) / 1920
  used_up = first[1] + TIMES[1] + second[1] + TIMES[3]
  found = sensitivity.loss_landscape(loss_of, TIMES, keys, frames=(0, 2), first=first, second=second, budget_s=used_up)
  assert found.loss.shape == (2, 3) and np.isnan(found.loss[:, 2]).all() and np.isfinite(found.loss[:, :2]).all()
  times = jnp.asarray([first[1], TIMES[1], second[1], TIMES[3]], jnp.float32)
  np.testing.assert_allclose(found.loss[1, 1], np.mean([loss_of(times, key) for key in keys]), rtol=1e-5)


@pytest.mark.parametrize("frames", [(1, 1), (0, 4), (-1, 2)])
def test_frames_that_are_not_two_of_the_burst_are_refused(frames):
  """With what there is."""
  with pytest.raises(ValueError, match="two different ones of 0 to 3"):
    sensitivity.loss_landscape(None, TIMES, None, frames=frames, first=[], second=[], budget_s=1.0)
