"""Convolutions of the restoration network: Flax modules that hold the weights, NHWC with any leading axes.

Weights follow PyTorch's default initialisation (uniform within 1 / sqrt(fan_in), kernel and bias). Every layer computes
in the type of its input.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


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
  dtype: jnp.dtype | None = None  # Of the result; see `conv3x3`.

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", kernel_init, (3, 3, x.shape[-1], self.features))
    out = conv3x3(x, kernel.astype(x.dtype), stride=self.stride, dtype=self.dtype)
    if self.use_bias:
      out = add_bias(out, self.param("bias", bias_init(9 * x.shape[-1]), (self.features,)))
    return out


class UpConv3x3(nn.Module):
  """Transposed 3x3 convolution that doubles height and width; `kernel [3, 3, features, in]` as PyTorch turns it."""

  features: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", kernel_init, (3, 3, self.features, x.shape[-1])).astype(x.dtype)
    bias = self.param("bias", bias_init(9 * self.features), (self.features,))
    images = x.reshape((-1,) + x.shape[-3:])
    # The four phases of the result, one per position in a 2x2 cell, are a plain 2x2 convolution without zeros.
    phases = conv(images, phases_of_up_kernel(kernel), ((0, 1), (0, 1)))
    cells = phases.reshape(images.shape[:3] + (2, 2, self.features))
    out = jnp.moveaxis(cells, 3, 2).reshape(x.shape[:-3] + (2 * x.shape[-3], 2 * x.shape[-2], self.features))
    return add_bias(out, bias)


def phases_of_up_kernel(kernel: jax.Array) -> jax.Array:
  """`kernel [3, 3, out, in]` of the transposed convolution as `[2, 2, in, 4 * out]` of a convolution.

  Along an axis, result pixel 2 m is tap 1 of pixel m; 2 m + 1 is tap 2 of pixel m plus tap 0 of pixel m + 1.
  """
  taps = np.zeros((2, 2, 3), np.float32)  # Offset of the pixel read, phase of the result, tap.
  taps[0, 0, 1] = taps[0, 1, 2] = taps[1, 1, 0] = 1
  taps = jnp.asarray(taps, kernel.dtype)
  phases = jnp.einsum("dak,ebl,kloi->deiabo", taps, taps, kernel, precision=lax.Precision.HIGHEST)
  return phases.reshape(2, 2, kernel.shape[3], 4 * kernel.shape[2])


def conv3x3(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dtype: jnp.dtype | None = None) -> jax.Array:
  """`[..., H, W, in]` with `kernel [3, 3, in, out]`, one pixel of zero padding on every side.

  Args:
    x, kernel: of one type.
    stride: between output pixels.
    dtype: of the result, for stride 1; default that of `x`. Sums are formed in it.
  """
  images = x.reshape((-1,) + x.shape[-3:])
  padding = ((1, 1), (1, 1))
  out = conv(images, kernel, padding, dtype) if stride == 1 else _library_conv(images, kernel, padding, stride=stride)
  return out.reshape(x.shape[:-3] + out.shape[1:])


Padding = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(images: jax.Array, kernel: jax.Array, padding: Padding, dtype: jnp.dtype | None = None) -> jax.Array:
  """`[N, H, W, in]` with `kernel [rows, columns, in, out]`, padded with zeros by ((top, bottom), (left, right)).

  No side may be wider than the kernel less 1. On CPU the kernel's gradient is written out as one matrix product; XLA's
  own is 5 times slower there.
  """
  return _library_conv(images, kernel, padding, dtype=dtype)


def _conv_fwd(images, kernel, padding, dtype):
  return conv(images, kernel, padding, dtype), (images, kernel)


def _conv_bwd(padding, dtype, residuals, cotangent):
  del dtype
  images, kernel = residuals
  cotangent = cotangent.astype(images.dtype)
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  images_grad = _library_conv(cotangent, turned, _transposed(padding, kernel.shape))
  kernel_grad = lax.platform_dependent(
      images, cotangent, cpu=functools.partial(_kernel_gradient, padding=padding, shape=kernel.shape),
      default=lambda images, cotangent: jax.vjp(
          lambda kernel: _library_conv(images, kernel, padding), kernel)[1](cotangent)[0])
  return images_grad, kernel_grad


conv.defvjp(_conv_fwd, _conv_bwd)


def _library_conv(images, kernel, padding, *, stride=1, dtype=None):
  return lax.conv_general_dilated(images, kernel, (stride, stride), padding, dimension_numbers=_DIMENSIONS,
                                  preferred_element_type=dtype)


def _transposed(padding, kernel_shape):
  """The padding with which a convolution of the result with the turned kernel gives back the size of the images."""
  return tuple((size - 1 - before, size - 1 - after) for size, (before, after) in zip(kernel_shape, padding))


def _kernel_gradient(images, cotangent, *, padding, shape):
  """Gradient of a convolution's kernel: products of windows with pixels, windows of the array of fewer channels."""
  rows, columns, inputs, outputs = shape
  if inputs <= outputs:
    return contract_pixels(_windows(images, rows, columns, padding), cotangent.reshape(-1, outputs)).reshape(shape)
  windows = _windows(cotangent, rows, columns, _transposed(padding, shape))
  turned = contract_pixels(images.reshape(-1, inputs), windows).reshape(inputs, rows, columns, outputs)
  return jnp.moveaxis(turned, 0, 2)[::-1, ::-1]


def _windows(images, rows, columns, padding):
  """All windows of a convolution, `[N * H * W, rows * columns * C]`."""
  padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
  height, width = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
  windows = [padded[:, row:row + height, column:column + width] for row in range(rows) for column in range(columns)]
  return jnp.concatenate(windows, -1).reshape(-1, rows * columns * images.shape[-1])


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
