"""RAFT: its pieces against slow versions, batches, padding, refusals. Its flow: `convert/convert_raft_test.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from debir_jax.motion import MotionEstimator, Raft, mean_flow_magnitude, raft
from debir_jax.policies import observe
from debir_jax.types import BurstTiming, CameraColor

_SMALL = Raft("small", num_updates=2)


@pytest.fixture(scope="module")
def variables():
  """Random weights of the small network."""
  return _SMALL.init(jax.random.key(0))


def _images(*shape):
  return jax.random.uniform(jax.random.key(1), (2, *shape, 3))


_apply = jax.jit(_SMALL.apply)


@pytest.mark.parametrize("size, num_params, num_stats", (("small", 990_162, 0), ("large", 5_257_536, 2_880)))
def test_parameters_are_as_many_as_published(size, num_params, num_stats):
  """Golden numbers; the statistics are those of BatchNorm in the context encoder."""
  shapes = jax.eval_shape(Raft(size).init, jax.random.key(0))
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  assert count(shapes["params"]) == num_params and count(shapes.get("batch_stats", {})) == num_stats


@pytest.mark.parametrize("size", ("small", "large"))
def test_random_variables_have_the_shapes_of_the_network(size):
  """The quick draw fits the network, and its kernels have variance 1 / inputs."""
  variables = Raft(size).init(jax.random.key(0))
  image = jax.ShapeDtypeStruct((128, 136, 3), jnp.float32)
  flow = jax.eval_shape(Raft(size).apply, variables, image, image)
  assert flow.shape == (128, 136, 2) and flow.dtype == jnp.float32
  kernel = variables["params"]["update"]["head1"]["kernel"]
  np.testing.assert_allclose(kernel.std(), np.prod(kernel.shape[:-1]) ** -0.5, rtol=0.02)


def test_a_batch_is_its_images_one_by_one(variables):
  """Plain, under vmap, and with leading axes: the same flow, also that of a pair that moves far and one that rests."""
  image1, image2 = _images(3, 128, 128)
  image2 = image2.at[1].set(image1[1])
  singles = jnp.stack([_apply(variables, *pair) for pair in zip(image1, image2)])
  scale = float(abs(singles).max())
  np.testing.assert_allclose(_apply(variables, image1, image2), singles, atol=1e-5 * scale)
  np.testing.assert_allclose(jax.jit(jax.vmap(_SMALL.apply, (None, 0, 0)))(variables, image1, image2), singles,
                             atol=1e-5 * scale)
  assert _apply(variables, image1[:, None], image2[:, None]).shape == (3, 1, 128, 128, 2)


def test_sides_that_8_does_not_divide_are_padded_by_their_edges(variables):
  """As published: half of it on each side, the odd pixel after; the flow is cut back."""
  images = _images(125, 122)
  padded = jnp.pad(images, ((0, 0), (1, 2), (3, 3), (0, 0)), mode="edge")
  expected = _apply(variables, *padded)[1:-2, 3:-3]
  np.testing.assert_allclose(_apply(variables, *images), expected, atol=1e-5 * float(abs(expected).max()))


def test_updates_of_a_call_come_before_those_of_the_estimator(variables):
  """`num_updates` of `apply` replaces the one that the estimator holds."""
  images = _images(128, 128)
  found = jax.jit(Raft("small").apply, static_argnames="num_updates")(variables, *images, num_updates=2)
  np.testing.assert_array_equal(found, _apply(variables, *images))


def test_half_precision_images_are_worked_on_in_single(variables):
  """Types below float32 only tell how the image was stored; float64 stays."""
  image = lambda dtype: jax.ShapeDtypeStruct((128, 128, 3), dtype)
  flow_type = lambda dtype: jax.eval_shape(_SMALL.apply, variables, image(dtype), image(dtype)).dtype
  assert flow_type(jnp.bfloat16) == jnp.float32
  with jax.enable_x64(True):
    assert flow_type(jnp.float64) == jnp.float64


def test_equal_flat_images_have_a_finite_flow_and_gradient(variables):
  """The variance that instances are divided by is 0 there."""
  image = jnp.full((128, 128, 3), 0.5)
  mean_flow = lambda image1: mean_flow_magnitude(_SMALL.apply(variables, image1, image))
  value, gradient = jax.jit(jax.value_and_grad(mean_flow))(image)
  assert np.isfinite(value) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("height, width", ((16, 19), (17, 23)))
def test_correlations_are_read_as_loops_read_them(x64, height, width):
  """Four scales, x before y, bilinear with zeros outside, for flows that end inside, at the edge and far outside."""
  rng = np.random.default_rng(0)
  features = rng.normal(size=(2, 1, height, width, 5))
  positions = rng.uniform(-12, 40, (1, height, width, 2))
  positions[0, 0, :6] = [[0, 0], [width - 1, height - 1], [-0.25, 3], [width - 0.5, 2.5], [1e4, -1e4], [-1e6, 1e6]]
  found = raft._look_up(raft._correlation_pyramid(*jnp.asarray(features), 2), jnp.asarray(positions), 2)
  assert found.shape == (1, height, width, 4 * 5 * 5)
  volume = np.einsum("ijc,klc->ijkl", *features[:, 0]) / np.sqrt(5)
  for i, j in [(0, column) for column in range(6)] + [tuple(rng.integers((height, width))) for _ in range(20)]:
    np.testing.assert_allclose(found[0, i, j], _looked_up(volume[i, j], positions[0, i, j], 2), atol=1e-9)


def _looked_up(plane, position, radius):
  values = []
  for scale in (1, 2, 4, 8):
    x, y = position / scale
    offsets = range(-radius, radius + 1)
    values += [_bilinear(plane, x + dx, y + dy) for dx in offsets for dy in offsets]
    plane = np.array([[plane[2 * i:2 * i + 2, 2 * j:2 * j + 2].mean() for j in range(plane.shape[1] // 2)]
                      for i in range(plane.shape[0] // 2)])
  return values


def _bilinear(plane, x, y):
  total = 0.0
  for row in range(plane.shape[0]):
    for column in range(plane.shape[1]):
      total += max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row)) * plane[row, column]
  return total


def test_small_flows_are_enlarged_linearly_with_their_corners_in_place(x64):
  """Equals scipy's zoom between the centres of the corner pixels, in px of the larger size."""
  flow = np.random.default_rng(0).normal(size=(5, 7, 2))
  expected = 8 * scipy.ndimage.zoom(flow, (8, 8, 1), order=1)
  np.testing.assert_allclose(raft._linearly_upsampled(jnp.asarray(flow)[None])[0], expected, atol=1e-12)


