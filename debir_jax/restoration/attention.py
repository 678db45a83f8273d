"""Burst feature attention: the block of Restormer (https://arxiv.org/abs/2111.09881) on features of one frame.

Attention runs between channels, over all pixels of an image, so its cost is linear in the number of pixels and the
result depends on the image as a whole. The block maps `[..., H, W, C] -> [..., H, W, C]`, each image on its own.

The block's two halves stand here as plain functions, which every accelerator runs; on CPU those of `flat_attention.py`
compute the same, several times faster.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.kernels import flat_attention
from debir_jax.kernels.channel_attention import channel_mixing, layer_norm
from debir_jax.kernels.dense import dense, gelu
from debir_jax.kernels.depthwise_conv import depthwise_conv3x3
from debir_jax.restoration.layers import Kernel

_EXPANSION = 2.66  # Hidden channels of the feed-forward network per channel.
_HIDDEN_MULTIPLE = 8  # Matrix units take rows of 16 bytes: hidden channels are filled up with zeros.


class AttentionWeights(NamedTuple):
  """Weights of `attend`: pointwise `[in, out]`, depthwise `[3, 3, 1, C]`, temperature `[heads, 1, 1]`."""

  norm_scale: jax.Array
  norm_bias: jax.Array
  qk: jax.Array
  qk_dwconv: jax.Array
  v: jax.Array
  v_dwconv: jax.Array
  temperature: jax.Array
  project_out: jax.Array


class FeedForwardWeights(NamedTuple):
  """Weights of `feed_forward`, as above."""

  norm_scale: jax.Array
  norm_bias: jax.Array
  project_in: jax.Array
  dwconv: jax.Array
  project_out: jax.Array


class BurstFeatureAttention(nn.Module):
  """BFA: channel attention, then a gated feed-forward network, each on normalised input and added to it."""

  num_heads: int = 1

  @nn.compact
  def __call__(self, x):
    images = x.reshape((-1,) + x.shape[-3:])
    channels, dtype = x.shape[-1], x.dtype
    attention = _Attention(self.num_heads, name="attn")(channels, dtype)
    weights = AttentionWeights(*_Norm(name="norm1")(channels), *attention)
    images = images + _attend(images, weights)
    weights = FeedForwardWeights(*_Norm(name="norm2")(channels), *_FeedForward(name="ffn")(channels, dtype))
    images = images + _feed_forward(images, weights)
    return images.reshape(x.shape)


def attention_block(remat: str) -> type[BurstFeatureAttention]:
  """`BurstFeatureAttention`, computed again in the backward pass where `Burstormer.remat` is "blocks"."""
  return nn.remat(BurstFeatureAttention) if remat == "blocks" else BurstFeatureAttention


class _Norm(nn.Module):
  """Scale and bias of `layer_norm`."""

  @nn.compact
  def __call__(self, channels):
    return (self.param("scale", nn.initializers.ones, (channels,)),
            self.param("bias", nn.initializers.zeros, (channels,)))


class _Attention(nn.Module):
  """All but the first two of `AttentionWeights`."""

  num_heads: int

  @nn.compact
  def __call__(self, channels, dtype):
    pointwise = lambda name, width: Kernel((1, 1, channels, width), name=name)(dtype)[0, 0]
    depthwise = lambda name, width: Kernel((3, 3, 1, width), name=name)(dtype)
    return (pointwise("qk", 2 * channels), depthwise("qk_dwconv", 2 * channels),
            pointwise("v", channels), depthwise("v_dwconv", channels),
            self.param("temperature", nn.initializers.ones, (self.num_heads, 1, 1)),
            pointwise("project_out", channels))


class _FeedForward(nn.Module):
  """All but the first two of `FeedForwardWeights`."""

  @nn.compact
  def __call__(self, channels, dtype):
    hidden = int(channels * _EXPANSION)
    return (Kernel((1, 1, channels, 2 * hidden), name="project_in")(dtype)[0, 0],
            Kernel((3, 3, 1, 2 * hidden), name="dwconv")(dtype),
            Kernel((1, 1, hidden, channels), name="project_out")(dtype)[0, 0])


def attend(images: jax.Array, weights: AttentionWeights) -> jax.Array:
  """MDTA on `[N, H, W, C]`: every channel becomes a mixture of the channels that it correlates with over the image."""
  normalised = layer_norm(images, weights.norm_scale, weights.norm_bias)
  widened = dense(normalised, jnp.concatenate([weights.qk, weights.v], -1))
  filtered = depthwise_conv3x3(widened, jnp.concatenate([weights.qk_dwconv, weights.v_dwconv], -1))
  query, key, value = jnp.split(over_pixels(filtered), 3, -1)
  mixing = channel_mixing(query, key, weights.temperature, weights.project_out)
  return jnp.matmul(value, mixing).reshape(images.shape)


def feed_forward(images: jax.Array, weights: FeedForwardWeights) -> jax.Array:
  """GDFN on `[N, H, W, C]`: one half of the expanded features, after GELU, gates the other half."""
  normalised = layer_norm(images, weights.norm_scale, weights.norm_bias)
  hidden = weights.project_out.shape[0]
  filled = -(-hidden // _HIDDEN_MULTIPLE) * _HIDDEN_MULTIPLE
  fill_halves = lambda array: jnp.concatenate(
      [_fill(half, filled, axis=-1) for half in jnp.split(array, 2, -1)], -1)
  widened = dense(normalised, fill_halves(weights.project_in))
  gate, value = jnp.split(depthwise_conv3x3(widened, fill_halves(weights.dwconv)), 2, -1)
  return dense(gelu(gate) * value, _fill(weights.project_out, filled, axis=0))


def _fill(array, size, axis):
  """Zeros behind an axis, up to a size."""
  widths = [(0, 0)] * array.ndim
  widths[axis] = (0, size - array.shape[axis])
  return jnp.pad(array, widths)


@jax.jit
def _attend(images, weights):  # Compiled as a function of its own, so that all blocks of one shape are traced once.
  return lax.platform_dependent(images, weights, cpu=flat_attention.attend, default=attend)


@jax.jit
def _feed_forward(images, weights):
  return lax.platform_dependent(images, weights, cpu=flat_attention.feed_forward, default=feed_forward)


def over_pixels(images: jax.Array) -> jax.Array:
  """`[N, H, W, C] -> [N, H * W, C]`."""
  return images.reshape(images.shape[0], -1, images.shape[-1])
