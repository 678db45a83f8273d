"""The losses against themselves written out, and their exact gradients."""

import dataclasses

import flax.linen as nn
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

from debir_jax.evaluation.metrics import psnr
from debir_jax.policies import BurstPenalty, BurstSizeBAENet, observe
from debir_jax.restoration import RestorerInputs
from debir_jax.simulator import simulate_burst, simulate_previews, target_of
from debir_jax.training.losses import Batch, counted_alike, restoration_loss
from debir_jax.types import SampledMotion

_BATCH = 2


def _scenes():
  return small_scenes(_BATCH)


@jax.jit
def _burst(scene, conditions, draw, times):
  """Frames of one scene, taken without the package's chain."""
  return simulate_burst(jax.random.fold_in(conditions.burst_key, draw), scene.radiance, times, conditions.preview_gain,
                        conditions.noise_model, SETUP.timing)


def _restored(params, raw):
  return jnp.einsum("n,nhwc->hwc", params["kernel"], raw)


def test_losses_are_mean_absolute_differences():
  """By hand; the clamped form of the authors' release ignores what lies outside [0, 1]."""
  restored, target = jnp.full((2, 2, 2, 4), 1.5), jnp.full((2, 2, 2, 4), 0.75)
  np.testing.assert_allclose(restoration_loss(restored, target), 0.75)
  np.testing.assert_allclose(restoration_loss(restored, target, clamp=True), 0.25)
  bae, logits = small_bae(), jnp.array([0.3, 0.1, -0.4, 0.2, 0.0])
  times = bae.exposure_times(logits, SETUP.timing)
  np.testing.assert_allclose(bae.label_loss(logits, times + 4 / 1920, SETUP.timing), 4 / 1920, rtol=1e-5)


def test_losses_of_different_shapes_are_refused():
  """No silent broadcasting."""
  with pytest.raises(ValueError, match="same shape"):
    restoration_loss(jnp.zeros((2, 4, 4, 4)), jnp.zeros((4, 4, 4)))
  with pytest.raises(ValueError, match="same shape"):
    small_bae().label_loss(jnp.zeros(5), jnp.zeros(()), SETUP.timing)


@pytest.mark.parametrize("name, noise_draws", [("warmup", 1), ("exposure", 3)])
def test_the_gradient_to_the_weights_of_baenet_equals_central_differences(name, noise_draws, x64):
  """Eq. 12 and Eq. 13 in float64: through softmax, windows, gains, noise and restorer, along random directions. The
  error of labels is shown in 1/1920 s."""
  del x64
  models = small_models()
  steps, state, scenes = small_steps(models, noise_draws=noise_draws), small_state(models, dtype=jnp.float64), _scenes()
  moved, outputs = take(steps, name, state, scenes)
  gradient = jax.tree.map(lambda before, after: before - after, state.bae_params, moved.bae_params)
  keys = iter(jax.random.split(jax.random.key(7), len(jax.tree.leaves(gradient))))
  direction = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape, p.dtype), state.bae_params)
  slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))

  def loss_at(step_size):
    params = jax.tree.map(lambda p, d: p + step_size * d, state.bae_params, direction)
    return float(take(steps, name, state.replace(bae_params=params), scenes)[1]["loss"])

  h = 1e-6
  np.testing.assert_allclose(slope, (loss_at(h) - loss_at(-h)) / (2 * h), rtol=1e-5)
  assert abs(float(slope)) > 1e-8 * float(outputs["loss"])
  if name == "warmup":  # The labels of `take`.
    np.testing.assert_allclose(outputs["label_error"], jnp.abs(1920 * outputs["exposure_times"] - 24).mean(), rtol=1e-6)


def test_noise_draws_are_bursts_of_one_prediction():
  """Loss, PSNR and the losses of the scenes are means over bursts that are taken one by one, with the same times."""
  models, scenes, timing = small_models(), _scenes(), SETUP.timing
  steps, state = small_steps(models, noise_draws=3), small_state(models)
  _, outputs = take(steps, "exposure", state, scenes)
  conditions = steps.conditions(KEY, state.step, _BATCH)
  losses, qualities = np.zeros((2, 3, _BATCH))
  for draw in range(3):
    for index in range(_BATCH):
      scene, one = jax.tree.map(lambda leaf, i=index: leaf[i], (scenes, conditions))
      restored = _restored(state.restoration_params, _burst(scene, one, draw, outputs["exposure_times"][index]))
      target = target_of(scene.radiance, timing)
      losses[draw, index], qualities[draw, index] = restoration_loss(restored, target), psnr(restored, target)
  np.testing.assert_allclose(outputs["scenes"]["loss"], losses.mean(0), rtol=1e-5)
  np.testing.assert_allclose(outputs["loss"], losses.mean(), rtol=1e-5)
  np.testing.assert_allclose(outputs["psnr"], qualities.mean(), rtol=1e-5)
  assert np.ptp(losses, axis=0).min() > 1e-5 * losses.min()  # The draws differ.