def test_large_flows_are_enlarged_by_convex_combinations(x64):
  """Equals a loop over pixels: softmax over the nine neighbours, each with 8x8 weights."""
  rng = np.random.default_rng(0)
  flow, logits = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 9, 8, 8))
  found = raft._convex_upsampled(jnp.asarray(flow)[None], jnp.asarray(logits).reshape(1, 3, 4, 576))[0]
  padded = np.pad(flow, ((1, 1), (1, 1), (0, 0)))
  for row, column in np.ndindex(24, 32):
    (i, a), (j, b) = divmod(row, 8), divmod(column, 8)
    weights = np.exp(logits[i, j, :, a, b])
    expected = 8 * weights / weights.sum() @ padded[i:i + 3, j:j + 3].reshape(9, 2)
    np.testing.assert_allclose(found[row, column], expected, atol=1e-12)


@pytest.mark.parametrize("kernel_size", ((3, 3), (1, 5), (5, 1)))
def test_the_recurrent_unit_follows_its_equations(x64, kernel_size):
  """Gates from convolutions of the concatenation [hidden, inputs], computed one by one."""
  hidden, inputs = jnp.split(jax.random.normal(jax.random.key(0), (1, 6, 7, 7)), [4], axis=-1)
  unit = raft._ConvGru(kernel_size)
  params = unit.init(jax.random.key(2), hidden, inputs)["params"]
  params = {name: leaf + 0.1 * i for i, (name, leaf) in enumerate(params.items())}

  def gate(name, hidden):
    convolved = [[scipy.ndimage.correlate(np.asarray(plane), np.asarray(kernel), mode="constant")
                  for plane, kernel in zip(np.moveaxis(jnp.concatenate([hidden, inputs], -1)[0], -1, 0),
                                           np.moveaxis(params[f"{name}_kernel"][..., out], -1, 0))] for out in range(4)]
    return np.moveaxis(np.sum(convolved, axis=1), 0, -1) + params[f"{name}_bias"]

  z, r = (1 / (1 + np.exp(-gate(name, hidden))) for name in "zr")
  expected = (1 - z) * hidden + z * np.tanh(gate("q", r * hidden))
  np.testing.assert_allclose(unit.apply({"params": params}, hidden, inputs), expected, atol=1e-9)


def test_previews_are_observed_alike_alone_and_in_a_batch(variables):
  """The policy's view with RAFT as the motion meter, under jit and vmap, for previews of the smallest size."""
  previews = 0.5 * jax.random.uniform(jax.random.key(2), (2, 2, 128, 128, 4))
  color, estimator = CameraColor.neutral(), Raft("small", num_updates=1)

  def see(previews, variables):
    motion = MotionEstimator(estimator=estimator, variables=variables)
    return observe(previews, 600.0, color, motion, BurstTiming.paper()).mean_flow_px

  together = jax.jit(jax.vmap(see, (0, None)))(previews, variables)
  single = jax.jit(see)
  np.testing.assert_allclose(together, [single(preview, variables) for preview in previews], rtol=1e-5)
  assert together[0] != together[1]


def test_it_is_hashable_and_named_by_its_size():
  """Static under jit; what a checkpoint records is the name."""
  assert hash(Raft("small")) == hash(Raft("small")) and Raft("small") == Raft("small", 20) != Raft("large")
  assert (Raft("small").name, Raft("large").name) == ("raft_small", "raft_large")
  assert Raft("small").preview_rendering == "half_resolution"


@pytest.mark.parametrize("shapes, message", (
    (((120, 128, 3), (120, 128, 3)), r"got \(120, 128\); use larger crops .*estimator='lucas_kanade'"),
    (((128, 128, 3), (128, 136, 3)), r"\(128, 128, 3\) and \(128, 136, 3\)"),
    (((128, 128, 4), (128, 128, 4)), "sRGB"), (((128, 3), (128, 3)), r"\[..., H, W, 3\]")))
def test_wrong_images_are_refused(variables, shapes, message):
  """Too small, unequal, not RGB, no image: the message names what was seen."""
  with pytest.raises(ValueError, match=message):
    _SMALL.apply(variables, *map(jnp.zeros, shapes))


@pytest.mark.parametrize("call, message", (
    (lambda: Raft("tiny"), "'small', 'large'"),
    (lambda: Raft("small", 0), "num_updates=0"),
    (lambda: _SMALL.apply({"params": {}}, *_images(128, 128), num_updates=0), "num_updates=0"),
    (lambda: _SMALL.apply({}, *_images(128, 128)), "raft_small has weights"),
    (lambda: _SMALL.apply({"params": {}}, *_images(128, 128).astype(jnp.uint8)), "divide bytes by 255")))
def test_wrong_settings_are_refused(call, message):
  """Sizes and updates that cannot be, missing weights, bytes in place of [0, 1]."""
  with pytest.raises(ValueError, match=message):
    call()
