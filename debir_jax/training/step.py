"""One training step per kind of stage, compiled; pure functions of state, scenes and shots.

The step that moves the restoration network takes the exposure times as an argument, wherever they come from: drawn at
random (stage 1), predicted (stage 3) or fixed (baselines). It is one compiled program for all of them.

A step runs on all devices of a mesh, see `mesh.py`. A step whose loss or gradient is not finite, or whose gradient or
batch is beyond the `Limits`, leaves the networks and moments as they were and says so (`applied`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from debir_jax.config.networks import Models
from debir_jax.config.optimizers import CosineDecay, apply_direction, usual_grad_norm
from debir_jax.evaluation.metrics import psnr
from debir_jax.policies import (
  ActiveSL,
  BurstSizeBAENet,
  Policy,
  burst_cost,
  is_pytree,
  observe,
  pair_loss,
  random_exposure_times,
)
from debir_jax.runtime import mesh as mesh_lib
from debir_jax.simulator import CaptureSetup, Shot, draw_shot, simulate_previews, target_of
from debir_jax.training.guard import Limits
from debir_jax.training.losses import restoration_loss, warmup_loss
from debir_jax.training.state import TrainState
from debir_jax.types import Observation, Scene

Outputs = dict[str, Any]


class Steps:
  """The compiled steps of a run.

  Scenes and shots carry a leading batch axis, cut along the mesh. Every step returns the new state and a dictionary of
  scalars, with `exposure_times [B, n]` among them and `scenes`, a dictionary of arrays `[B]`: `scene_id`, `loss`,
  `level` and `saturated_share` (see `Limits`).
  """

  def __init__(self, models: Models, setup: CaptureSetup, optimizers: dict[str, optax.GradientTransformation], *,
               mesh: Mesh | None = None, shard_state: bool = False, num_microbatches: int = 1, clamp_loss: bool = False,
               noise_draws: int = 1, time_cost: float = 0.0, frame_cost: float = 0.0, limits: Limits = Limits(),
               compiler_options: dict[str, Any] | None = None):
    """
    Args:
      models, setup, optimizers: see `config`.
      mesh: the devices; None: the first one.
      shard_state: cut large arrays of the state into a part for each device, instead of a copy on each.
      num_microbatches: parts of a device's batch that follow one another.
      clamp_loss: see `restoration_loss`.
      noise_draws: bursts that BAENet's times are judged by in `exposure`; they differ in their noise only.
      time_cost, frame_cost: what a second that the burst takes, gaps included, and a frame add to the loss of
        `exposure`.
      limits: see `Limits`.
      compiler_options: of XLA, for the programs of the steps.
    """
    if noise_draws < 1:
      raise ValueError(f"config.stage2.noise_draws={noise_draws} must be at least 1.")
    for name, cost, unit in (("time_cost", time_cost, "second"), ("frame_cost", frame_cost, "frame")):
      if not 0 <= cost < float("inf"):
        raise ValueError(f"config.stage2.{name}={cost} must be a number that is not negative, loss per {unit}.")
    self._cost = functools.partial(burst_cost, timing=setup.timing, time_cost=time_cost, frame_cost=frame_cost)
    self._models, self._setup, self._optimizers = models, setup, optimizers
    self._mesh = mesh_lib.make_mesh(1) if mesh is None else mesh
    self._shard_state, self._limits, self._noise_draws = shard_state, limits, noise_draws
    self._flow_variables = models.flow_variables  # An argument of every program: constants would make them large.
    self._loss = functools.partial(restoration_loss, clamp=clamp_loss)
    self._mean_gradient = functools.partial(
        mesh_lib.mean_gradient, mesh=self._mesh, num_microbatches=num_microbatches)
    self.shots = jax.jit(self._shots, static_argnums=2, out_shardings=mesh_lib.by_example(self._mesh))
    self.random_exposure_times = jax.jit(self._random_exposure_times)
    self._prediction = jax.jit(self._predict)
    self._choice, self._choice_of_function = jax.jit(self._choose), jax.jit(self._choose, static_argnums=0)
    compiled = functools.partial(jax.jit, compiler_options=compiler_options)
    self._restoration_step = compiled(self._move_restoration, donate_argnums=(0, 1))
    self._warmup_step = compiled(self._move_bae_to_labels, donate_argnums=0)
    self._exposure_step = compiled(self._move_bae, donate_argnums=0)
    self._end_to_end_step = compiled(self._move_both, donate_argnums=(0, 1))

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
    """Eq. 13: moves BAENet along the gradient through restoration network and simulator.

    With several burst sizes the exposure times of each are judged, and the mean over the sizes is what they descend.
    What each size is expected to lose, which the choice rests on, descends its squared error.
    """
    moved, outputs = self._exposure_step(
        _bae_part(state), self._flow_variables, state.restoration_params, state.step, scenes, shots, decay)
    return _with_bae_part(state, moved), outputs

  def end_to_end(self, state: TrainState, optimizer: str, scenes: Scene, shots: Shot, decay: CosineDecay,
                 bae_decay: CosineDecay) -> tuple[TrainState, Outputs]:
    """Eq. 13 for both networks at once (Table 5); norms and learning rate of BAENet are told as `bae_...`."""
    restoration = dict(params=state.restoration_params, moments=state.optimizer_states[optimizer])
    restoration, bae, outputs = self._end_to_end_step(
        restoration, _bae_part(state), self._flow_variables, state.step, scenes, shots, decay, bae_decay)
    state = _with_bae_part(state, bae)
    states = {**state.optimizer_states, optimizer: restoration["moments"]}
    return state.replace(restoration_params=restoration["params"], optimizer_states=states), outputs

  def predicted_exposure_times(self, bae_params: Any, bae_stats: Any, scenes: Scene, shots: Shot) -> jax.Array:
    """Times `[B, n]` that BAENet predicts; of a burst size drawn at random for each scene, where it knows several."""
    return self._prediction(bae_params, bae_stats, self._flow_variables, scenes, shots)

  def chosen_exposure_times(self, policy: Policy, scenes: Scene, shots: Shot) -> jax.Array:
    """Times `[B, n]` that a policy chooses: a pytree, or a hashable function."""
    choose = self._choice if is_pytree(policy) else self._choice_of_function
    return choose(policy, self._flow_variables, scenes, shots)

  def _shots(self, key, step, num_examples) -> Shot:
    """Conditions of a step; an example's key depends on its place in the global batch, not on the device it is on."""
    step_key = jax.random.fold_in(key, step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, step_key))(jnp.arange(num_examples))
    return jax.vmap(draw_shot, in_axes=(0, None))(keys, self._setup)

  def _random_exposure_times(self, shots):
    return jax.vmap(lambda key: random_exposure_times(key, self._setup.timing, self._models.burst_sizes))(
        shots.exposure_key)

  def _predict(self, bae_params, bae_stats, flow_variables, scenes, shots):
    def predict(networks, examples):
      bae_params, bae_stats, flow_variables = networks
      planes = self._planes(self._observe(flow_variables, *examples))
      logits = self._models.bae.apply(_variables(bae_params, bae_stats), planes, train=False)
      return _one_of_sizes(examples[1], self._times_of_sizes(logits))

    return mesh_lib.map_examples(predict, self._mesh)((bae_params, bae_stats, flow_variables), (scenes, shots))

  def _choose(self, policy, flow_variables, scenes, shots):
    def choose(shared, examples):
      given, flow_variables = shared
      chooser = policy if given is None else given
      of_one = lambda key, observation: chooser(key, observation, self._setup.timing)
      return jax.vmap(of_one)(examples[1].exposure_key, self._observe(flow_variables, *examples))

    shared = (policy if is_pytree(policy) else None, flow_variables)  # A function is no array to share.
    return mesh_lib.map_examples(choose, self._mesh)(shared, (scenes, shots))

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
    times_of = functools.partial(self._models.bae.exposure_times, timing=self._setup.timing,
                                 slack_floor=self._models.slack_floor)
    return jax.vmap(times_of)(logits)

  def _times_of_sizes(self, logits):
    """Times `[sizes, B, n]` for every burst size; for the one that there is, where BAENet knows no other."""
    if not isinstance(self._models.bae, BurstSizeBAENet):
      return self._times(logits)[None]
    times_of = functools.partial(self._models.bae.exposure_times_of_sizes, timing=self._setup.timing,
                                 slack_floor=self._models.slack_floor)
    return jax.vmap(times_of, out_axes=1)(logits)

  def _label_losses(self, logits, times, labels):
    """Eq. 12 for each example; cross entropy for a classifier."""
    if isinstance(self._models.bae, ActiveSL):
      return jax.vmap(functools.partial(pair_loss, timing=self._setup.timing))(logits, labels)
    return jax.vmap(warmup_loss)(times, labels)

  def _bursts(self, scenes, shots, exposure_times):
    def take(radiance, shot, times):
      return self._models.burst_planes.take(shot.burst_key, radiance, times, shot, self._setup.timing)

    return jax.vmap(take)(scenes.radiance, shots, exposure_times)

  def _restore_and_compare(self, restoration_params, raw, scenes):
    """Losses of bursts `[draws, B, ...]`, `[draws, B]`, their mean PSNR, and what is known of every scene."""
    restored = self._models.restorer.apply({"params": restoration_params}, raw)
    targets = self._targets(scenes)
    of_draws = lambda metric: jax.vmap(jax.vmap(metric), in_axes=(0, None))(restored, targets)
    losses = of_draws(self._loss)
    return losses, of_draws(psnr).mean(), _known_of(scenes, targets, losses.mean(0))

  def _targets(self, scenes):
    return jax.vmap(lambda radiance: target_of(radiance, self._setup.timing))(scenes.radiance)

  def _move_restoration(self, params, moments, step, scenes, shots, exposure_times, decay):
    def loss_fn(params, shared, examples):
      del shared
      scenes, shots, times = examples
      losses, quality, known = self._restore_and_compare(params, self._bursts(scenes, shots, times)[None], scenes)
      return losses.mean(), (dict(psnr=quality), dict(exposure_times=times, scenes=known))

    gradient, means, per_example = self._mean_gradient(loss_fn)(params, (), (scenes, shots, exposure_times))
    good = self._is_good(gradient, moments, means, per_example)
    (params, moments), norms = self._descend("restoration", (params, moments), gradient, step, decay, good)
    return params, moments, norms | means | per_example

  def _move_bae_to_labels(self, bae, flow_variables, step, scenes, shots, labels, decay):
    def loss_fn(params, shared, examples):
      stats, flow_variables = shared
      scenes, shots, labels = examples
      logits, stats = self._train_logits(params, stats, flow_variables, scenes, shots)
      times = self._times(logits)
      losses = self._label_losses(logits, times, labels)
      # For people: the distance from the label in 1/1920 s.
      error = jnp.abs(times - labels).mean() / self._setup.timing.subframe_interval_s
      known = _known_of(scenes, self._targets(scenes), losses)
      return losses.mean(), (dict(label_error=error, stats=stats), dict(exposure_times=times, scenes=known))

    return self._descend_bae(loss_fn, bae, (bae["stats"], flow_variables), (scenes, shots, labels), step, decay)

  def _move_bae(self, bae, flow_variables, restoration_params, step, scenes, shots, decay):
    def loss_fn(params, shared, examples):
      stats, flow_variables, restoration_params = shared
      scenes, shots = examples
      logits, stats = self._train_logits(params, stats, flow_variables, scenes, shots)
      times = self._times_of_sizes(logits)
      bursts = jax.vmap(lambda times: self._drawn_bursts(scenes, shots, times))(times)
      bursts = bursts.reshape(-1, *bursts.shape[2:])
      losses, quality, known = self._restore_and_compare(restoration_params, bursts, scenes)
      losses = losses.reshape(len(times), self._noise_draws, -1).mean(1)
      loss = (losses + self._cost(times)).mean() + self._loss_of_expectations(logits, losses)
      return loss, (dict(psnr=quality, stats=stats), dict(exposure_times=self._times(logits), scenes=known))

    shared = (bae["stats"], flow_variables, restoration_params)
    return self._descend_bae(loss_fn, bae, shared, (scenes, shots), step, decay)

  def _drawn_bursts(self, scenes, shots, times):
    """`[draws, B, ...]`, alike but for their noise."""
    return jax.vmap(lambda draw: self._bursts(scenes, _redrawn(shots, draw), times))(jnp.arange(self._noise_draws))

  def _loss_of_expectations(self, logits, losses):
    """Error of what burst sizes were expected to lose, against their losses `[sizes, B]`, which it takes as given."""
    if not isinstance(self._models.bae, BurstSizeBAENet):
      return 0.0
    return jax.vmap(self._models.bae.loss_of_expectations)(logits, jax.lax.stop_gradient(losses).T).mean()

  def _train_times(self, *arguments):
    """Times of a batch in training mode, with the new statistics of BatchNorm."""
    logits, stats = self._train_logits(*arguments)
    return self._times(logits), stats

  def _train_logits(self, params, stats, flow_variables, scenes, shots):
    planes = self._planes(self._observe(flow_variables, scenes, shots))
    dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(shots.exposure_key)
    logits, updated = self._models.bae.apply(
        _variables(params, stats), planes, train=True, dropout_keys=dropout_keys, mutable=["batch_stats"])
    return logits, updated.get("batch_stats", {})

  def _move_both(self, restoration, bae, flow_variables, step, scenes, shots, decay, bae_decay):
    def loss_fn(params, shared, examples):
      stats, flow_variables = shared
      scenes, shots = examples
      times, stats = self._train_times(params["bae"], stats, flow_variables, scenes, shots)
      raw = self._bursts(scenes, shots, times)[None]
      losses, quality, known = self._restore_and_compare(params["restoration"], raw, scenes)
      return losses.mean(), (dict(psnr=quality, stats=stats), dict(exposure_times=times, scenes=known))

    params = dict(restoration=restoration["params"], bae=bae["params"])
    gradient, means, per_example = self._mean_gradient(loss_fn)(params, (bae["stats"], flow_variables), (scenes, shots))
    stats = means.pop("stats")
    good = (self._is_good(gradient["restoration"], restoration["moments"], means, per_example)
            & self._is_good(gradient["bae"], bae["moments"], means, per_example))
    (params, moments), norms = self._descend(
        "restoration", (restoration["params"], restoration["moments"]), gradient["restoration"], step, decay, good)
    (bae_params, bae_moments, stats), bae_norms = self._descend(
        "bae", (bae["params"], bae["moments"], bae["stats"]), gradient["bae"], step, bae_decay, good, (stats,))
    bae_norms = {f"bae_{name}": value for name, value in bae_norms.items() if name != "applied"}
    return (dict(params=params, moments=moments), dict(params=bae_params, moments=bae_moments, stats=stats),
            norms | bae_norms | means | per_example)

  def _descend_bae(self, loss_fn, bae, shared, examples, step, decay):
    gradient, means, per_example = self._mean_gradient(loss_fn)(bae["params"], shared, examples)
    stats = means.pop("stats")
    good = self._is_good(gradient, bae["moments"], means, per_example)
    (params, moments, stats), norms = self._descend(
        "bae", (bae["params"], bae["moments"], bae["stats"]), gradient, step, decay, good, (stats,))
    return dict(params=params, moments=moments, stats=stats), norms | means | per_example

  def _is_good(self, gradient, moments, means, per_example):
    """Whether a step may be applied."""
    grad_norm, limits, known = optax.global_norm(gradient), self._limits, per_example["scenes"]
    return (jnp.isfinite(means["loss"]) & jnp.isfinite(grad_norm) & (grad_norm <= limits.max_grad_norm)
            & (grad_norm <= limits.max_grad_norm_ratio * usual_grad_norm(moments))
            & (known["saturated_share"].mean() <= limits.max_saturated_share)
            & (known["level"].mean() >= limits.min_level))

  def _descend(self, optimizer, old, gradient, step, decay, good, also_new=()):
    """Steps `old`, (params, moments, ...), along the gradient if all is good; returns it and norms."""
    params, moments = old[:2]
    direction, new_moments = self._optimizers[optimizer].update(gradient, moments, params)
    learning_rate, grad_norm = decay.learning_rate(step), optax.global_norm(gradient)
    new = (apply_direction(params, direction, learning_rate), new_moments, *also_new)
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), new, old)
    norms = dict(grad_norm=grad_norm, usual_grad_norm=usual_grad_norm(moments), param_norm=optax.global_norm(params),
                 update_norm=learning_rate * optax.global_norm(direction), learning_rate=learning_rate,
                 applied=good.astype(grad_norm.dtype))
    return mesh_lib.constrain(kept, self._mesh, self._shard_state), norms


