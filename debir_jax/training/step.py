"""One training step per kind of stage, compiled; pure functions of state, scenes and shots.

The step that moves the restoration network takes the exposure times as an argument, wherever they come from: drawn at
random (stage 1), predicted (stage 3) or fixed (baselines). It is one compiled program for all of them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from debir_jax.evaluation.metrics import psnr
from debir_jax.policies import observe, predict_exposure_times, random_exposure_times
from debir_jax.simulator import CaptureSetup, Shot, draw_shot, gains_for, simulate_burst, simulate_previews, target_of
from debir_jax.training.build import Models
from debir_jax.training.losses import restoration_loss, warmup_loss
from debir_jax.training.optimizer import CosineDecay, apply_direction
from debir_jax.training.state import TrainState
from debir_jax.types import Observation, Scene

Outputs = dict[str, jax.Array]


class Steps:
  """The compiled steps of a run.

  Scenes and shots carry a leading batch axis. Every step returns the new state and a dictionary of scalars, with
  `exposure_times [B, n]` among them.
  """

  def __init__(self, models: Models, setup: CaptureSetup, optimizers: dict[str, optax.GradientTransformation], *,
               clamp_loss: bool = False):
    self._models, self._setup, self._optimizers = models, setup, optimizers
    self._flow_variables = models.flow_variables  # An argument of every program: constants would make them large.
    self._loss = functools.partial(restoration_loss, clamp=clamp_loss)
    self.shots = jax.jit(self._shots, static_argnums=2)
    self.random_exposure_times = jax.jit(self._random_exposure_times)
    self._prediction = jax.jit(self._predict)
    self._restoration_step = jax.jit(self._move_restoration, donate_argnums=(0, 1))
    self._warmup_step = jax.jit(self._move_bae_to_labels, donate_argnums=0)
    self._exposure_step = jax.jit(self._move_bae, donate_argnums=0)

  def restoration(self, state: TrainState, optimizer: str, scenes: Scene, shots: Shot, exposure_times: jax.Array,
                  decay: CosineDecay) -> tuple[TrainState, Outputs]:
    """Eq. 11 (times at random) and stage 3 (times from BAENet): moves the restoration network."""
    params, moments, outputs = self._restoration_step(
        state.restoration_params, state.optimizer_states[optimizer], state.step, scenes, shots, exposure_times, decay)
    states = {**state.optimizer_states, optimizer: moments}
    return state.replace(step=state.step + 1, restoration_params=params, optimizer_states=states), outputs

  def warmup(self, state: TrainState, scenes: Scene, shots: Shot, labels: jax.Array,
             decay: CosineDecay) -> tuple[TrainState, Outputs]:
    """Eq. 12: moves BAENet towards pseudo-ground-truth times `[B, n]`."""
    moved, outputs = self._warmup_step(
        _bae_part(state), self._flow_variables, state.step, scenes, shots, labels, decay)
    return _with_bae_part(state, moved), outputs

  def exposure(self, state: TrainState, scenes: Scene, shots: Shot, decay: CosineDecay) -> tuple[TrainState, Outputs]:
    """Eq. 13: moves BAENet along the gradient through restoration network and simulator."""
    moved, outputs = self._exposure_step(
        _bae_part(state), self._flow_variables, state.restoration_params, state.step, scenes, shots, decay)
    return _with_bae_part(state, moved), outputs

  def predicted_exposure_times(self, bae_params: Any, bae_stats: Any, scenes: Scene, shots: Shot) -> jax.Array:
    """Times `[B, n]` that BAENet chooses."""
    return self._prediction(bae_params, bae_stats, self._flow_variables, scenes, shots)

  def _shots(self, key, step, num_examples) -> Shot:
    """Conditions of a step; an example's key depends on its place in the global batch, not on the device it is on."""
    step_key = jax.random.fold_in(key, step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, step_key))(jnp.arange(num_examples))
    return jax.vmap(draw_shot, in_axes=(0, None))(keys, self._setup)

  def _random_exposure_times(self, shots):
    return jax.vmap(lambda key: random_exposure_times(key, self._setup.timing))(shots.exposure_key)

  def _predict(self, bae_params, bae_stats, flow_variables, scenes, shots):
    planes = self._planes(self._observe(flow_variables, scenes, shots))
    logits = self._models.bae.apply(_variables(bae_params, bae_stats), planes, train=False)
    return self._times(logits)

  def _observe(self, flow_variables: Any, scenes: Scene, shots: Shot) -> Observation:
    timing, models = self._setup.timing, self._models

    def observe_one(radiance, colour, shot):
      previews = simulate_previews(shot.preview_key, radiance, shot.preview_gain, shot.noise_model, timing)
      return observe(previews, shot.preview_gain, colour, models.flow_estimator, timing,
                     flow_variables=flow_variables, full_scale_px_per_s=models.full_scale_px_per_s)

    return jax.vmap(observe_one)(scenes.radiance, scenes.colour, shots)

  def _planes(self, observations):
    return jax.vmap(self._models.planes)(observations)

  def _times(self, logits):
    times = functools.partial(predict_exposure_times, timing=self._setup.timing,
                              slack_floor=self._models.slack_floor)
    return jax.vmap(times)(logits)

  def _bursts(self, scenes, shots, exposure_times):
    def take(radiance, shot, times):
      timing = self._setup.timing
      raw = simulate_burst(shot.burst_key, radiance, times, shot.preview_gain, shot.noise_model, timing)
      return self._models.burst_planes(raw, times, gains_for(times, shot.preview_gain, timing), shot.noise_model)

    return jax.vmap(take)(scenes.radiance, shots, exposure_times)

  def _restore_and_compare(self, restoration_params, raw, scenes):
    restored = self._models.restorer.apply({"params": restoration_params}, raw)
    targets = jax.vmap(lambda radiance: target_of(radiance, self._setup.timing))(scenes.radiance)
    return self._loss(restored, targets), jax.vmap(psnr)(restored, targets).mean()

  def _move_restoration(self, params, moments, step, scenes, shots, exposure_times, decay):
    raw = self._bursts(scenes, shots, exposure_times)
    loss_fn = lambda params: self._restore_and_compare(params, raw, scenes)
    (loss, quality), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
    params, moments, outputs = _descend(self._optimizers["restoration"], params, moments, gradient, step, decay)
    return params, moments, outputs | dict(loss=loss, psnr=quality, exposure_times=exposure_times)

  def _move_bae_to_labels(self, bae, flow_variables, step, scenes, shots, labels, decay):
    planes = self._planes(self._observe(flow_variables, scenes, shots))

    def loss_fn(params):
      times, stats = self._train_times(params, bae["stats"], planes, shots)
      return warmup_loss(times, labels), (times, stats)

    # For people: the distance from the label in 1/1920 s.
    outputs_of = lambda times: dict(
        exposure_times=times, label_error=jnp.abs(times - labels).mean() / self._setup.timing.subframe_interval_s)
    return self._descend_bae(loss_fn, bae, step, decay, outputs_of)

  def _move_bae(self, bae, flow_variables, restoration_params, step, scenes, shots, decay):
    planes = self._planes(self._observe(flow_variables, scenes, shots))

    def loss_fn(params):
      times, stats = self._train_times(params, bae["stats"], planes, shots)
      loss, quality = self._restore_and_compare(restoration_params, self._bursts(scenes, shots, times), scenes)
      return loss, ((times, quality), stats)

    return self._descend_bae(loss_fn, bae, step, decay, lambda aux: dict(exposure_times=aux[0], psnr=aux[1]))

  def _train_times(self, params, stats, planes, shots):
    """Times of a batch in training mode, with the new statistics of BatchNorm."""
    rngs = {"dropout": jax.random.fold_in(shots.exposure_key[0], 1)}
    logits, updated = self._models.bae.apply(
        _variables(params, stats), planes, train=True, rngs=rngs, mutable=["batch_stats"])
    return self._times(logits), updated.get("batch_stats", {})

  def _descend_bae(self, loss_fn, bae, step, decay, outputs_of):
    (loss, (aux, stats)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(bae["params"])
    params, moments, outputs = _descend(self._optimizers["bae"], bae["params"], bae["moments"], gradient, step, decay)
    return dict(params=params, moments=moments, stats=stats), outputs | dict(loss=loss) | outputs_of(aux)


def _descend(optimizer, params, moments, gradient, step, decay):
  direction, moments = optimizer.update(gradient, moments, params)
  learning_rate = decay.learning_rate(step)
  moved = apply_direction(params, direction, learning_rate)
  norms = dict(grad_norm=optax.global_norm(gradient), param_norm=optax.global_norm(params),
               update_norm=learning_rate * optax.global_norm(direction), learning_rate=learning_rate)
  return moved, moments, norms


def _variables(params, stats) -> dict[str, Any]:
  return {"params": params, "batch_stats": stats} if stats else {"params": params}


def _bae_part(state):
  return dict(params=state.bae_params, stats=state.bae_stats, moments=state.optimizer_states["bae"])


def _with_bae_part(state, moved):
  states = {**state.optimizer_states, "bae": moved["moments"]}
  return state.replace(step=state.step + 1, bae_params=moved["params"], bae_stats=moved["stats"],
                       optimizer_states=states)
