"""Layers with a gradient of their own against what JAX derives."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.kernels.conv import conv, conv3x3
from debir_jax.kernels.dense import dense, gelu
from debir_jax.restoration.layers import Conv3x3, UpConv3x3


def gradients(fn, *args):
  return jax.grad(lambda *args: jnp.sum(jnp.sin(fn(*args))), tuple(range(len(args))))(*args)


@pytest.mark.parametrize("features_in, features_out", [(3, 5), (5, 3)])
def test_dense_layer_has_the_gradients_of_a_matrix_product(x64, features_in, features_out):
  x = jax.random.normal(jax.random.key(0), (2, 4, features_in), jnp.float64)
  matrix = jax.random.normal(jax.random.key(1), (features_in, features_out), jnp.float64)
  for ours, expected in zip(gradients(dense, x, matrix), gradients(jnp.matmul, x, matrix)):
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("features_in, features_out", [(2, 5), (5, 2), (3, 3)])
def test_convolution_has_the_gradients_of_the_library(x64, features_in, features_out):
  """More outputs than inputs, which are then cut into windows, and fewer."""
  x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4, features_in), jnp.float64)
  kernel = jax.random.normal(jax.random.key(1), (3, 3, features_in, features_out), jnp.float64)

  def library(x, kernel):
    out = lax.conv_general_dilated(x.reshape(6, 5, 4, -1), kernel, (1, 1), ((1, 1), (1, 1)),
                                   dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return out.reshape(2, 3, 5, 4, -1)

  np.testing.assert_allclose(conv3x3(x, kernel), library(x, kernel), rtol=1e-12, atol=1e-12)
  for ours, expected in zip(gradients(conv3x3, x, kernel), gradients(library, x, kernel)):
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), ((1, 0), (2, 1))])
def test_kernels_and_paddings_of_any_size_have_the_gradients_of_the_library(x64, padding):
  x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3), jnp.float64)
  kernel = jax.random.normal(jax.random.key(1), (2, 3, 3, 2), jnp.float64)
  library = lambda x, kernel: lax.conv_general_dilated(x, kernel, (1, 1), padding,
                                                       dimension_numbers=("NHWC", "HWIO", "NHWC"))
  ours = lambda x, kernel: conv(x, kernel, padding)
  for value, expected in zip(gradients(ours, x, kernel), gradients(library, x, kernel)):
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)


def test_up_convolution_is_the_transposed_convolution(x64):
  """That of PyTorch with stride 2, padding 1 and output padding 1, in value and gradient."""
  layer = UpConv3x3(5)
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 3), jnp.float64)
  variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), layer.init(jax.random.key(1), x))

  def library(variables, x):
    out = lax.conv_transpose(x, variables["params"]["kernel"], (2, 2), ((1, 2), (1, 2)),
                             dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True)
    return out + variables["params"]["bias"]

  np.testing.assert_allclose(layer.apply(variables, x), library(variables, x), rtol=1e-12, atol=1e-12)
  results = [jax.tree.leaves(gradients(fn, variables, x)) for fn in (layer.apply, library)]
  for ours, expected in zip(*results, strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


def test_result_of_a_convolution_can_be_wider_than_its_operands():
  """bfloat16 in, sums and result in float32, gradients in bfloat16."""
  x, kernel = jnp.ones((1, 4, 4, 3), jnp.bfloat16), jnp.full((3, 3, 3, 2), 1 / 3, jnp.bfloat16)
  out = conv3x3(x, kernel, dtype=jnp.float32)
  assert out.dtype == jnp.float32
  np.testing.assert_allclose(out[0, 1, 1], 27 * float(kernel[0, 0, 0, 0]), rtol=1e-6)
  x_grad = jax.grad(lambda x: jnp.sum(conv3x3(x, kernel, dtype=jnp.float32)))(x)
  assert x_grad.dtype == jnp.bfloat16


@pytest.mark.parametrize("layer, share", [(Conv3x3(4), 1), (UpConv3x3(4), 4)])
def test_bias_gradient_in_bfloat16_counts_every_pixel(layer, share):
  """A sum of ones in bfloat16 stops at 256."""
  x = jnp.zeros((1, 128, 128, 4), jnp.bfloat16)
  variables = layer.init(jax.random.key(0), x)
  grads = jax.jit(jax.grad(lambda variables: jnp.sum(layer.apply(variables, x), dtype=jnp.float32)))(variables)
  np.testing.assert_array_equal(grads["params"]["bias"], share * 128 * 128)


def test_gelu_is_the_exact_one(x64):
  x = jnp.linspace(-6, 6, 49)
  np.testing.assert_allclose(gelu(x), jax.nn.gelu(x, approximate=False), rtol=0, atol=1e-14)
