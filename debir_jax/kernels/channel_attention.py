"""What both forms of an attention block, `attention.py` and `flat_attention.py`, compute alike."""

import jax
from jax import lax
import jax.numpy as jnp

_NORM_EPSILON = 1e-5
_MIN_SQUARED_LENGTH = 1e-24  # PyTorch normalises with max(length, 1e-12).


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """Normalises the channels of every pixel, at least in float32, then scales and shifts them."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  centred = wide - jnp.mean(wide, -1, keepdims=True)
  variance = jnp.mean(centred * centred, -1, keepdims=True)
  normalised = centred * lax.rsqrt(variance + _NORM_EPSILON)
  return (normalised * scale.astype(wide.dtype) + bias.astype(wide.dtype)).astype(x.dtype)


def channel_mixing(query: jax.Array, key: jax.Array, temperature: jax.Array, project_out: jax.Array) -> jax.Array:
  """Mixing by attention and then projecting are linear maps of the channels: one small matrix `[N, C, C]` per image.

  A row of values `[C]` times it is the attended and projected row.
  """
  attention = channel_attention(query, key, temperature)
  return jnp.einsum("...ij,io->...jo", attention.astype(project_out.dtype), project_out)


def channel_attention(query: jax.Array, key: jax.Array, temperature: jax.Array) -> jax.Array:
  """Attention between channels, `softmax(temperature * cosine(query, key))`, at least in float32.

  Args:
    query, key: `[..., pixels, C]`.
    temperature: `[heads, 1, 1]`; heads are blocks of consecutive channels and attend to themselves only.

  Returns:
    `[..., C, C]`, row = channel that results. All-zero channels give a uniform row and a zero gradient.
  """
  heads, channels = temperature.shape[0], query.shape[-1]
  wide = jnp.promote_types(query.dtype, jnp.float32)
  products = jnp.einsum("...pi,...pj->...ij", query, key, preferred_element_type=wide)
  lengths = [lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(array.astype(wide)), -2), _MIN_SQUARED_LENGTH))
             for array in (query, key)]
  cosines = products * lengths[0][..., :, None] * lengths[1][..., None, :]
  scale = jnp.repeat(temperature.astype(wide)[:, 0, 0], channels // heads)[:, None]
  own_head = jnp.arange(channels) // (channels // heads)
  logits = jnp.where(own_head[:, None] == own_head, cosines * scale, -jnp.inf)
  return jax.nn.softmax(logits, -1)
