"""Every step moves what its stage says and nothing else, along the exact gradient."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from debir_jax.config.networks import Models
from debir_jax.config.optimizers import CosineDecay, adamw_direction
from debir_jax.evaluation.metrics import psnr
from debir_jax.motion import LucasKanade
from debir_jax.policies import (
  LIGHT_BLOCKS,
  AverageAE,
  BAENet,
  BAENetPolicy,
  BurstSizeBAENet,
  init_baenet,
  network_planes,
  observe,
)
from debir_jax.restoration import BurstPlanes
from debir_jax.simulator import CaptureSetup, PoissonGaussianNoise, simulate_burst, simulate_previews, target_of
from debir_jax.training.guard import Limits
from debir_jax.training.losses import restoration_loss, warmup_loss
from debir_jax.training.state import TrainState
from debir_jax.training.step import Steps
from debir_jax.types import BurstTiming, CameraColor, Scene

_BATCH = 2
_KEY = jax.random.key(3)
# The rate is 1 and the "optimizer" returns the gradient, so that a step shows the gradient it took.
_PLAIN_DESCENT = CosineDecay(1.0, 1.0, 10)


class _WeightedMean(nn.Module):
  """The smallest restorer: a learned weight for every frame."""

  @nn.compact
  def __call__(self, raw):
    weights = self.param("kernel", lambda key: jnp.array([0.4, 0.3, 0.2, 0.1]))
    return jnp.einsum("n,...nhwc->...hwc", weights, raw)


def _models():
  bae = BAENet(blocks=LIGHT_BLOCKS, width=0.25, dropout_rate=0.0, norm="group", classifier_scale=1.0)
  planes = lambda observation: network_planes(observation, min_preview_gain=16.0)
  return Models(restorer=_WeightedMean(), burst_planes=BurstPlanes(), bae=bae, planes=planes, num_planes=6,
                slack_floor=False, flow_estimator=LucasKanade(), flow_variables={}, full_scale_px_per_s=400.0)


# Little noise, so that no pixel saturates.
_SETUP = CaptureSetup(timing=BurstTiming.paper(), noise_model=PoissonGaussianNoise(1e-5, 1e-9),
                      min_preview_gain=16.0, max_preview_gain=32.0)


def _steps(models, **options):
  return Steps(models, _SETUP, dict.fromkeys(("restoration", "bae", "finetune"), optax.identity()), **options)


@pytest.fixture(scope="module")
def steps():
  """Compiled once for all tests."""
  return _steps(_models())


def _scenes():
  """Smooth random motion of a random texture, packed 8x8."""
  timing = BurstTiming.paper()
  time = jnp.arange(timing.num_subframes(timing.budget_s)) / 40
  phase, speed, amplitude = jax.random.uniform(jax.random.key(1), (3, _BATCH, 1, 8, 8, 4))
  radiance = 0.4 + 0.2 * amplitude * jnp.sin(time[:, None, None, None] * (1 + speed) + 6 * phase)
  colour = CameraColor(white_balance=jnp.ones((_BATCH, 3)), ccm=jnp.broadcast_to(jnp.eye(3), (_BATCH, 3, 3)))
  return Scene(radiance=radiance, colour=colour, scene_id=jnp.arange(_BATCH))


def _state(dtype=jnp.float32):
  models = _models()
  bae = init_baenet(jax.random.key(0), models.bae)["params"]
  restoration = {"kernel": jnp.array([0.4, 0.3, 0.2, 0.1])}
  cast = lambda tree: jax.tree.map(lambda x: x.astype(dtype), tree)
  moments = dict.fromkeys(("restoration", "bae", "finetune"), optax.EmptyState())
  return TrainState(step=jnp.zeros((), jnp.int32), restoration_params=cast(restoration), bae_params=cast(bae),
                    bae_stats={}, optimizer_states=moments)


def _copy(state):
  """Steps give their input away."""
  return jax.tree.map(jnp.copy, state)


def _differs(a, b):
  return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _take(steps, name, state, scenes):
  shots = steps.shots(_KEY, state.step, _BATCH)
  state = _copy(state)
  if name == "restoration":
    return steps.restoration(state, "finetune", scenes, shots, steps.random_exposure_times(shots), _PLAIN_DESCENT)
  if name == "warmup":
    return steps.warmup(state, scenes, shots, jnp.full((_BATCH, 4), 24 / 1920), _PLAIN_DESCENT)
  return steps.exposure(state, scenes, shots, _PLAIN_DESCENT)


@pytest.mark.parametrize("name, moved", [("restoration", "restoration_params"), ("warmup", "bae_params"),
                                         ("exposure", "bae_params")])
def test_a_step_moves_its_own_network_only(steps, name, moved):
  """Stage 1 and 3 move the restorer, stage 2 moves BAENet; the other one stays bit for bit."""
  state, outputs = _take(steps, name, _state(), _scenes())
  fixed = ({"restoration_params", "bae_params"} - {moved}).pop()
  assert _differs(getattr(state, moved), getattr(_state(), moved))
  assert not _differs(getattr(state, fixed), getattr(_state(), fixed))
  assert int(state.step) == 1 and np.isfinite(outputs["loss"]) and outputs["exposure_times"].shape == (_BATCH, 4)


def test_end_to_end_steps_both_networks_along_their_own_gradients(steps):
  """What each moves is what it moves alone, the restorer for the times that BAENet predicts."""
  state, scenes = _state(), _scenes()
  shots = steps.shots(_KEY, state.step, _BATCH)
  both, outputs = steps.end_to_end(_copy(state), "finetune", scenes, shots, _PLAIN_DESCENT, _PLAIN_DESCENT)
  exposure, exposure_outputs = steps.exposure(_copy(state), scenes, shots, _PLAIN_DESCENT)
  times = steps.predicted_exposure_times(state.bae_params, {}, scenes, shots)
  restoration, _ = steps.restoration(_copy(state), "finetune", scenes, shots, times, _PLAIN_DESCENT)
  length = lambda a, b: float(optax.global_norm(jax.tree.map(jnp.subtract, a, b)))
  for part, alone in (("bae_params", exposure), ("restoration_params", restoration)):
    before, ours, expected = [getattr(of, part) for of in (state, both, alone)]
    # Programs round differently; a few of 512 pixels then fall to the other side of a step of quantisation or L1's
    # kink.
    assert length(ours, expected) < 3e-2 * length(expected, before)
  np.testing.assert_allclose(outputs["bae_grad_norm"], exposure_outputs["grad_norm"], rtol=3e-2)
  assert _differs(both.restoration_params, state.restoration_params) and int(both.step) == 1


def test_end_to_end_applies_nothing_where_one_gradient_is_no_number(steps):
  state = _state()
  state = state.replace(restoration_params={"kernel": jnp.array([0.4, 0.3, jnp.inf, 0.1])})
  shots = steps.shots(_KEY, state.step, _BATCH)
  after, outputs = steps.end_to_end(_copy(state), "finetune", _scenes(), shots, _PLAIN_DESCENT, _PLAIN_DESCENT)
  assert not outputs["applied"]
  assert not _differs((after.restoration_params, after.bae_params), (state.restoration_params, state.bae_params))


def test_the_same_step_gives_the_same_numbers_and_another_step_other_noise(steps):
  """Everything random follows from key and step."""
  scenes = _scenes()
  first, _ = _take(steps, "exposure", _state(), scenes)
  again, _ = _take(steps, "exposure", _state(), scenes)
  later, _ = _take(steps, "exposure", _state().replace(step=jnp.int32(1)), scenes)
  assert not _differs(first.bae_params, again.bae_params)
  assert _differs(first.bae_params, later.bae_params)


def test_an_example_draws_the_same_in_any_batch(steps):
  """Shots follow the place in the global batch, so 1 and 8 devices draw the same."""
  small, large = steps.shots(_KEY, 5, 2), steps.shots(_KEY, 5, 4)
  np.testing.assert_array_equal(small.preview_gain, large.preview_gain[:2])


@pytest.mark.parametrize("name, noise_draws", [("warmup", 1), ("exposure", 3)])
def test_the_gradient_to_the_weights_of_baenet_equals_central_differences(name, noise_draws, x64):
  """Eq. 12 and Eq. 13 in float64: through softmax, windows, gains, noise and restorer, along random directions."""
  del x64
  steps = _steps(_models(), noise_draws=noise_draws)
  state, scenes = _state(jnp.float64), jax.tree.map(jnp.asarray, _scenes())
  moved, outputs = _take(steps, name, state, scenes)
  gradient = jax.tree.map(lambda before, after: before - after, state.bae_params, moved.bae_params)
  keys = iter(jax.random.split(jax.random.key(7), len(jax.tree.leaves(gradient))))
  direction = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape, p.dtype), state.bae_params)
  slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))

  def loss_at(step_size):
    params = jax.tree.map(lambda p, d: p + step_size * d, state.bae_params, direction)
    return float(_take(steps, name, state.replace(bae_params=params), scenes)[1]["loss"])

  h = 1e-6
  np.testing.assert_allclose(slope, (loss_at(h) - loss_at(-h)) / (2 * h), rtol=1e-5)
  assert abs(float(slope)) > 1e-8 * float(outputs["loss"])


def test_policies_choose_by_what_they_see_in_training(steps):
  """A function and a pytree, on the previews of the very shots; a BAENet chooses as it predicts."""
  scenes, state = _scenes(), _state()
  shots = steps.shots(_KEY, 0, _BATCH)
  times = steps.chosen_exposure_times(AverageAE(reference_gain=24.0, target=0.4), scenes, shots)
  for index in range(_BATCH):
    shot = jax.tree.map(lambda leaf, i=index: leaf[i], shots)
    preview = simulate_previews(shot.preview_key, scenes.radiance[index], shot.preview_gain, shot.noise_model,
                                _SETUP.timing)[1]
    expected = 16 / 1920 * 0.4 / (preview.mean() * 24.0 / shot.preview_gain)
    np.testing.assert_allclose(times[index], expected, rtol=1e-4)
  bae = BAENetPolicy(module=_models().bae, variables={"params": state.bae_params}, min_preview_gain=16.0)
  np.testing.assert_allclose(steps.chosen_exposure_times(bae, scenes, shots),
                             steps.predicted_exposure_times(state.bae_params, {}, scenes, shots), rtol=1e-4)


@pytest.mark.parametrize("usual_norm, applied", [(1e-9, False), (1.0, True)])
def test_a_gradient_far_above_its_usual_size_is_not_applied(usual_norm, applied):
  """Networks, moments and history stay as they were; the step still counts."""
  optimizer = adamw_direction(clip_norm=None, weight_decay=0.0)
  steps = Steps(_models(), _SETUP, dict.fromkeys(("restoration", "bae", "finetune"), optimizer),
                limits=Limits(max_grad_norm_ratio=100.0))
  state = _state()
  history, *others = optimizer.init(state.restoration_params)
  history = history._replace(grad_norm_history=dict(
      count=jnp.int32(20_000), mean=jnp.float32(usual_norm)))
  state = state.replace(optimizer_states=dict(finetune=(history, *others)))
  moved, outputs = _take(steps, "restoration", state, _scenes())
  assert bool(outputs["applied"]) == applied and int(moved.step) == 1
  np.testing.assert_allclose(outputs["usual_grad_norm"], usual_norm, rtol=1e-4)
  assert _differs(moved.restoration_params, state.restoration_params) == applied
  assert _differs(moved.optimizer_states, state.optimizer_states) == applied


def test_noise_draws_are_bursts_of_one_prediction():
  """Loss, PSNR and the losses of the scenes are means over bursts that are taken one by one, with the same times."""
  steps, state, scenes, timing = _steps(_models(), noise_draws=3), _state(), _scenes(), _SETUP.timing
  _, outputs = _take(steps, "exposure", state, scenes)
  shots = steps.shots(_KEY, state.step, _BATCH)
  losses, qualities = np.zeros((2, 3, _BATCH))
  for draw in range(3):
    for index in range(_BATCH):
      radiance, shot = scenes.radiance[index], jax.tree.map(lambda leaf, i=index: leaf[i], shots)
      raw = simulate_burst(jax.random.fold_in(shot.burst_key, draw), radiance, outputs["exposure_times"][index],
                           shot.preview_gain, shot.noise_model, timing)
      restored, target = jnp.einsum("n,nhwc->hwc", state.restoration_params["kernel"], raw), target_of(radiance, timing)
      losses[draw, index], qualities[draw, index] = restoration_loss(restored, target), psnr(restored, target)
  np.testing.assert_allclose(outputs["scenes"]["loss"], losses.mean(0), rtol=1e-5)
  np.testing.assert_allclose(outputs["loss"], losses.mean(), rtol=1e-5)
  np.testing.assert_allclose(outputs["psnr"], qualities.mean(), rtol=1e-5)
  assert np.ptp(losses, axis=0).min() > 1e-5 * losses.min()  # The draws differ.


def test_a_cost_of_time_adds_its_own_gradient():
  """Loss and gradient are those without it plus those of the time the burst takes; a negative cost is refused."""
  cost, state, scenes = 0.3, _state(), _scenes()
  free, dear = _steps(_models()), _steps(_models(), time_cost=cost)
  shots = free.shots(_KEY, state.step, _BATCH)
  (plain, outputs), (costly, costly_outputs) = [
      steps.exposure(_copy(state), scenes, shots, _PLAIN_DESCENT) for steps in (free, dear)]
  gaps_s = 3 * _SETUP.timing.frame_gap_s
  total = lambda params: free.predicted_exposure_times(params, {}, scenes, shots).sum(-1).mean() + gaps_s
  np.testing.assert_allclose(costly_outputs["loss"] - outputs["loss"], cost * total(state.bae_params), rtol=1e-3)
  # The cost's gradient alone, as the rate is 1.
  moved = jax.tree.map(jnp.subtract, plain.bae_params, costly.bae_params)
  small = 1e-2
  nudged = [total(jax.tree.map(lambda p, m, s=sign: p + s * small * m, state.bae_params, moved)) for sign in (1, -1)]
  along = sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(moved))
  np.testing.assert_allclose(cost * (nudged[0] - nudged[1]) / (2 * small), along, rtol=0.1)
  with pytest.raises(ValueError, match="time_cost"):
    _steps(_models(), time_cost=-1.0)


_SIZES = (2, 4)
_SIZED_COSTS = dict(time_cost=0.2, frame_cost=0.003)


def _sized_models():
  network = BurstSizeBAENet(num_frames=4, burst_sizes=_SIZES, width=0.25, blocks=LIGHT_BLOCKS, dropout_rate=0.0,
                            norm="group")
  return dataclasses.replace(_models(), bae=network, burst_sizes=_SIZES)


def test_burst_sizes_are_judged_one_by_one_and_expectations_by_what_they_lose():
  """Loss and gradient against those written out: mean over sizes of loss plus costs, plus the expectations' error."""
  models, scenes = _sized_models(), _scenes()
  params = init_baenet(jax.random.key(0), models.bae)["params"]
  state = _state().replace(bae_params=params)
  steps = _steps(models, **_SIZED_COSTS)
  shots = steps.shots(_KEY, state.step, _BATCH)

  def sizes_and_expectations(params, index):
    scene, shot = jax.tree.map(lambda leaf: leaf[index], (scenes, shots))
    previews = simulate_previews(shot.preview_key, scene.radiance, shot.preview_gain, shot.noise_model, _SETUP.timing)
    observation = observe(previews, shot.preview_gain, scene.colour, models.flow_estimator, _SETUP.timing,
                          full_scale_px_per_s=models.full_scale_px_per_s)
    logits = models.bae.apply({"params": params}, models.planes(observation)[None], train=False)[0]
    return models.bae.exposure_times_of_sizes(logits, _SETUP.timing), models.bae.expected_losses(logits), scene, shot

  def expected(params):
    total = 0.0
    for index in range(_BATCH):
      times_of_sizes, expected_losses, scene, shot = sizes_and_expectations(params, index)
      losses = []
      for size, times in zip(_SIZES, times_of_sizes):
        raw = simulate_burst(jax.random.fold_in(shot.burst_key, 0), scene.radiance, times, shot.preview_gain,
                             shot.noise_model, _SETUP.timing)
        restored = jnp.einsum("n,nhwc->hwc", state.restoration_params["kernel"], raw)
        seconds = times.sum() + (size - 1) * _SETUP.timing.frame_gap_s
        losses.append(restoration_loss(restored, target_of(scene.radiance, _SETUP.timing)))
        total += (losses[-1] + 0.2 * seconds + 0.003 * size) / len(_SIZES) / _BATCH
      error = expected_losses - jax.lax.stop_gradient(jnp.stack(losses))
      total += jnp.var(error) * len(_SIZES) / 0.02 / _BATCH
    return total

  moved, outputs = steps.exposure(_copy(state), scenes, shots, _PLAIN_DESCENT)
  value, gradient = jax.jit(jax.value_and_grad(expected))(params)
  np.testing.assert_allclose(outputs["loss"], value, rtol=1e-5)
  scale = optax.global_norm(gradient)
  for before, after, wanted in zip(*map(jax.tree.leaves, (params, moved.bae_params, gradient)), strict=True):
    np.testing.assert_allclose(before - after, wanted, atol=1e-4 * scale)


