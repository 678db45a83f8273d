"""Laws of the sensor: saturation and straight-through quantisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.simulator import clip, quantize

BITS = pytest.mark.parametrize("bits", (10, 12, 14))


def test_clip_keeps_the_range_and_nothing_else(x64):
  """min(max(x, 0), 1); idempotent."""
  signal = np.linspace(-1, 2, 301)
  np.testing.assert_array_equal(clip(signal), np.minimum(np.maximum(signal, 0), 1))
  np.testing.assert_array_equal(clip(clip(signal)), clip(signal))


def test_derivative_of_clip_is_one_inside_and_zero_outside(x64):
  """A saturated pixel tells nothing about its exposure."""
  signal = jnp.array([-0.5, -1e-9, 1e-9, 0.3, 1 - 1e-9, 1 + 1e-9, 7.0])
  np.testing.assert_array_equal(jax.vmap(jax.grad(clip))(signal), [0, 0, 1, 1, 1, 0, 0])


@BITS
def test_quantised_values_are_the_nearest_of_equally_spaced_levels(x64, bits):
  """2^bits levels from 0 to 1, all of them reached, at most half a step away; a staircase going up."""
  steps = 2**bits - 1
  signal = np.concatenate([np.linspace(0, 1, 4 * 2**bits + 1), np.random.default_rng(0).uniform(0, 1, 1000)])
  quantised = np.asarray(quantize(jnp.asarray(signal), bits))
  levels = quantised * steps
  np.testing.assert_allclose(levels, np.round(levels), rtol=0, atol=1e-9)
  assert len(np.unique(np.round(levels))) == 2**bits
  assert np.abs(quantised - signal).max() <= 0.5 / steps + 1e-12
  assert np.all(np.diff(quantised[np.argsort(signal)]) >= -1e-12)
  np.testing.assert_allclose(quantize(jnp.asarray(quantised), bits), quantised, rtol=0, atol=1e-15)
  np.testing.assert_array_equal(quantize(jnp.array([0.0, 1.0]), bits), [0, 1])


@BITS
def test_error_of_quantisation_has_the_variance_of_a_uniform_step(x64, bits):
  """step^2 / 12 over random signals: the noise that an ideal converter adds."""
  signal, step = np.random.default_rng(1).uniform(0, 1, 200_000), 1 / (2**bits - 1)
  error = np.asarray(quantize(jnp.asarray(signal), bits)) - signal
  np.testing.assert_allclose(error.var(), step**2 / 12, rtol=0.02)
  assert abs(error.mean()) < 5 * step / np.sqrt(12 * 200_000)


@BITS
def test_gradient_passes_straight_through(x64, bits):
  """The derivative is that of the identity, in both modes and under jit and vmap, on levels and between them."""
  signal = jnp.array([0.0, 0.1, 0.5, 0.5 / (2**bits - 1), 1.0])
  np.testing.assert_array_equal(jax.vmap(jax.grad(lambda x: quantize(x, bits)))(signal), 1)
  np.testing.assert_array_equal(jax.jit(jax.jacfwd(lambda x: quantize(x, bits)))(signal), np.eye(5))


@BITS
def test_quantised_values_are_levels_in_float32(bits):
  """As close to a level as float32 can say."""
  signal = np.random.default_rng(2).uniform(0, 1, 10_000).astype(np.float32)
  quantised = jax.jit(lambda x: quantize(x, bits))(signal)
  assert quantised.dtype == np.float32
  steps = 2**bits - 1
  expected = np.round(signal.astype(np.float64) * steps) / steps
  tie = np.abs(signal.astype(np.float64) * steps % 1 - 0.5) < 1e-2  # float32 may fall to the other side
  np.testing.assert_allclose(np.asarray(quantised)[~tie], expected[~tie], rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("bits", (0, -1, 17, 10.0, "12", True, None, float("nan")))
def test_impossible_bit_depths_are_an_error_that_says_what_is_common(bits):
  """Whole numbers from 1 to 16."""
  with pytest.raises(ValueError, match="integer from 1 to 16 .10, 12 or 14 in common cameras.*got"):
    quantize(jnp.zeros(3), bits)


def test_a_black_level_keeps_the_mean_of_dark_noise(x64):
  """Noise around black that is cut at 0 becomes brighter by 0.4 standard deviations; with room below it keeps its mean.
  """
  noise = 0.1 * np.random.default_rng(0).normal(size=200_000)
  assert np.mean(clip(noise)) == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.02)
  assert abs(np.mean(clip(noise, 0.5))) < 1e-3
  np.testing.assert_array_equal(clip(np.array([-0.7, -0.5, -0.2, 1.3]), 0.5), [-0.5, -0.5, -0.2, 1.0])


@BITS
def test_levels_reach_down_to_black(x64, bits):
  """2^bits levels from -black_level to 1, at most half a step away, idempotent."""
  signal = np.linspace(-0.25, 1, 4 * 2**bits + 1)
  quantised = np.asarray(quantize(signal, bits, 0.25))
  step = 1.25 / (2**bits - 1)
  assert np.abs(quantised - signal).max() <= step / 2 + 1e-12
  np.testing.assert_allclose(quantize(quantised, bits, 0.25), quantised, atol=1e-12)
  assert len(np.unique(np.round(quantised / step, 3))) == 2**bits
