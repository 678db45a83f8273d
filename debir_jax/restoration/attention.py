"""Burst feature attention: the block of Restormer (https://arxiv.org/abs/2111.09881) on features of one frame.

Attention runs between channels, over all pixels of an image, so its cost is linear in the number of pixels and the
result depends on the image as a whole. All modules map `[..., H, W, C] -> [..., H, W, C]`, each image on its own.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.depthwise_conv import depthwise_conv3x3
from debir_jax.restoration.layers import Conv1x1, Kernel, dense, gelu

_EXPANSION = 2.66  # Hidden channels of the feed-forward network per channel.
_NORM_EPSILON = 1e-5
_MIN_SQUARED_LENGTH = 1e-24  # PyTorch normalises with max(length, 1e-12).


class BurstFeatureAttention(nn.Module):
  """BFA: channel attention, then a gated feed-forward network, each on normalised input and added to it."""

  num_heads: int = 1

  @nn.compact
  def __call__(self, x):
    x = x + ChannelAttention(self.num_heads, name="attn")(LayerNorm(name="norm1")(x))
    return x + GatedFeedForward(name="ffn")(LayerNorm(name="norm2")(x))


class LayerNorm(nn.Module):
  """Normalises the channels of every pixel, at least in float32, then scales and shifts them."""

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, -1, keepdims=True)
    variance = jnp.mean(centred * centred, -1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + _NORM_EPSILON)
    return (normalised * scale.astype(wide.dtype) + bias.astype(wide.dtype)).astype(x.dtype)


class ChannelAttention(nn.Module):
  """MDTA: every channel becomes a mixture of the channels that it correlates with over the image."""

  num_heads: int = 1

  @nn.compact
  def __call__(self, x):
    channels = x.shape[-1]
    temperature = self.param("temperature", nn.initializers.ones, (self.num_heads, 1, 1))
    # Query, key and value are one pointwise and one depthwise convolution; their weights keep their own names.
    widths = {"qk": 2 * channels, "v": channels}
    pointwise = [Kernel((1, 1, channels, width), name=name)(x.dtype) for name, width in widths.items()]
    depthwise = [Kernel((3, 3, 1, width), name=f"{name}_dwconv")(x.dtype) for name, width in widths.items()]
    project_out = Kernel((1, 1, channels, channels), name="project_out")(x.dtype)
    features = dense(x, jnp.concatenate(pointwise, -1)[0, 0])
    features = depthwise_conv3x3(features, jnp.concatenate(depthwise, -1))
    features = features.reshape(x.shape[:-3] + (-1, 3 * channels))
    attention = channel_attention(features[..., :2 * channels], temperature)
    # Mixing and projecting are both linear maps of the channels: one small matrix per image does both.
    mixing = jnp.einsum("...ij,io->...jo", attention, project_out[0, 0])
    return jnp.matmul(features[..., 2 * channels:], mixing).reshape(x.shape)


def channel_attention(query_key: jax.Array, temperature: jax.Array) -> jax.Array:
  """Attention between channels, `softmax(temperature * cosine(query, key))`, at least in float32.

  Args:
    query_key: `[..., pixels, 2 * C]`, C channels of the query, then of the key.
    temperature: `[heads, 1, 1]`; heads are blocks of consecutive channels and attend to themselves only.

  Returns:
    `[..., C, C]`, row = channel that results, in the type of `query_key`. All-zero channels give a uniform row and a
    zero gradient.
  """
  heads, channels = temperature.shape[0], query_key.shape[-1] // 2
  wide = query_key.astype(jnp.promote_types(query_key.dtype, jnp.float32))
  # All products of channels at once: the squared lengths stand on the diagonal.
  products = jnp.einsum("...pi,...pj->...ij", wide, wide)
  lengths = jax.lax.rsqrt(jnp.maximum(jnp.diagonal(products, axis1=-2, axis2=-1), _MIN_SQUARED_LENGTH))
  cosines = products[..., :channels, channels:] * lengths[..., :channels, None] * lengths[..., None, channels:]
  scale = jnp.repeat(temperature.astype(wide.dtype)[:, 0, 0], channels // heads)[:, None]
  own_head = jnp.arange(channels) // (channels // heads)
  logits = jnp.where(own_head[:, None] == own_head, cosines * scale, -jnp.inf)
  return jax.nn.softmax(logits, -1).astype(query_key.dtype)


class GatedFeedForward(nn.Module):
  """GDFN: one half of the expanded features, after GELU, gates the other half."""

  @nn.compact
  def __call__(self, x):
    hidden = int(x.shape[-1] * _EXPANSION)
    features = Conv1x1(2 * hidden, name="project_in")(x)
    features = depthwise_conv3x3(features, Kernel((3, 3, 1, 2 * hidden), name="dwconv")(x.dtype))
    gate, value = jnp.split(features, 2, -1)
    return Conv1x1(x.shape[-1], name="project_out")(gelu(gate) * value)