@pytest.mark.parametrize("what", ["dropout", "orientation"])
def test_the_same_capture_is_seen_in_other_ways_in_other_steps(what):
  """The warm-up comes back to the very same captures, but not to the same dropout, nor to previews turned alike."""
  bae = small_bae(dropout_rate=0.5 if what == "dropout" else 0.0)
  models, scenes = small_models(bae), _scenes()
  batch = Batch(scenes, small_steps(models).conditions(KEY, 0, _BATCH), jnp.full((_BATCH, 4), 24 / 1920))

  def losses(**options):
    steps, state = small_steps(models, **options), small_state(models)
    at = lambda step: steps.warmup(copy(state).replace(step=jnp.int32(step)), batch, PLAIN_DESCENT)[1]["scenes"]["loss"]
    return np.array([at(step) for step in (*range(24), 0)])

  seen = losses(reorient_previews=what == "orientation")
  num_ways = [len(np.unique(np.round(of_scene, 9))) for of_scene in seen.T]
  np.testing.assert_array_equal(seen[0], seen[-1])
  assert min(num_ways) > 4 and (what == "dropout" or max(num_ways) <= 8)
  if what == "orientation":
    assert np.ptp(losses(), axis=0).max() == 0


def test_a_clamped_loss_does_not_see_what_is_brighter_than_white():
  """That of the restorer, at exposure times drawn at random, with weights that overshoot."""
  models, scenes = small_models(), _scenes()
  state = small_state(models)
  state = state.replace(restoration_params=jax.tree.map(lambda leaf: 2.5 * leaf, state.restoration_params))
  steps = small_steps(models, clamp_loss=True)
  _, outputs = take(steps, "restoration", state, scenes)
  conditions = steps.conditions(KEY, state.step, _BATCH)
  losses = np.zeros((2, _BATCH))
  for index in range(_BATCH):
    scene, one = jax.tree.map(lambda leaf, i=index: leaf[i], (scenes, conditions))
    raw = simulate_burst(one.burst_key, scene.radiance, outputs["exposure_times"][index], one.preview_gain,
                         one.noise_model, SETUP.timing)
    restored, target = _restored(state.restoration_params, raw), target_of(scene.radiance, SETUP.timing)
    losses[:, index] = jnp.abs(restored - target).mean(), jnp.abs(jnp.minimum(restored, 1) - target).mean()
  np.testing.assert_allclose(outputs["scenes"]["loss"], losses[1], rtol=1e-5)
  assert np.all(losses[0] > 1.01 * losses[1])


def test_a_penalty_of_time_adds_its_own_gradient():
  """Loss and gradient are those without it plus those of the time the burst takes; a negative one is refused."""
  penalty, models, scenes = 0.3, small_models(), _scenes()
  state = small_state(models)
  free, penalized = small_steps(models), small_steps(models, penalties=BurstPenalty(exposure_time=penalty))
  conditions = free.conditions(KEY, state.step, _BATCH)
  (plain, outputs), (slow, slow_outputs) = [take(steps, "exposure", state, scenes) for steps in (free, penalized)]
  gaps_s = 3 * SETUP.timing.frame_gap_s
  total = lambda params: free.predicted_exposure_times({"params": params}, scenes, conditions).sum(-1).mean() + gaps_s
  np.testing.assert_allclose(slow_outputs["loss"] - outputs["loss"], penalty * total(state.bae_params), rtol=1e-3)
  # The penalty's gradient alone, as the rate is 1.
  moved = jax.tree.map(jnp.subtract, plain.bae_params, slow.bae_params)
  small = 1e-2
  nudged = [total(jax.tree.map(lambda p, m, s=sign: p + s * small * m, state.bae_params, moved)) for sign in (1, -1)]
  along = sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(moved))
  np.testing.assert_allclose(penalty * (nudged[0] - nudged[1]) / (2 * small), along, rtol=0.1)
  with pytest.raises(ValueError, match="exposure_time_penalty"):
    BurstPenalty(exposure_time=-1.0)


