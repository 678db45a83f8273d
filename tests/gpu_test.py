"""On a GPU the same numbers as on a CPU; skipped where there is none.

  JAX_PLATFORMS=cuda,cpu pytest -n 0 tests/gpu_test.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.kernels.depthwise_conv import depthwise_conv3x3
from debir_jax.motion import LucasKanade, Raft
from debir_jax.restoration import Burstormer, deform_conv2d
from debir_jax.simulator import integrate_windows
from debir_jax.types import BurstTiming

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU")


def normal(index, *shape, dtype=jnp.float32):
  return jax.random.normal(jax.random.fold_in(jax.random.key(0), index), shape, jnp.float32).astype(dtype)


def on_both(fn, reference, *args):
  """Leaves of `fn` as a GPU computes them, and of `reference` as a CPU does in float32; in full precision both."""
  wide = jax.tree.map(lambda array: array.astype(jnp.float32), args)
  results = []
  for device, fn, args in ((jax.devices()[0], fn, args), (jax.devices("cpu")[0], reference, wide)):
    with jax.default_device(device), jax.default_matmul_precision("highest"):
      results.append([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(
          jax.jit(fn)(*jax.device_put(args, device)))])
  return zip(*results)


def assert_same(fn, *args, tolerance, reference=None):
  """Relative to the largest number of an array; `reference` is `fn` where it is not given."""
  for ours, expected in on_both(fn, reference or fn, *args):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-12))


def with_gradients(fn):
  """Value of `fn`, and the gradients of its sum with random weights to all arguments."""
  def value_and_gradients(*args):
    out, vjp = jax.vjp(fn, *args)
    # The same on every device and in every type.
    weights = np.random.default_rng(99).normal(size=out.shape).astype(jnp.bfloat16)
    return out, vjp(jnp.asarray(weights, out.dtype))

  return value_and_gradients


@pytest.mark.parametrize("shape", [(2, 39, 19, 70), (3, 16, 64, 64), (1, 7, 5, 48), (2, 33, 130, 16)])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_depthwise_convolution(shape, dtype, tolerance):
  x, kernel = normal(1, *shape, dtype=dtype), normal(2, 3, 3, 1, shape[-1], dtype=dtype)
  assert_same(with_gradients(depthwise_conv3x3), x, kernel, tolerance=tolerance)


@pytest.mark.parametrize("groups, dtype, tolerance", [
    (8, jnp.float32, 1e-5), (1, jnp.float32, 1e-5), (8, jnp.bfloat16, 4e-2)])
def test_deformable_convolution(groups, dtype, tolerance):
  """Some offsets reach far outside of the image."""
  x = normal(1, 2, 17, 21, 48, dtype=dtype)
  offsets, mask = 6 * normal(2, 2, 17, 21, groups * 18), jax.nn.sigmoid(normal(3, 2, 17, 21, groups * 9))
  kernel, bias = normal(4, 3, 3, 48 // groups, 48) / 10, normal(5, 48)
  assert_same(with_gradients(deform_conv2d), x, offsets, mask, kernel, bias, tolerance=tolerance)


def test_positions_that_are_no_numbers_read_nothing_outside():
  x, mask = normal(1, 1, 9, 9, 16), jnp.ones((1, 9, 9, 18))
  offsets = jnp.full((1, 9, 9, 36), jnp.nan).at[..., ::2].set(jnp.inf)
  out = jax.jit(deform_conv2d)(x, offsets, mask, normal(2, 3, 3, 8, 16), normal(3, 16))
  assert out.shape == x.shape


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("bfloat16", 5e-2)])
def test_burstormer(dtype, tolerance):
  bursts = jax.random.uniform(jax.random.key(1), (2, 4, 32, 32, 4))
  variables = jax.jit(Burstormer(16, blocks_per_level=1, fusion_blocks=1).init)(jax.random.key(2), bursts)

  def image_and_gradient_norms(variables, bursts, dtype):
    model = Burstormer(16, blocks_per_level=1, fusion_blocks=1, dtype=dtype)
    loss = lambda variables: jnp.mean(jnp.abs(model.apply(variables, bursts) - bursts[:, 0]))
    gradients = jax.tree.leaves(jax.grad(loss)(variables))
    return model.apply(variables, bursts), jnp.stack([jnp.linalg.norm(leaf) for leaf in gradients])

  on_gpu = lambda *args: image_and_gradient_norms(*args, dtype)
  assert_same(on_gpu, variables, bursts, tolerance=tolerance,
              reference=lambda *args: image_and_gradient_norms(*args, "float32"))


def test_raft_in_the_precision_of_the_device():
  """The default precision of a GPU is not left to RAFT."""
  raft = Raft("small", 12)
  image = jax.random.uniform(jax.random.key(1), (1, 128, 128, 3))
  variables = raft.init(jax.random.key(3))
  flows = []
  for device in (jax.devices()[0], jax.devices("cpu")[0]):
    args = jax.device_put((variables, image, jnp.roll(image, 3, 2)), device)
    flows.append(np.asarray(jax.jit(raft.apply)(*args)))
  np.testing.assert_allclose(*flows, atol=2e-3)


def test_lucas_kanade():
  image = jax.random.uniform(jax.random.key(1), (64, 64, 3))
  assert_same(functools.partial(LucasKanade().apply, {}), image, jnp.roll(image, 1, 1), tolerance=1e-3)


def test_windows_and_their_derivatives():
  timing = BurstTiming.paper()
  radiance = jax.random.uniform(jax.random.key(1), (230, 16, 16, 4))
  start = jnp.asarray([0.3, 20.0, 70.7, 150.2]) / 1920
  end = start + jnp.asarray([12.0, 33.3, 56.0, 70.1]) / 1920
  fn = with_gradients(lambda radiance, start, end: integrate_windows(radiance, start, end, timing))
  assert_same(fn, radiance, start, end, tolerance=1e-4)
