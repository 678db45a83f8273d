"""Convolutions, NHWC, whose kernel's gradient is a matrix product on CPUs."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.kernels.dense import contract_pixels

Padding = tuple[tuple[int, int], tuple[int, int]]
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


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
