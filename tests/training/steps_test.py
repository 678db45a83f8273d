"""Every step moves what its stage says and nothing else, and a bad one moves nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_steps import (
  KEY,
  PLAIN_DESCENT,
  SETUP,
  copy,
  small_bae,
  small_models,
  small_scenes,
  small_state,
  small_steps,
  take,
)

from debir_jax.config.optimizers import adamw_direction
from debir_jax.motion import MotionEstimator
from debir_jax.policies import AverageAE, BAENetPolicy, BurstSizeBAENet
from debir_jax.simulator import simulate_previews
from debir_jax.training.guard import Limits
from debir_jax.training.losses import Batch

_BATCH = 2


@pytest.fixture(scope="module")
def steps():
  """Compiled once for all tests."""
  return small_steps(small_models())


def _scenes():
  return small_scenes(_BATCH)


def _state():
  return small_state(small_models())


def _differs(a, b):
  return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("name, moved", [("restoration", "restoration_params"), ("warmup", "bae_params"),
                                         ("exposure", "bae_params")])
def test_a_step_moves_its_own_network_only(steps, name, moved):
  """Stage 1 and 3 move the restorer, stage 2 moves BAENet; the other one stays bit for bit."""
  state, outputs = take(steps, name, _state(), _scenes())
  fixed = ({"restoration_params", "bae_params"} - {moved}).pop()
  assert _differs(getattr(state, moved), getattr(_state(), moved))
  assert not _differs(getattr(state, fixed), getattr(_state(), fixed))
  assert int(state.step) == 1 and np.isfinite(outputs["loss"]) and outputs["exposure_times"].shape == (_BATCH, 4)


def test_end_to_end_steps_both_networks_along_their_own_gradients(steps):
  """What each moves is what it moves alone, the restorer for the times that BAENet predicts."""
  state, scenes = _state(), _scenes()
  conditions = steps.conditions(KEY, state.step, _BATCH)
  both, outputs = take(steps, "end_to_end", state, scenes)
  exposure, exposure_outputs = take(steps, "exposure", state, scenes)
  times = steps.predicted_exposure_times(state.bae_variables, scenes, conditions)
  restoration, _ = steps.restoration(copy(state), "finetune", Batch(scenes, conditions, times), PLAIN_DESCENT)
  length = lambda a, b: float(optax.global_norm(jax.tree.map(jnp.subtract, a, b)))
  for part, alone in (("bae_params", exposure), ("restoration_params", restoration)):
    before, ours, expected = [getattr(of, part) for of in (state, both, alone)]
    # Programs round differently; a few of 512 pixels then fall to the other side of a step of quantisation or L1's
    # kink.
    assert length(ours, expected) < 3e-2 * length(expected, before)
  np.testing.assert_allclose(outputs["bae_grad_norm"], exposure_outputs["grad_norm"], rtol=3e-2)
  assert _differs(both.restoration_params, state.restoration_params) and int(both.step) == 1


def test_end_to_end_applies_nothing_where_one_gradient_is_no_number(steps):
  """Neither network moves."""
  state = _state().replace(restoration_params={"kernel": jnp.array([0.4, 0.3, jnp.inf, 0.1])})
  after, outputs = take(steps, "end_to_end", state, _scenes())
  assert not outputs["applied"]
  assert not _differs((after.restoration_params, after.bae_params), (state.restoration_params, state.bae_params))


def test_the_same_step_gives_the_same_numbers_and_another_step_other_noise(steps):
  """Everything random follows from key and step."""
  scenes = _scenes()
  first, _ = take(steps, "exposure", _state(), scenes)
  again, _ = take(steps, "exposure", _state(), scenes)
  later, _ = take(steps, "exposure", _state().replace(step=jnp.int32(1)), scenes)
  assert not _differs(first.bae_params, again.bae_params)
  assert _differs(first.bae_params, later.bae_params)


def test_an_example_draws_the_same_in_any_batch(steps):
  """Conditions follow the place in the global batch, so 1 and 8 devices draw the same."""
  small, large = steps.conditions(KEY, 5, 2), steps.conditions(KEY, 5, 4)
  np.testing.assert_array_equal(small.preview_gain, large.preview_gain[:2])


def test_policies_choose_by_what_they_see_in_training(steps):
  """A function and a pytree, on the previews of the very captures; a BAENet chooses as it predicts."""
  scenes, state = _scenes(), _state()
  conditions = steps.conditions(KEY, 0, _BATCH)
  times = steps.chosen_exposure_times(AverageAE(reference_gain=24.0, target=0.4), scenes, conditions)
  see = jax.jit(lambda one, radiance: simulate_previews(one.preview_key, radiance, one.preview_gain, one.noise_model,
                                                        SETUP.timing))
  for index in range(_BATCH):
    one = jax.tree.map(lambda leaf, i=index: leaf[i], conditions)
    preview = see(one, scenes.radiance[index])[1]
    expected = 16 / 1920 * 0.4 / (preview.mean() * 24.0 / one.preview_gain)
    np.testing.assert_allclose(times[index], expected, rtol=1e-4)
  models = small_models()
  bae = BAENetPolicy(module=models.bae, variables=state.bae_variables, inputs=models.bae_inputs)
  np.testing.assert_allclose(steps.chosen_exposure_times(bae, scenes, conditions),
                             steps.predicted_exposure_times(state.bae_variables, scenes, conditions), rtol=1e-4)


def test_a_gradient_far_above_its_usual_size_is_not_applied():
  """Networks, optimizer state and history stay as they were; the step still counts."""
  optimizer = adamw_direction(clip_norm=None, weight_decay=0.0)
  steps = small_steps(small_models(), optimizer, limits=Limits(max_grad_norm_ratio=100.0))
  for usual_norm, applied in ((1e-9, False), (1.0, True)):
    state = _state()
    history, *others = optimizer.init(state.restoration_params)
    history = history._replace(grad_norm_history=dict(count=jnp.int32(20_000), mean=jnp.float32(usual_norm)))
    state = state.replace(optimizer_states=dict(finetune=(history, *others)))
    moved, outputs = take(steps, "restoration", state, _scenes())
    assert bool(outputs["applied"]) == applied and int(moved.step) == 1
    np.testing.assert_allclose(outputs["usual_grad_norm"], usual_norm, rtol=1e-4)
    assert _differs(moved.restoration_params, state.restoration_params) == applied
    assert _differs(moved.optimizer_states, state.optimizer_states) == applied


def test_with_several_burst_sizes_the_restorer_sees_all_of_them():
  """At random in stage 1, and of BAENet's own times in stage 3."""
  sizes = (2, 4)
  models = small_models(small_bae(BurstSizeBAENet, num_frames=4, burst_sizes=sizes), burst_sizes=sizes)
  steps, bae_variables, scenes = small_steps(models), small_state(models).bae_variables, _scenes()
  drawn, predicted = [], []
  for step in range(8):
    conditions = steps.conditions(KEY, jnp.int32(step), _BATCH)
    drawn.append(np.count_nonzero(steps.random_exposure_times(conditions), axis=1))
    predicted.append(np.count_nonzero(steps.predicted_exposure_times(bae_variables, scenes, conditions), axis=1))
  assert set(np.ravel(drawn)) == set(np.ravel(predicted)) == set(sizes)