def test_scenes_count_alike_by_the_logarithm_of_their_loss():
  """The mean of 0.02 (1 + log(L1 / 0.02)), which is L1 itself and as steep where that is 0.02."""
  models, scenes, state = small_models(), _scenes(), small_state(small_models())
  (_, plain), (_, alike) = [take(small_steps(models, exposure_loss=loss), "exposure", state, scenes)
                            for loss in ("l1", "log_l1")]
  np.testing.assert_allclose(alike["scenes"]["loss"], plain["scenes"]["loss"], rtol=1e-6)  # Told as they are.
  np.testing.assert_allclose(alike["loss"], (0.02 * (1 + np.log(plain["scenes"]["loss"] / 0.02))).mean(), rtol=1e-5)
  value, slope = jax.value_and_grad(counted_alike)(0.02)
  assert value == pytest.approx(0.02) and slope == pytest.approx(1)
  assert jax.grad(counted_alike)(0.005) == pytest.approx(4) and np.isfinite(counted_alike(0.0))


def test_burst_sizes_are_judged_one_by_one_and_expectations_by_what_they_lose():
  """Loss and gradient against those written out: mean over sizes of loss plus penalties, plus the expectations' error.
  """
  sizes, timing, scenes = (2, 4), SETUP.timing, _scenes()
  models = small_models(small_bae(BurstSizeBAENet, num_frames=4, burst_sizes=sizes), burst_sizes=sizes)
  state, steps = small_state(models), small_steps(models, penalties=BurstPenalty(exposure_time=0.2, frame=0.003))
  conditions = steps.conditions(KEY, state.step, _BATCH)

  def sizes_and_expectations(params, scene, one):
    previews = simulate_previews(one.preview_key, scene.radiance, one.preview_gain, one.noise_model, timing)
    observation = observe(previews, one.preview_gain, scene.color, models.motion, timing)
    logits = models.bae.apply({"params": params}, models.bae_inputs(observation)[None], train=False)[0]
    return models.bae.exposure_times_of_sizes(logits, timing), models.bae.expected_losses(logits)

  def expected_of_one(params, scene, one):
    times_of_sizes, expected_losses = sizes_and_expectations(params, scene, one)
    losses, total = [], 0.0
    for size, times in zip(sizes, times_of_sizes):
      restored = _restored(state.restoration_params, _burst(scene, one, 0, times))
      seconds = times.sum() + (size - 1) * timing.frame_gap_s
      losses.append(restoration_loss(restored, target_of(scene.radiance, timing)))
      total += (losses[-1] + 0.2 * seconds + 0.003 * size) / len(sizes)
    error = expected_losses - jax.lax.stop_gradient(jnp.stack(losses))
    return total + jnp.var(error) * len(sizes) / 0.02

  expected = lambda params: jax.vmap(expected_of_one, (None, 0, 0))(params, scenes, conditions).mean()
  moved, outputs = take(steps, "exposure", state, scenes)
  value, gradient = jax.jit(jax.value_and_grad(expected))(state.bae_params)
  np.testing.assert_allclose(outputs["loss"], value, rtol=1e-5)
  scale = optax.global_norm(gradient)
  for before, after, wanted in zip(*map(jax.tree.leaves, (state.bae_params, moved.bae_params, gradient)), strict=True):
    np.testing.assert_allclose(before - after, wanted, atol=1e-4 * scale)


def test_no_noise_draw_at_all_is_refused():
  """With the name of the field."""
  with pytest.raises(ValueError, match="noise_draws=0 must be at least 1"):
    small_steps(small_models(), noise_draws=0)


class AlignedMean(nn.Module):
  """The mean of aligned frames."""

  @nn.compact
  def __call__(self, frames):
    return self.param("kernel", lambda key: jnp.ones(())) * frames[..., :4].mean(-4)


def test_motion_is_uncertain_where_that_is_asked_for():
  """By an error of the velocity, where times are judged or where the restorer learns; a scene at rest has none."""
  models = small_models(restorer=AlignedMean(), restorer_inputs=RestorerInputs(aligned=True))
  state = small_state(models)
  steps = dict(exact=small_steps(models), exposure=small_steps(models, motion_error=0.5),
               restoration=small_steps(models, restorer_motion_error=0.5))

  def losses(name, speed_px):
    flow = jnp.arange(40)[None, :, None, None, None] * speed_px * jnp.ones((_BATCH, 1, 8, 8, 2))
    scenes = dataclasses.replace(_scenes(), motion=SampledMotion(flow_px=flow, interval_s=8 / 1920))
    return {asked: float(take(of_asked, name, state, scenes)[1]["loss"]) for asked, of_asked in steps.items()}

  for name, other in [("exposure", "restoration"), ("restoration", "exposure")]:
    at_rest, moving = losses(name, 0.0), losses(name, 0.05)
    assert at_rest["exact"] == at_rest[name] == at_rest[other]
    assert moving["exact"] == moving[other] != moving[name]
