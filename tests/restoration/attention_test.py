"""Channel attention against its definition, head by head; the norm against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.kernels import flat_attention
from debir_jax.kernels.channel_attention import channel_attention, layer_norm
from debir_jax.restoration.attention import (
  AttentionWeights,
  BurstFeatureAttention,
  FeedForwardWeights,
  attend,
  feed_forward,
)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_attention_is_the_softmax_of_scaled_cosines_within_a_head(x64, num_heads):
  channels, pixels = 6, 20
  queries, keys = jax.random.normal(jax.random.key(0), (2, 3, pixels, channels), jnp.float64)
  temperature = jnp.linspace(0.5, 3, num_heads, dtype=jnp.float64).reshape(-1, 1, 1)
  attention = channel_attention(queries, keys, temperature)
  width = channels // num_heads
  expected = np.zeros((3, channels, channels))
  for image, head in np.ndindex(3, num_heads):
    own = slice(head * width, (head + 1) * width)
    query, key = [np.asarray(array[image][:, own]) for array in (queries, keys)]
    query, key = query / np.linalg.norm(query, axis=0), key / np.linalg.norm(key, axis=0)
    expected[image, own, own] = jax.nn.softmax(query.T @ key * temperature[head, 0, 0], -1)
  np.testing.assert_allclose(attention, expected, rtol=1e-12, atol=1e-12)


def test_zero_features_attend_uniformly_without_a_slope():
  value, gradient = jax.value_and_grad(lambda x: channel_attention(x, x, jnp.ones((1, 1, 1)))[0, 0])(jnp.zeros((9, 4)))
  assert value == 0.25
  assert not gradient.any()


def test_norm_has_mean_zero_and_variance_one_per_pixel(x64):
  """Up to epsilon, which a small signal shows."""
  x = 3 + 0.01 * jax.random.normal(jax.random.key(0), (2, 3, 5), jnp.float64)
  normalised = (layer_norm(x, jnp.full(5, 2.0), jnp.arange(5.0)) - jnp.arange(5.0)) / 2
  expected = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
  np.testing.assert_allclose(normalised, expected, rtol=1e-10, atol=1e-12)


def test_images_are_independent(x64):
  """Any leading axes, and no image sees another one."""
  block = BurstFeatureAttention(num_heads=2)
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 8), jnp.float64)
  variables = block.init(jax.random.key(1), x)
  together = block.apply(variables, x)
  np.testing.assert_allclose(together[1, 2], block.apply(variables, x[1, 2]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (1, 5, 3, 8), (3, 33, 34, 4)])
@pytest.mark.parametrize("half", ["attend", "feed_forward"])
def test_both_forms_agree_in_value_and_gradient(x64, half, shape):
  """The plain form of accelerators and the flat one of CPU: odd sizes, one image, several blocks of places."""
  plain = {"attend": attend, "feed_forward": feed_forward}[half]
  flat = getattr(flat_attention, half)
  images = jax.random.normal(jax.random.key(0), shape, jnp.float64)
  weights = block_weights(half, shape[-1])
  cotangent = jax.random.normal(jax.random.key(2), shape, jnp.float64)
  results = []
  for fn in (plain, flat):
    value, backward = jax.vjp(jax.jit(fn), images, weights)
    results.append((value, backward(cotangent)))
  for ours, expected in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


def block_weights(half, channels):
  """Random weights of one half of a block, norm and temperature not neutral."""
  variables = BurstFeatureAttention(num_heads=2).init(jax.random.key(1), jnp.zeros((4, 4, channels)))["params"]
  norm, part = {"attend": ("norm1", "attn"), "feed_forward": ("norm2", "ffn")}[half]
  kernels = {name: leaf["kernel"] if isinstance(leaf, dict) else 2.0 + leaf for name, leaf in variables[part].items()}
  kernels = {name: kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel for name, kernel in kernels.items()}
  weights = {"norm_scale": variables[norm]["scale"] * 1.5, "norm_bias": variables[norm]["bias"] + 0.3, **kernels}
  kind = AttentionWeights if half == "attend" else FeedForwardWeights
  return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), kind(**weights))
