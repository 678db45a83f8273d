"""Dense layers over few channels and many pixels, and what stands around them."""

import math

import jax
from jax import lax
import jax.numpy as jnp


@jax.custom_vjp
def dense(x: jax.Array, matrix: jax.Array) -> jax.Array:
  """`[..., in] @ [in, out]`, for few channels and many pixels.

  The gradient of the matrix is written out: XLA on CPU transposes the left operand of such a product, so the narrower
  one stands there. Otherwise whatever computes the wide one is repeated inside a transposing copy.
  """
  return jnp.dot(x, matrix)


def _dense_fwd(x, matrix):
  return jnp.dot(x, matrix), (x, matrix)


def _dense_bwd(residuals, cotangent):
  x, matrix = residuals
  flat_x, flat_cotangent = [array.reshape(-1, array.shape[-1]) for array in (x, cotangent)]
  if x.shape[-1] <= cotangent.shape[-1]:
    matrix_grad = contract_pixels(flat_x, flat_cotangent)
  else:
    matrix_grad = contract_pixels(flat_cotangent, flat_x).T
  return jnp.dot(cotangent, matrix.T), matrix_grad


dense.defvjp(_dense_fwd, _dense_bwd)


def contract_pixels(left: jax.Array, right: jax.Array) -> jax.Array:
  """`[pixels, a], [pixels, b] -> [a, b]`, the sum over pixels of products."""
  return lax.dot_general(left, right, (((0,), (0,)), ((), ())))


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
  """`[..., C] + [C]`, of the type of `x`.

  Added in float32 at least, so that the gradient of the bias, a sum over all pixels, is formed in it: a sum in bfloat16
  stops growing after some hundred terms, and a CPU forms it in the type it is given.
  """
  wide = jnp.promote_types(x.dtype, jnp.float32)
  return (x.astype(wide) + bias.astype(wide)).astype(x.dtype)


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, with the error function (Flax takes its complement, which costs XLA an exponential more)."""
  return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))
