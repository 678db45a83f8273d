"""The depthwise convolution is the library's grouped convolution, in value and gradient, in every form it is called."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.kernels import depthwise_triton
from debir_jax.kernels.depthwise_conv import depthwise_conv3x3


def library_conv(x, kernel, stride=1):
  images = x.reshape((-1,) + x.shape[-3:])
  out = lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)),
                                 dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1])
  return out.reshape(x.shape[:-3] + out.shape[1:])


def inputs(shape, dtype=jnp.float64):
  x_key, kernel_key = jax.random.split(jax.random.key(7))
  return jax.random.normal(x_key, shape, dtype), jax.random.normal(kernel_key, (3, 3, 1, shape[-1]), dtype)


def value_and_gradients(fn, x, kernel, stride):
  def loss(x, kernel):
    out = fn(x, kernel, stride=stride)
    weights = jnp.cos(jnp.arange(out.size)).reshape(out.shape).astype(jnp.bfloat16)  # The same numbers in every type.
    return jnp.sum(out * weights.astype(out.dtype)), out

  (_, out), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel)
  return out, *gradients


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 5, 3), (2, 3, 8, 8, 2), (2, 37, 4, 1), (1, 1, 1, 3), (1, 70, 3, 2)])
def test_value_and_gradients_are_those_of_the_grouped_convolution(x64, shape, stride):
  """Odd and even sizes, single pixels, several strips of rows, any leading axes."""
  x, kernel = inputs(shape)
  ours = jax.jit(lambda *a: value_and_gradients(depthwise_conv3x3, *a, stride))(x, kernel)
  theirs = value_and_gradients(library_conv, x, kernel, stride)
  for value, expected in zip(ours, theirs):
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-11)


def test_plain_jitted_and_vmapped_agree(x64):
  """vmap over images and kernels, over images alone, and gradients through both."""
  x, _ = inputs((2, 4, 6, 3))
  kernels = jnp.stack([inputs((2, 4, 6, 3))[1] * scale for scale in (1.0, -0.5)])
  both = jax.vmap(lambda x, kernel: value_and_gradients(depthwise_conv3x3, x, kernel, 1))
  images = jax.jit(jax.vmap(lambda x, kernel: value_and_gradients(depthwise_conv3x3, x, kernel, 1), (0, None)))
  for mapped, kernel_of in ((both(x, kernels), lambda i: kernels[i]), (images(x, kernels[0]), lambda i: kernels[0])):
    for index in range(2):
      single = value_and_gradients(library_conv, x[index], kernel_of(index), 1)
      for value, expected in zip(mapped, single):
        np.testing.assert_allclose(value[index], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_dtype_is_kept_and_sums_are_at_least_single_precision(dtype, tolerance):
  """bfloat16 in, bfloat16 out, within rounding of the result, not of the terms, also in the kernel's gradient."""
  x, kernel = inputs((4, 16, 16, 3), dtype)
  ours = value_and_gradients(depthwise_conv3x3, x, kernel, 1)
  theirs = value_and_gradients(library_conv, x.astype(jnp.float32), kernel.astype(jnp.float32), 1)
  for value, expected in zip(ours, theirs):
    assert value.dtype == dtype
    np.testing.assert_allclose(value.astype(jnp.float32), expected, rtol=tolerance, atol=tolerance)


def test_mixed_types_promote():
  x, kernel = inputs((4, 4, 2), jnp.float32)
  assert depthwise_conv3x3(x.astype(jnp.bfloat16), kernel).dtype == jnp.float32


FORMS = dict(cpu="stablehlo.while", cuda="__gpu$xla.gpu.triton", tpu="stablehlo.convolution")


@pytest.mark.parametrize("platform", FORMS)
def test_each_platform_gets_its_own_program(platform, lowering_for_gpus):
  """A walk over blocks on CPU, Triton's kernels for CUDA, elsewhere the library's convolution; never two at once."""
  x, kernel = inputs((4, 4, 2), jnp.float32)
  gradients = jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(depthwise_conv3x3(x, kernel))), (0, 1)))
  with lowering_for_gpus():
    program = gradients.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
  assert [form in program for form in FORMS.values()] == [name == platform for name in FORMS]


@pytest.mark.parametrize("stride, dtype", [(2, jnp.float32), (1, jnp.float16)])
def test_other_strides_and_types_are_left_to_the_library_on_cuda(stride, dtype, lowering_for_gpus):
  x, kernel = inputs((4, 4, 2), dtype)
  fn = jax.jit(lambda x, kernel: depthwise_conv3x3(x, kernel, stride=stride))
  with lowering_for_gpus():
    program = fn.trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
  assert FORMS["tpu"] in program and FORMS["cuda"] not in program


@pytest.mark.parametrize("shape", [(2, 39, 19, 70), (1, 5, 70, 16), (1, 64, 3, 96), (3, 1, 1, 64)])
def test_kernels_for_gpus_give_the_same_numbers(shape):
  """Interpreted: channels with and without a mask, several tiles of rows and columns, sides of one pixel."""
  x, kernel = inputs(shape, jnp.float32)
  out, vjp = jax.vjp(functools.partial(library_conv, stride=1), x, kernel)
  np.testing.assert_allclose(depthwise_triton.conv(x, kernel, interpret=True), out, atol=1e-5)
  for ours, expected in zip(depthwise_triton.conv_transpose(x, kernel, out, interpret=True), vjp(out)):
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("x_shape, kernel_shape, stride, message", [
    ((4, 4, 2), (3, 3, 2, 1), 1, "kernel"),
    ((4, 2), (3, 3, 1, 2), 1, "H, W, C"),
    ((4, 4, 2), (3, 3, 1, 2), 0, "stride"),
])
def test_shapes_that_do_not_fit_are_refused(x_shape, kernel_shape, stride, message):
  with pytest.raises(ValueError, match=message):
    depthwise_conv3x3(jnp.zeros(x_shape), jnp.zeros(kernel_shape), stride=stride)
