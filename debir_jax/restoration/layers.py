"""Convolutions of the restoration network: Flax modules that hold the weights, NHWC with any leading axes.

Weights follow PyTorch's default initialisation (uniform within 1 / sqrt(fan_in), kernel and bias). Every layer computes
in the type of its input.
"""

import functools
import math

from flax import traverse_util
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from debir_jax.kernels.conv import conv, conv3x3
from debir_jax.kernels.dense import add_bias, dense


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