class _LearntFlow:
  """A flow estimator with weights: their mean, everywhere."""

  name, preview_rendering = "learnt", "binned"

  def apply(self, variables, image1, image2):
    del image2
    return jnp.broadcast_to(variables["kernel"].mean(), (*image1.shape[:2], 2))


@pytest.mark.parametrize("name", ("predict", "warmup", "exposure"))
def test_weights_of_the_flow_estimator_are_an_argument_of_the_program(name):
  """As constants they would be copied into every program and slow its compilation down."""
  motion = MotionEstimator(estimator=_LearntFlow(), variables={"kernel": jnp.ones((3, 1234))})
  steps, state, scenes = small_steps(dataclasses.replace(small_models(), motion=motion)), _state(), _scenes()
  predict = lambda state: steps.predicted_exposure_times(
      state.bae_variables, scenes, steps.conditions(KEY, 0, _BATCH))
  traced = jax.make_jaxpr(predict if name == "predict" else lambda state: take(steps, name, state, scenes))(state)
  programs = [equation.params["jaxpr"] for equation in traced.eqns if "jaxpr" in equation.params]
  shapes_in = [variable.aval.shape for program in programs for variable in program.jaxpr.invars]
  assert (3, 1234) in shapes_in
  assert (3, 1234) not in [np.shape(constant) for program in programs for constant in program.consts]