def test_with_several_burst_sizes_the_restorer_sees_all_of_them():
  """At random in stage 1, and of BAENet's own times in stage 3."""
  models, scenes = _sized_models(), _scenes()
  steps, params = _steps(models), init_baenet(jax.random.key(0), models.bae)["params"]
  drawn, predicted = [], []
  for step in range(8):
    shots = steps.shots(_KEY, jnp.int32(step), _BATCH)
    drawn.append(np.count_nonzero(steps.random_exposure_times(shots), axis=1))
    predicted.append(np.count_nonzero(steps.predicted_exposure_times(params, {}, scenes, shots), axis=1))
  assert set(np.ravel(drawn)) == set(np.ravel(predicted)) == set(_SIZES)


def test_no_noise_draw_at_all_is_refused():
  """With the name of the field."""
  with pytest.raises(ValueError, match="noise_draws=0 must be at least 1"):
    _steps(_models(), noise_draws=0)


class _LearntFlow:
  """A flow estimator with weights: their mean, everywhere."""

  name, preview_size = "learnt", "binned"

  def apply(self, variables, image1, image2):
    del image2
    return jnp.broadcast_to(variables["kernel"].mean(), (*image1.shape[:2], 2))


@pytest.mark.parametrize("name", ("predict", "warmup", "exposure"))
def test_weights_of_the_flow_estimator_are_an_argument_of_the_program(name):
  """As constants they would be copied into every program and slow its compilation down."""
  weights = {"kernel": jnp.ones((3, 1234))}
  steps = _steps(dataclasses.replace(_models(), flow_estimator=_LearntFlow(), flow_variables=weights))
  state, scenes = _state(), _scenes()
  predict = lambda state: steps.predicted_exposure_times(
      state.bae_params, state.bae_stats, scenes, steps.shots(_KEY, 0, _BATCH))
  traced = jax.make_jaxpr(predict if name == "predict" else lambda state: _take(steps, name, state, scenes))(state)
  programs = [equation.params["jaxpr"] for equation in traced.eqns if "jaxpr" in equation.params]
  shapes_in = [variable.aval.shape for program in programs for variable in program.jaxpr.invars]
  assert (3, 1234) in shapes_in
  assert (3, 1234) not in [np.shape(constant) for program in programs for constant in program.consts]


def test_losses_are_mean_absolute_differences():
  """By hand; the clamped form of the authors' release ignores what lies outside [0, 1]."""
  restored, target = jnp.full((2, 2, 2, 4), 1.5), jnp.full((2, 2, 2, 4), 0.75)
  np.testing.assert_allclose(restoration_loss(restored, target), 0.75)
  np.testing.assert_allclose(restoration_loss(restored, target, clamp=True), 0.25)
  times = jnp.array([[8.0, 16.0]]) / 1920
  np.testing.assert_allclose(warmup_loss(times, times + 4 / 1920), 4 / 1920, rtol=1e-5)


def test_losses_of_different_shapes_are_refused():
  """No silent broadcasting."""
  with pytest.raises(ValueError, match="same shape"):
    restoration_loss(jnp.zeros((2, 4, 4, 4)), jnp.zeros((4, 4, 4)))
  with pytest.raises(ValueError, match="same shape"):
    warmup_loss(jnp.zeros((2, 4)), jnp.zeros(4))
