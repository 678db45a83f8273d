"""Convolutions of the restoration network: Flax modules that hold the weights, NHWC with any leading axes.

Weights follow PyTorch's default initialisation (uniform within 1 / sqrt(fan_in), kernel and bias). Every layer computes
in the type of its input.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bias_init(fan_in: int):
  """Uniform within 1 / sqrt(fan_in)."""
  limit = fan_in ** -0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return init


class Kernel(nn.Module):
  """Only the weights of a convolution, `kernel` and on request `bias`, for callers that compute themselves."""

  shape: tuple[int, ...]
  use_bias: bool = False

  @nn.compact
  def __call__(self, dtype):
    kernel = self.param("kernel", kernel_init, self.shape).astype(dtype)
    if not self.use_bias:
      return kernel
    fan_in = self.shape[0] * self.shape[1] * self.shape[2]
    return kernel, self.param("bias", bias_init(fan_in), self.shape[-1:]).astype(dtype)


class Conv1x1(nn.Module):
  """Pointwise convolution without bias: `[..., in] -> [..., features]`."""

  features: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", kernel_init, (1, 1, x.shape[-1], self.features))
    return dense(x, kernel[0, 0].astype(x.dtype))


class Conv3x3(nn.Module):
  """3x3 convolution with one pixel of zero padding on every side: `[..., H, W, in] -> [..., H, W, features]`."""

  features: int
  stride: int = 1
  use_bias: bool = True

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", kernel_init, (3, 3, x.shape[-1], self.features))
    out = conv3x3(x, kernel.astype(x.dtype), stride=self.stride)
    if self.use_bias:
      out = out + self.param("bias", bias_init(9 * x.shape[-1]), (self.features,)).astype(x.dtype)
    return out


class UpConv3x3(nn.Module):
  """Transposed 3x3 convolution that doubles height and width; `kernel [3, 3, features, in]` as PyTorch turns it."""

  features: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", kernel_init, (3, 3, self.features, x.shape[-1])).astype(x.dtype)
    bias = self.param("bias", bias_init(9 * self.features), (self.features,)).astype(x.dtype)
    images = x.reshape((-1,) + x.shape[-3:])
    out = lax.conv_transpose(images, kernel, (2, 2), ((1, 2), (1, 2)), dimension_numbers=_DIMENSIONS,
                             transpose_kernel=True)
    return out.reshape(x.shape[:-3] + out.shape[1:]) + bias


def conv3x3(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
  """`[..., H, W, in]` with `kernel [3, 3, in, out]`, one pixel of zero padding on every side."""
  images = x.reshape((-1,) + x.shape[-3:])
  out = lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)
  return out.reshape(x.shape[:-3] + out.shape[1:])


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
    matrix_grad = _contract_pixels(flat_x, flat_cotangent)
  else:
    matrix_grad = _contract_pixels(flat_cotangent, flat_x).T
  return jnp.dot(cotangent, matrix.T), matrix_grad


dense.defvjp(_dense_fwd, _dense_bwd)


def _contract_pixels(left, right):
  return lax.dot_general(left, right, (((0,), (0,)), ((), ())))


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, with the error function."""
  return nn.gelu(x, approximate=False)
