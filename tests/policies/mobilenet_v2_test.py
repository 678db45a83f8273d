"""MobileNetV2 is torchvision's: parameters, resolutions, and all numbers of a slow version with plain convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import LIGHT_BLOCKS, BAENet, MobileNetV2, init_baenet

WIDTH = 0.25  # The narrowest that keeps a residual block of every kind; 16 px keep the spatial sizes 8, 4, 2 and 1.


def _shapes(module, size=32, num_planes=6, **options):
  planes = jax.ShapeDtypeStruct((1, size, size, num_planes), jnp.float32)
  return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False, **options), planes)


def _count(tree):
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("module,num_planes,expected", (
    (BAENet(), 6, 2_231_141), (BAENet(), 5, 2_230_853), (BAENet(num_frames=8), 6, 2_231_141 + 4 * 1281),
    (BAENet(norm="group"), 6, 2_231_141), (BAENet(width=0.5, blocks=LIGHT_BLOCKS), 6, 63_221),
    (MobileNetV2(1000), 3, 3_504_872)), ids=("baenet", "5 planes", "n=8", "group", "light", "torchvision"))
def test_number_of_parameters(module, num_planes, expected):
  """2,231,141 for BAENet with 6 planes and n = 4, whatever the norm; 3,504,872 for ImageNet, as in torchvision."""
  assert _count(_shapes(module, num_planes=num_planes)["params"]) == expected


def test_kernels_have_torchvision_shapes():
  """Every kernel of the seventeen blocks, in order, at width 1: (hidden, outputs) of the table in the paper."""
  params = _shapes(MobileNetV2(1000), num_planes=3)["params"]
  shape = lambda i, name: params[f"block_{i}"][name]["kernel"].shape
  blocks = [(shape(i, "depthwise_conv")[-1], shape(i, "project_conv")) for i in range(17)]
  outputs = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
  hidden = [32] + [6 * c for c in outputs[:-1]]
  assert blocks == [(h, (h, c)) for h, c in zip(hidden, outputs)]
  assert "expand_conv" not in params["block_0"] and "expand_conv" in params["block_1"]
  assert params["stem_conv"]["kernel"].shape == (3, 3, 3, 32) and params["head_conv"]["kernel"].shape == (320, 1280)


@pytest.mark.parametrize("size,expected", ((224, 7), (128, 4), (32, 1), (16, 1), (8, 1)))
def test_resolution_is_halved_five_times(size, expected):
  """224 -> 7 as in torchvision; packed previews of 32, 16 and 8 px end at a single pixel."""
  module, planes = MobileNetV2(5), jax.ShapeDtypeStruct((1, size, size, 6), jnp.float32)
  apply = lambda v, x: module.apply(v, x, train=False, capture_intermediates=True, mutable=["intermediates"])[1]
  found = jax.eval_shape(apply, _shapes(module), planes)["intermediates"]["head_conv"]["__call__"][0].shape
  assert found == (1, expected, expected, 1280)


@pytest.mark.parametrize("width,stem,head", ((1.0, 32, 1280), (0.5, 16, 1280), (0.35, 16, 1280), (1.4, 48, 1792)))
def test_width_scales_channels_in_multiples_of_8(width, stem, head):
  """Rounded to the nearest 8 but never by more than 10 % down (0.35: 32 -> 16); the head grows above 1 only."""
  params = _shapes(MobileNetV2(5, width=width))["params"]
  assert params["stem_conv"]["kernel"].shape[-1] == stem and params["head_conv"]["kernel"].shape[-1] == head


@functools.lru_cache
def _network(norm="batch"):
  """A narrow network, its variables with random statistics and scales, and planes."""
  module = MobileNetV2(5, width=WIDTH, norm=norm, dropout_rate=0.0)
  rng = np.random.default_rng(0)
  # Running variances as small as activations are at the start: else the images would not reach the output.
  ranges = {"scale": (0.8, 1.5), "bias": (-0.5, 0.5), "mean": (-0.1, 0.1), "var": (2e-3, 5e-3)}
  draw = lambda path, x: np.asarray(x) if path[-1].key == "kernel" else rng.uniform(*ranges[path[-1].key], x.shape)
  variables = jax.tree_util.tree_map_with_path(draw, init_baenet(jax.random.key(0), module))
  return module, variables, rng.uniform(size=(3, 16, 16, 6)).astype(np.float32)


def _slow_mobilenet(variables, x):
  """The network in float64 with library convolutions and torchvision's table, running statistics."""
  params, stats = variables["params"], variables["batch_stats"]

  def conv(x, kernel, stride=1, groups=1):
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), [(pad, pad)] * 2, feature_group_count=groups,
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))

  def norm(x, name, p, s):
    return p[name]["scale"] * (x - s[name]["mean"]) / jnp.sqrt(s[name]["var"] + 1e-5) + p[name]["bias"]

  relu6 = lambda x: jnp.minimum(jnp.maximum(x, 0), 6)
  x = relu6(norm(conv(x, params["stem_conv"]["kernel"], 2), "stem_norm", params, stats))
  for i in range(17):
    p, s, y = params[f"block_{i}"], stats[f"block_{i}"], x
    if i > 0:
      y = relu6(norm(conv(y, p["expand_conv"]["kernel"][None, None]), "expand_norm", p, s))
    stride = 2 if i in (1, 3, 6, 13) else 1
    y = relu6(norm(conv(y, p["depthwise_conv"]["kernel"], stride, y.shape[-1]), "depthwise_norm", p, s))
    y = norm(conv(y, p["project_conv"]["kernel"][None, None]), "project_norm", p, s)
    x = y + x if stride == 1 and x.shape[-1] == y.shape[-1] else y
  x = relu6(norm(conv(x, params["head_conv"]["kernel"][None, None]), "head_norm", params, stats))
  return x.mean(axis=(1, 2)) @ params["classifier"]["kernel"] + params["classifier"]["bias"]


