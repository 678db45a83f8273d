"""BAENet as a network to train and as a policy to use."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import (
  LIGHT_BLOCKS,
  BaeInputs,
  BAENet,
  BAENetPolicy,
  MobileNetV2,
  init_baenet,
  predict_exposure_times,
)
from debir_jax.types import BurstTiming, CameraColor, Observation

KEY, TIMING = jax.random.key(0), BurstTiming.paper()
MODULE, INPUTS = BAENet(width=0.25), BaeInputs(min_preview_gain=512.0)


@functools.lru_cache
def _variables():
  """Variables with statistics of activations far below 1, as they are at the start: scenes can be told apart."""
  variables = init_baenet(KEY, MODULE)
  small = lambda path, x: jnp.full_like(x, 3e-3) if path[-1].key == "var" else x
  return jax.tree_util.tree_map_with_path(small, variables)


def _policy(module=MODULE):
  return BAENetPolicy(module=module, variables=_variables(), inputs=INPUTS)


def _observations(num=3, size=16):
  """A batch of scenes."""
  keys = jax.random.split(jax.random.key(1), 3)
  return Observation(
      previews=jax.random.uniform(keys[0], (num, 2, size, size, 4)), mean_flow_px=jnp.zeros(num),
      preview_gain=jax.random.uniform(keys[1], (num,), minval=512.0, maxval=1024.0),
      motion_magnitude=jax.random.uniform(keys[2], (num,)),
      color=CameraColor(white_balance=jnp.ones((num, 3)), ccm=jnp.broadcast_to(jnp.eye(3), (num, 3, 3))))


def _scene(observations, index):
  return jax.tree.map(lambda x: x[index], observations)


@jax.jit
def _predict(policy, observations):
  return jax.vmap(lambda scene: policy(KEY, scene, TIMING))(observations)


def test_policy_is_planes_network_and_bounded_softmax():
  """The exposure times are those of the parts put together by hand; scenes get different ones."""
  observations = _observations()
  planes = jax.vmap(INPUTS)(observations)
  logits = jax.jit(lambda variables: MODULE.apply(variables, planes, train=False))(_variables())
  expected = jax.vmap(lambda x: predict_exposure_times(x, TIMING))(logits)
  times = _predict(_policy(), observations)
  np.testing.assert_allclose(times, expected, rtol=1e-4)
  assert np.ptp(times, axis=0).max() > 1e-4
  assert np.all(times >= TIMING.min_exposure_s * (1 - 1e-6)) and np.all(times.sum(1) <= TIMING.budget_s * (1 + 1e-6))


def test_a_scene_does_not_see_its_neighbours():
  """Alone or in a batch, a scene gets the same exposure times (running statistics)."""
  observations = _observations()
  alone = _predict(_policy(), jax.tree.map(lambda x: x[1:2], observations))
  np.testing.assert_allclose(alone[0], _predict(_policy(), observations)[1], rtol=1e-4)


def test_slack_floor_keeps_the_sum_below_the_budget():
  """Sum t_i <= t_u - t_min under Eq. 3 to the letter."""
  times = _predict(_policy(MODULE.clone(slack_floor=True)), _observations())
  assert np.all(times.sum(1) <= (TIMING.budget_s - TIMING.min_exposure_s) * (1 + 1e-6))


def test_an_input_that_is_off_is_not_seen():
  """Without the preview, a network of two planes takes gain and motion only (Table 3)."""
  inputs = dataclasses.replace(INPUTS, use_preview=False)
  policy = BAENetPolicy(module=MODULE, variables=init_baenet(KEY, MODULE, num_planes=2), inputs=inputs)
  planes = policy.inputs(_scene(_observations(), 0))
  assert planes.shape == (16, 16, 2) and policy.variables["params"]["mobilenet_v2"]["stem_conv"]["kernel"].shape[2] == 2


def test_drawn_variables_have_the_tree_and_the_spread_of_module_init():
  """Same tree and shapes as `module.init`; kernels uniform within Xavier's bound; norms start as the identity."""
  planes = jax.ShapeDtypeStruct((1, 32, 32, 6), jnp.float32)
  expected = jax.eval_shape(lambda x: MODULE.init(KEY, x, train=False), planes)
  variables = init_baenet(KEY, MODULE)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), expected) == jax.tree.map(lambda x: (x.shape, x.dtype), variables)
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    if path[-1].key != "kernel":
      np.testing.assert_array_equal(leaf, {"scale": 1, "bias": 0, "mean": 0, "var": 1}[path[-1].key])
  network = variables["params"]["mobilenet_v2"]
  head, depthwise = network["head_conv"]["kernel"], network["block_16"]["depthwise_conv"]["kernel"]
  np.testing.assert_allclose(jnp.std(head), np.sqrt(2 / (head.shape[0] + head.shape[1])), rtol=0.02)
  np.testing.assert_allclose(jnp.std(depthwise), np.sqrt(2 / (9 * (1 + depthwise.shape[-1]))), rtol=0.05)


