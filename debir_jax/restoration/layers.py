"""Convolutions of the restoration network: Flax modules that hold the weights, NHWC with any leading axes.

Weights follow PyTorch's default initialisation (uniform within 1 / sqrt(fan_in), kernel and bias). Every layer computes
in the type of its input.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_WIDE = 4  # Outputs per input from which a convolution counts as widening.


def fan_in(kernel_shape: tuple[int, ...]) -> int:
  """Number of terms of one output of a convolution with a kernel `[height, width, in, out]`."""
  return math.prod(kernel_shape[:-1])


def kernel_init(key, shape, dtype=jnp.float32):
  """Uniform within 1 / sqrt(fan_in)."""
  return jax.random.uniform(key, shape, dtype, -1, 1) * fan_in(shape) ** -0.5


def bias_init(terms: int):
  """Uniform within 1 / sqrt(terms), terms = `fan_in` of the kernel."""
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -1, 1) * terms ** -0.5

  return init


@functools.partial(jax.jit, static_argnums=1)
def _uniform(key, num_values):
  return jax.random.uniform(key, (num_values,), jnp.float32, -1, 1)


def draw_weights(key: jax.Array, shapes: dict) -> dict:
  """Weights with the distributions of this file, out of one draw for all of them.

  Args:
    key: random key.
    shapes: nested dicts of `jax.ShapeDtypeStruct`. Four axes: a kernel; `bias` beside a `kernel` (or `deform_bias`
      beside a `deform_kernel`): its bias; any other bias becomes 0, everything else 1.
  """
  flat = traverse_util.flatten_dict(shapes)
  terms = {path: _terms(path, flat) for path in flat}
  values = _uniform(key, sum(flat[path].size for path in flat if terms[path]))
  weights, start = {}, 0
  for path, leaf in flat.items():
    if terms[path]:
      draw = values[start:start + leaf.size].reshape(leaf.shape) * terms[path] ** -0.5
      weights[path], start = draw.astype(leaf.dtype), start + leaf.size
    else:
      weights[path] = jnp.full(leaf.shape, 0 if path[-1] == "bias" else 1, leaf.dtype)
  return traverse_util.unflatten_dict(weights)


def _terms(path, flat) -> int:
  """`fan_in` of the convolution that a weight belongs to, 0 for the weights of a norm and the like."""
  kernel = flat.get((*path[:-1], path[-1].replace("bias", "kernel")))
  return fan_in(kernel.shape) if kernel is not None and len(kernel.shape) == 4 else 0


class Kernel(nn.Module):
  """Only the weights of a convolution, `kernel` and on request `bias`, for callers that compute themselves."""

  shape: tuple[int, ...]
  use_bias: bool = False

  @nn.compact
  def __call__(self, dtype):
    kernel = self.param("kernel", kernel_init, self.shape).astype(dtype)
    if not self.use_bias:
      return kernel
    return kernel, self.param("bias", bias_init(fan_in(self.shape)), self.shape[-1:]).astype(dtype)


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
  wide = stride == 1 and kernel.shape[3] >= _WIDE * kernel.shape[2]
  out = _widening_conv(images, kernel) if wide else _conv(images, kernel, stride)
  return out.reshape(x.shape[:-3] + out.shape[1:])


def _conv(images, kernel, stride=1):
  return lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)


@jax.custom_vjp
def _widening_conv(images, kernel):
  """A 3x3 convolution to many more channels: its kernel's gradient is one matrix product, 4 times faster on CPU."""
  return _conv(images, kernel)


def _widening_conv_fwd(images, kernel):
  return _conv(images, kernel), (images, kernel)


def _widening_conv_bwd(residuals, cotangent):
  images, kernel = residuals
  height, width = images.shape[1:3]
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = [padded[:, row:row + height, column:column + width] for row in range(3) for column in range(3)]
  windows = jnp.concatenate(windows, -1).reshape(-1, fan_in(kernel.shape))
  kernel_grad = _contract_pixels(windows, cotangent.reshape(-1, cotangent.shape[-1])).reshape(kernel.shape)
  return _conv(cotangent, kernel[::-1, ::-1].swapaxes(2, 3)), kernel_grad


_widening_conv.defvjp(_widening_conv_fwd, _widening_conv_bwd)


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
  """The exact GELU, with the error function (Flax takes its complement, which costs XLA an exponential more)."""
  return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))