def test_network_equals_plain_convolutions(x64):
  """Logits in use equal those of the same layers written out with `lax.conv`, to 1e-10."""
  module, variables, planes = _network()
  variables, planes = jax.tree.map(lambda x: np.asarray(x, np.float64), (variables, planes))
  expected = jax.jit(_slow_mobilenet)(variables, planes)
  assert np.std(expected, axis=0).min() > 1e-4  # The images matter.
  found = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, planes)
  np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_training_updates_statistics_and_differentiates_through_the_batch(x64):
  """Running statistics move by a tenth towards those of the batch; the gradient equals central differences."""
  module = MobileNetV2(5, width=WIDTH, dropout_rate=0.0, blocks=LIGHT_BLOCKS[:3])
  variables = jax.tree.map(lambda x: np.asarray(x, np.float64), init_baenet(jax.random.key(0), module))
  params, stats = variables["params"], variables["batch_stats"]
  planes = np.random.default_rng(0).uniform(size=(3, 16, 16, 6))

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params):
    logits, new = module.apply({**variables, "params": params}, planes, train=True, mutable=["batch_stats"])
    return jnp.sum(jnp.sin(jnp.arange(5) + logits)), new["batch_stats"]

  (_, new_stats), gradient = step(params)
  stem = jax.lax.conv_general_dilated(planes, params["stem_conv"]["kernel"], (2, 2), [(1, 1)] * 2,
                                      dimension_numbers=("NHWC", "HWIO", "NHWC"))
  for name, value in (("mean", stem.mean((0, 1, 2))), ("var", stem.var((0, 1, 2)))):
    np.testing.assert_allclose(new_stats["stem_norm"][name], 0.9 * stats["stem_norm"][name] + 0.1 * value, rtol=1e-9)

  rng = np.random.default_rng(1)
  direction = jax.tree.map(lambda x: rng.standard_normal(x.shape) * abs(x), params)
  # The step is tiny because BatchNorm over three images bends sharply, and so that no ReLU6 changes sides.
  value = lambda t: step(jax.tree.map(lambda p, d: p + t * d, params, direction))[0][0]
  expected = (value(1e-8) - value(-1e-8)) / 2e-8
  found = sum(np.sum(g * d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_group_norm_has_no_statistics_and_knows_no_batch():
  """One image alone or among others gives the same logits, in training mode too."""
  module, variables, planes = _network("group")
  assert set(variables) == {"params"}
  apply = jax.jit(lambda x: module.apply(variables, x, train=True))
  other_neighbours = np.stack([planes[1], planes[0], planes[0]])
  np.testing.assert_allclose(apply(other_neighbours)[0], apply(planes)[1], rtol=1e-4, atol=1e-5)


def test_group_norm_is_over_eight_channels_of_one_image(x64):
  """With epsilon 1e-5, as the batch's, which matters in dark images."""
  module = MobileNetV2(5, width=0.5, norm="group", dropout_rate=0.0, blocks=LIGHT_BLOCKS[:1])
  planes = 1e-3 * np.random.default_rng(0).uniform(size=(3, 16, 16, 6))
  variables = init_baenet(jax.random.key(0), module)
  _, state = module.apply(variables, planes, train=False, capture_intermediates=True, mutable=["intermediates"])
  before, after = (np.asarray(state["intermediates"][name]["__call__"][0]) for name in ("stem_conv", "stem_norm"))
  groups = before.reshape(3, 8 * 8, 2, 8)
  expected = (groups - groups.mean((1, 3), keepdims=True)) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
  np.testing.assert_allclose(after, expected.reshape(before.shape), rtol=1e-4, atol=1e-6)


def test_unknown_norm_is_refused():
  """The message names the value seen and the choices."""
  with pytest.raises(ValueError, match="'batch' or 'group', got 'layer'"):
    _shapes(MobileNetV2(5, norm="layer"))