def test_classifier_scale_zero_starts_at_equal_shares():
  """Every scene starts with the same time for all frames: the n + 1 shares of what is not promised are equal."""
  module = BAENet(width=0.25, blocks=LIGHT_BLOCKS, classifier_scale=0.0)
  variables = init_baenet(KEY, module)
  logits = jax.jit(lambda x: module.apply(variables, x, train=False))(jax.random.uniform(KEY, (2, 16, 16, 6)))
  np.testing.assert_array_equal(logits, 0)
  assert np.any(variables["params"]["mobilenet_v2"]["head_conv"]["kernel"] != 0)


def test_keys_give_different_networks():
  """Another key, other kernels; the same key, the same."""
  kernel = lambda key: init_baenet(key, MODULE)["params"]["mobilenet_v2"]["stem_conv"]["kernel"]
  np.testing.assert_array_equal(kernel(KEY), kernel(jax.random.key(0)))
  assert np.abs(kernel(KEY) - kernel(jax.random.key(1))).max() > 0.01


def test_training_moves_with_the_dropout_key_and_every_parameter_gets_a_gradient():
  """Dropout draws from its key in training; the exposure times depend on every parameter of the network."""
  module = BAENet(width=0.25, blocks=LIGHT_BLOCKS)
  variables = init_baenet(KEY, module)
  planes = jax.random.uniform(KEY, (4, 16, 16, 6))

  @jax.jit
  @jax.grad
  def gradient(params, key):
    logits, _ = module.apply({**variables, "params": params}, planes, train=True,
                             dropout_keys=jax.random.split(key, planes.shape[0]),
                             mutable=["batch_stats"])
    times = jax.vmap(lambda x: predict_exposure_times(x, TIMING))(logits)
    return jnp.sum(times**2) / TIMING.budget_s**2

  first, second = gradient(variables["params"], KEY), gradient(variables["params"], jax.random.key(1))
  for path, leaf in jax.tree_util.tree_leaves_with_path(first):
    assert np.all(np.isfinite(leaf)) and np.any(np.asarray(leaf) != 0), path
  difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), first, second)
  assert difference["mobilenet_v2"]["classifier"]["kernel"] > 0


def test_another_burst_length_is_refused():
  """A network for n = 4 does not serve n = 6."""
  with pytest.raises(ValueError, match="predicts 4 exposure times, the timing asks for 6"):
    _policy()(KEY, _scene(_observations(), 0), BurstTiming.paper(6))


@pytest.mark.parametrize("shape,message", (
    ((32, 32, 6), "add an axis"), ((2, 4, 32, 6), r"\(4, 32\); use larger crops")))
def test_wrong_planes_are_refused(shape, message):
  """No batch axis, or an image that is too small."""
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda x: MODULE.init(KEY, x, train=False), jax.ShapeDtypeStruct(shape, jnp.float32))


def test_policy_is_a_pytree_whose_weights_can_be_replaced():
  """Only the variables are leaves, so new weights do not recompile what takes the policy as an argument."""
  policy = _policy()
  other = dataclasses.replace(policy, variables=jax.tree.map(jnp.zeros_like, policy.variables))
  assert jax.tree.structure(policy) == jax.tree.structure(other)
  assert len(jax.tree.leaves(policy)) == len(jax.tree.leaves(policy.variables))
  np.testing.assert_allclose(_predict(other, _observations()), (0.75 / 5 + 1 / 16) * TIMING.budget_s, rtol=1e-5)


def test_one_time_is_a_bounded_share_of_an_equal_part_of_the_budget():
  """t = t_u / n (eps + (1 - eps) sigmoid(a - b)) with eps = n t_min / t_u, for every frame, where a and b are the two
  outputs of the layers; from t_min to t_u / n."""
  module = BAENet(width=0.25, blocks=LIGHT_BLOCKS, norm="group", uniform_exposure=True)
  variables = init_baenet(KEY, module)
  planes = jax.vmap(INPUTS)(_observations())
  logits = jax.jit(lambda v: module.apply(v, planes, train=False))(variables)
  times = np.asarray(jax.vmap(lambda x: predict_exposure_times(x, TIMING))(logits))
  assert logits.shape == (3, 5) and np.ptp(times, axis=1).max() < 1e-8 and np.ptp(times[:, 0]) > 1e-5
  layers = MobileNetV2(2, width=0.25, blocks=LIGHT_BLOCKS, norm="group")
  outputs = np.asarray(jax.jit(lambda v: layers.apply(v, planes, train=False))(
      {"params": variables["params"]["mobilenet_v2"]}))
  least = 4 * TIMING.min_exposure_s / TIMING.budget_s
  expected = TIMING.budget_s / 4 * (least + (1 - least) / (1 + np.exp(outputs[:, 1] - outputs[:, 0])))
  np.testing.assert_allclose(times[:, 0], expected, rtol=1e-5)
