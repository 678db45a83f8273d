"""The deformable convolution against the definition, point by point, in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.kernels import deform_conv, deform_triton
from debir_jax.restoration import deform_conv2d

_GROUPS = 2


def slow_deform_conv(x, offsets, mask, kernel, bias, dilation):
  """The definition, in loops, for one image."""
  height, width, channels = x.shape
  per_group = channels // _GROUPS
  out = np.tile(bias, (height, width, 1)).astype(np.float64)
  for row, column, group, tap in itertools.product(range(height), range(width), range(_GROUPS), range(9)):
    channel = 18 * group + 2 * tap
    y = row + dilation * (tap // 3 - 1) + offsets[row, column, channel]
    z = column + dilation * (tap % 3 - 1) + offsets[row, column, channel + 1]
    value = np.zeros(per_group)
    for corner_row, corner_column in itertools.product((math.floor(y), math.floor(y) + 1),
                                                       (math.floor(z), math.floor(z) + 1)):
      if 0 <= corner_row < height and 0 <= corner_column < width:
        weight = (1 - abs(y - corner_row)) * (1 - abs(z - corner_column))
        value += weight * x[corner_row, corner_column, group * per_group:(group + 1) * per_group]
    outputs = slice(group * kernel.shape[3] // _GROUPS, (group + 1) * kernel.shape[3] // _GROUPS)
    out[row, column, outputs] += mask[row, column, 9 * group + tap] * value @ kernel[tap // 3, tap % 3][:, outputs]
  return out


def inputs(leading=(), spread=1.5, height=5, width=6, channels=4, out=6):
  keys = jax.random.split(jax.random.key(3), 5)
  size = (*leading, height, width)
  return (jax.random.normal(keys[0], (*size, channels), jnp.float64),
          spread * jax.random.normal(keys[1], (*size, 18 * _GROUPS), jnp.float64),
          jax.random.uniform(keys[2], (*size, 9 * _GROUPS), jnp.float64),
          jax.random.normal(keys[3], (3, 3, channels // _GROUPS, out), jnp.float64),
          jax.random.normal(keys[4], (out,), jnp.float64))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("spread", [0.3, 3.0, 100.0])
def test_value_is_that_of_the_definition(x64, spread, dilation):
  """Small offsets, offsets across the border, offsets far outside."""
  args = inputs(spread=spread)
  ours = jax.jit(deform_conv2d, static_argnames="dilation")(*args, dilation=dilation)
  np.testing.assert_allclose(ours, slow_deform_conv(*map(np.asarray, args), dilation), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [-2.5, -1.0, 0.0, 0.5, 1e9, -np.inf])
def test_whole_and_half_way_points_and_points_at_infinity(x64, offset):
  x, offsets, *rest = inputs()
  args = x, jnp.full_like(offsets, offset), *rest
  expected = slow_deform_conv(*map(np.asarray, (x, jnp.full_like(offsets, max(offset, -1e9)), *rest)), 2)
  np.testing.assert_allclose(deform_conv2d(*args), expected, rtol=1e-12, atol=1e-12)
  gradients = jax.grad(lambda *args: jnp.sum(deform_conv2d(*args)), (0, 1, 2, 3, 4))(*args)
  assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_leading_axes_are_images_of_their_own(x64):
  args = inputs(leading=(2, 2))
  ours = deform_conv2d(*args)
  for index in np.ndindex(2, 2):
    single = tuple(arg[index] for arg in args[:3])
    np.testing.assert_allclose(ours[index], deform_conv2d(*single, *args[3:]), rtol=1e-12, atol=1e-12)
  mapped = jax.vmap(jax.vmap(deform_conv2d, (0, 0, 0, None, None)), (0, 0, 0, None, None))(*args)
  np.testing.assert_allclose(ours, mapped, rtol=1e-12, atol=1e-12)


def test_gradients_equal_finite_differences(x64):
  """Along a random direction of every argument, away from pixel centres, where the value has kinks."""
  args = inputs(leading=(2,), spread=2.0)
  weights = jax.random.normal(jax.random.key(9), (2, 5, 6, 6), jnp.float64)
  loss = jax.jit(lambda *args: jnp.sum(deform_conv2d(*args) * weights))
  gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4)))(*args)
  directions = [jax.random.normal(jax.random.key(20 + index), arg.shape, jnp.float64) for index, arg in enumerate(args)]
  step = 1e-6
  fractions = args[1] - jnp.floor(args[1])
  directions[1] *= (fractions > 1e-4) & (fractions < 1 - 1e-4)
  for index, direction in enumerate(directions):
    low, high = [loss(*args[:index], args[index] + sign * step * direction, *args[index + 1:]) for sign in (-1, 1)]
    expected = (high - low) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(gradients[index], direction), expected, rtol=1e-6, err_msg=str(index))


def test_zero_offsets_and_a_full_mask_give_a_dilated_convolution(x64):
  x, offsets, mask, kernel, bias = inputs()
  ours = deform_conv2d(x, jnp.zeros_like(offsets), jnp.ones_like(mask), kernel, bias)
  plain = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), ((2, 2), (2, 2)), rhs_dilation=(2, 2),
                                       dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=_GROUPS)[0]
  np.testing.assert_allclose(ours, plain + bias, rtol=1e-12, atol=1e-12)


def test_reference_numbers(x64, shared_dir):
  """The convolution of the published network's settings, computed outside of this package."""
  with np.load(shared_dir / "golden" / "burstormer.npz") as file:
    arrays = {name: file[f"deform_unit/{name}"].astype(np.float64)
              for name in ("input", "offset", "mask", "weight", "bias", "output_f64")}
  x, offsets, mask, expected = [np.moveaxis(arrays[name], 1, -1) for name in ("input", "offset", "mask", "output_f64")]
  ours = deform_conv2d(x, offsets, mask, arrays["weight"].transpose(2, 3, 1, 0), arrays["bias"])
  np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused(x64):
  x, offsets, mask, kernel, bias = inputs()
  with pytest.raises(ValueError, match="groups \\* 18"):
    deform_conv2d(x, offsets[..., :18], mask, kernel, bias)


@pytest.mark.parametrize("channels, groups", [(6, 2), (16, 1)])
def test_the_kernel_for_gpus_reads_the_same_points(channels, groups):
  """Interpreted; points far outside, more points than fill their last block, positions that are no numbers."""
  keys = jax.random.split(jax.random.key(0), 4)
  images = jax.random.normal(keys[0], (2, 7, 9, groups, channels))
  down, right, mask = [3 * jax.random.normal(key, (2, 7 * 9 * groups * 9)) for key in keys[1:]]
  expected = deform_conv._sample(2, images, down, right, mask)
  np.testing.assert_allclose(
      deform_triton.read_points(images, down, right, mask, dilation=2, interpret=True), expected, atol=1e-5)
  broken = deform_triton.read_points(images, down.at[0, 5].set(jnp.nan), right, mask, dilation=2, interpret=True)
  np.testing.assert_allclose(broken[:, 6:], expected[:, 6:], atol=1e-5)