def _known_of(scenes, targets, losses):
  """What is told of every scene of a batch, arrays `[B]`."""
  each = lambda values: values.reshape(values.shape[0], -1).mean(1)
  return dict(scene_id=scenes.scene_id, loss=losses, level=each(targets),
              saturated_share=each((targets >= 1).astype(targets.dtype)))


def _redrawn(shots, draw):
  """The same shots with another noise draw in their bursts."""
  return dataclasses.replace(shots, burst_key=jax.vmap(lambda key: jax.random.fold_in(key, draw))(shots.burst_key))


def _one_of_sizes(shots, times):
  """Of times `[sizes, B, n]` those of one size for each scene, drawn at random: `[B, n]`."""
  if len(times) == 1:
    return times[0]
  draw = lambda key: jax.random.randint(jax.random.fold_in(key, 2), (), 0, len(times))
  return times[jax.vmap(draw)(shots.exposure_key), jnp.arange(times.shape[1])]


def _variables(params, stats) -> dict[str, Any]:
  return {"params": params, "batch_stats": stats} if stats else {"params": params}


def _bae_part(state):
  return dict(params=state.bae_params, stats=state.bae_stats, moments=state.optimizer_states["bae"])


def _with_bae_part(state, moved):
  states = {**state.optimizer_states, "bae": moved["moments"]}
  return state.replace(step=state.step + 1, bae_params=moved["params"], bae_stats=moved["stats"],
                       optimizer_states=states)
