"""Channel attention against its definition, head by head; the norm against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration.attention import BurstFeatureAttention, LayerNorm, channel_attention


@pytest.mark.parametrize("num_heads", [1, 2])
def test_attention_is_the_softmax_of_scaled_cosines_within_a_head(x64, num_heads):
  channels, pixels = 6, 20
  query_key = jax.random.normal(jax.random.key(0), (3, pixels, 2 * channels), jnp.float64)
  temperature = jnp.linspace(0.5, 3, num_heads, dtype=jnp.float64).reshape(-1, 1, 1)
  attention = channel_attention(query_key, temperature)
  width = channels // num_heads
  expected = np.zeros((3, channels, channels))
  for image, head in np.ndindex(3, num_heads):
    own = slice(head * width, (head + 1) * width)
    query, key = np.asarray(query_key[image, :, :channels][:, own]), np.asarray(query_key[image, :, channels:][:, own])
    query, key = query / np.linalg.norm(query, axis=0), key / np.linalg.norm(key, axis=0)
    expected[image, own, own] = jax.nn.softmax(query.T @ key * temperature[head, 0, 0], -1)
  np.testing.assert_allclose(attention, expected, rtol=1e-12, atol=1e-12)


def test_zero_features_attend_uniformly_without_a_slope():
  value, gradient = jax.value_and_grad(lambda x: channel_attention(x, jnp.ones((1, 1, 1)))[0, 0])(jnp.zeros((9, 8)))
  assert value == 0.25
  assert not gradient.any()


def test_norm_has_mean_zero_and_variance_one_per_pixel(x64):
  """Up to epsilon, which a small signal shows."""
  x = 3 + 0.01 * jax.random.normal(jax.random.key(0), (2, 3, 5), jnp.float64)
  variables = {"params": {"scale": jnp.full(5, 2.0), "bias": jnp.arange(5.0)}}
  normalised = (LayerNorm().apply(variables, x) - jnp.arange(5.0)) / 2
  expected = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
  np.testing.assert_allclose(normalised, expected, rtol=1e-10, atol=1e-12)


def test_images_are_independent(x64):
  """Any leading axes, and no image sees another one."""
  block = BurstFeatureAttention(num_heads=2)
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 8), jnp.float64)
  variables = block.init(jax.random.key(1), x)
  together = block.apply(variables, x)
  np.testing.assert_allclose(together[1, 2], block.apply(variables, x[1, 2]), rtol=1e-12, atol=1e-12)
