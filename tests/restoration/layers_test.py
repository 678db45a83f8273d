"""Layers with a gradient of their own against what JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from debir_jax.restoration.layers import conv3x3, dense, gelu


def gradients(fn, *args):
  return jax.grad(lambda *args: jnp.sum(jnp.sin(fn(*args))), tuple(range(len(args))))(*args)


@pytest.mark.parametrize("features_in, features_out", [(3, 5), (5, 3)])
def test_dense_layer_has_the_gradients_of_a_matrix_product(x64, features_in, features_out):
  x = jax.random.normal(jax.random.key(0), (2, 4, features_in), jnp.float64)
  matrix = jax.random.normal(jax.random.key(1), (features_in, features_out), jnp.float64)
  for ours, expected in zip(gradients(dense, x, matrix), gradients(jnp.matmul, x, matrix)):
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("features_out", [3, 20])
def test_convolution_has_the_gradients_of_the_library(x64, features_out):
  """Also where it has many outputs and so its own gradient."""
  x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4, 2), jnp.float64)
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, features_out), jnp.float64)

  def library(x, kernel):
    out = lax.conv_general_dilated(x.reshape(6, 5, 4, 2), kernel, (1, 1), ((1, 1), (1, 1)),
                                   dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return out.reshape(2, 3, 5, 4, -1)

  np.testing.assert_allclose(conv3x3(x, kernel), library(x, kernel), rtol=1e-12, atol=1e-12)
  for ours, expected in zip(gradients(conv3x3, x, kernel), gradients(library, x, kernel)):
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


def test_gelu_is_the_exact_one(x64):
  x = jnp.linspace(-6, 6, 49)
  np.testing.assert_allclose(gelu(x), jax.nn.gelu(x, approximate=False), rtol=0, atol=1e-14)
