"""The two halves of burst feature attention on CPU, in the flat layout of `debir_jax.kernels.depthwise_conv`.

Both halves widen thin features, filter the wide ones with a depthwise convolution and narrow them again. Here thin
features are laid out flat before they are widened, so that no wide array is ever padded, cut or rearranged.

The gradient keeps nothing but the input: image by image, it computes what is wide once more. That costs little time, as
arrays of one image stay in the caches, and saves most of the memory. It has to be a loop: XLA on CPU takes the
recomputation of `jax.checkpoint` for a repetition of the forward pass and keeps the arrays after all.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.kernels.channel_attention import channel_mixing, layer_norm
from debir_jax.kernels.dense import contract_pixels, dense, gelu
from debir_jax.kernels.depthwise_conv import FlatLayout, flat_conv, flat_conv_transpose, flat_kernel_gradient


def _with_gradient_by_image(fn):
  """`fn(images, weights)`, independent for every image, with a gradient that works image by image."""
  wrapped = jax.custom_vjp(fn)

  def backward(residuals, cotangent):
    images, weights = residuals
    wide = lambda array: array.astype(jnp.promote_types(array.dtype, jnp.float32))

    def add_image(totals, image_and_cotangent):
      image, cotangent = image_and_cotangent
      image_grad, weight_grads = jax.vjp(fn, image[None], weights)[1](cotangent[None])
      return jax.tree.map(lambda total, grad: total + wide(grad), totals, weight_grads), image_grad[0]

    zeros = jax.tree.map(lambda array: wide(jnp.zeros_like(array)), weights)
    totals, images_grad = lax.scan(add_image, zeros, (images, cotangent))
    return images_grad, jax.tree.map(lambda total, array: total.astype(array.dtype), totals, weights)

  wrapped.defvjp(lambda images, weights: (fn(images, weights), (images, weights)), backward)
  return functools.wraps(fn)(wrapped)


@_with_gradient_by_image
def attend(images, weights):
  """`attention.attend`."""
  layout, channels = FlatLayout(*images.shape[:3]), images.shape[-1]
  flat = layout.flatten(layer_norm(images, weights.norm_scale, weights.norm_bias))
  matrix = jnp.concatenate([weights.qk, weights.v], -1)
  kernel = jnp.concatenate([weights.qk_dwconv, weights.v_dwconv], -1)
  filtered = layout.by_image(expand(flat, matrix, kernel, layout))
  is_pixel = layout.by_image(layout.is_pixel()).astype(images.dtype)
  query, key, values = [filtered[..., start:start + channels] for start in (0, channels, 2 * channels)]
  mixing = channel_mixing(query * is_pixel, key * is_pixel, weights.temperature, weights.project_out)
  return layout.unflatten(layout.from_images(jnp.matmul(values, mixing)))


@_with_gradient_by_image
def feed_forward(images, weights):
  """`attention.feed_forward`."""
  layout = FlatLayout(*images.shape[:3])
  flat = layout.flatten(layer_norm(images, weights.norm_scale, weights.norm_bias))
  gate, value = jnp.split(expand(flat, weights.project_in, weights.dwconv, layout), 2, -1)
  return layout.unflatten(dense(gelu(gate) * value, weights.project_out))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def expand(flat: jax.Array, matrix: jax.Array, kernel: jax.Array, layout: FlatLayout) -> jax.Array:
  """A dense layer and a depthwise 3x3 convolution, one after the other, flat.

  Args:
    flat: `[in_length, c]`, zero but for pixels.
    matrix: `[c, C]`.
    kernel: `[3, 3, 1, C]`.
    layout: of the images.

  Returns:
    `[out_length, C]`. Only the places of pixels mean something, and the gradient of all others must be zero: reduce
    over places only what is masked with `layout.is_pixel()`.
  """
  return flat_conv(jnp.dot(flat, matrix), kernel, layout)


def _expand_fwd(flat, matrix, kernel, layout):
  wide = jnp.dot(flat, matrix)
  return flat_conv(wide, kernel, layout), (flat, matrix, kernel, wide)


def _expand_bwd(layout, residuals, cotangent):
  flat, matrix, kernel, wide = residuals
  inner = slice(layout.span, -layout.span)
  wide_grad = flat_conv_transpose(cotangent, kernel, layout)
  flat_grad = jnp.pad(jnp.dot(wide_grad, matrix.T), ((layout.span, layout.span), (0, 0)))
  return (flat_grad, contract_pixels(flat[inner], wide_grad), flat_kernel_gradient(wide, cotangent, layout))


expand.defvjp(_expand_fwd, _expand_bwd)

