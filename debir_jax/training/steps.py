"""Training steps, compiled: one per loss of `losses.py`, all of them `train_step` and `apply_update`.

The step that moves the restoration network takes the exposure times as an argument, wherever they come from: drawn at
random (stage 1), predicted (stage 3) or fixed (baselines). It is one compiled program for all of them.

A step runs on all devices of a mesh, see `runtime/mesh.py`. A step whose loss or gradient is not finite, or whose
gradient or batch is beyond the `Limits`, leaves the networks and their optimizer states as they were and says so
(`applied`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from debir_jax.config.networks import Models
from debir_jax.config.optimizers import usual_grad_norm
from debir_jax.policies import BurstPenalty, Policy, is_pytree, random_exposure_times
from debir_jax.runtime import mesh as mesh_lib
from debir_jax.scenes.saturation import with_saturation
from debir_jax.simulator import CaptureConditions, CaptureSetup, sample_conditions
from debir_jax.training.guard import Limits
from debir_jax.training.losses import Batch, Given, Losses
from debir_jax.training.state import TrainState
from debir_jax.types import Scene

Outputs = dict[str, Any]
_SATURATION_TAG = 0x5a7


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
  """How steps are computed.

  Attributes:
    mesh: the devices; None: the first one.
    shard_state: cut large arrays of the state into a part for each device, instead of a copy on each.
    num_microbatches: parts of a device's batch that follow one another.
    clamp_loss, noise_draws, penalties, motion_error, restorer_motion_error, exposure_loss, reorient_previews: see
      `Losses`.
    limits: beyond them a step is not applied.
    compiler_options: of XLA, for the programs of the steps.
  """

  mesh: Mesh | None = None
  shard_state: bool = False
  num_microbatches: int = 1
  clamp_loss: bool = False
  noise_draws: int = 1
  penalties: BurstPenalty = BurstPenalty()
  motion_error: float = 0.0
  restorer_motion_error: float = 0.0
  exposure_loss: str = "l1"
  reorient_previews: bool = False
  limits: Limits = Limits()
  compiler_options: dict[str, Any] | None = None


class Steps:
  """The compiled steps of a run.

  Scenes and conditions carry a leading batch axis, cut along the mesh. Every training step returns the new state and a
  dictionary of scalars, with `exposure_times [B, n]` among them and `scenes`, a dictionary of arrays `[B]`: `scene_id`,
  `loss`, `mean_intensity` and `saturated_fraction` (see `Limits`).
  """

  def __init__(self, models: Models, setup: CaptureSetup, optimizers: dict[str, optax.GradientTransformation],
               options: StepOptions = StepOptions()):
    """See `config` for the first three, and `StepOptions`."""
    self._models, self._setup, self._optimizers, self._options = models, setup, optimizers, options
    self._motion = models.motion  # An argument of every program: constants would make them large.
    self._mesh = mesh_lib.make_mesh(1) if options.mesh is None else options.mesh
    self._losses = Losses(models=models, timing=setup.timing, clamp=options.clamp_loss,
                          noise_draws=options.noise_draws, penalties=options.penalties,
                          motion_error=options.motion_error,
                          restorer_motion_error=options.restorer_motion_error,
                          exposure_loss=options.exposure_loss, reorient_previews=options.reorient_previews)
    self.conditions = jax.jit(self._conditions, static_argnums=2, out_shardings=mesh_lib.by_example(self._mesh))
    self.random_exposure_times = jax.jit(self._random_exposure_times)
    self.with_saturation = jax.jit(self._with_saturation, out_shardings=mesh_lib.by_example(self._mesh))
    self._prediction = jax.jit(self._predict)
    self._choice, self._choice_of_function = jax.jit(self._choose), jax.jit(self._choose, static_argnums=0)
    compiled = lambda loss_fn: jax.jit(functools.partial(self._train_step, loss_fn), donate_argnums=0,
                                       compiler_options=options.compiler_options)
    self._restoration_step = compiled(self._losses.restoration)
    self._warmup_step = compiled(self._losses.label)
    self._exposure_step = compiled(self._losses.exposure)
    self._end_to_end_step = compiled(self._losses.end_to_end)

  def restoration(self, state: TrainState, optimizer: str, batch: Batch,
                  learning_rate: jax.Array) -> tuple[TrainState, Outputs]:
    """Eq. 11 (times at random) and stage 3 (times from BAENet): moves the restoration network."""
    return self._stepped(self._restoration_step, state, {"restoration": optimizer}, batch,
                         {"restoration": learning_rate})

  def warmup(self, state: TrainState, batch: Batch, learning_rate: jax.Array) -> tuple[TrainState, Outputs]:
    """Eq. 12: moves BAENet towards pseudo-ground-truth times, those of the batch."""
    return self._stepped(self._warmup_step, state, {"bae": "bae"}, batch, {"bae": learning_rate})

  def exposure(self, state: TrainState, batch: Batch, learning_rate: jax.Array) -> tuple[TrainState, Outputs]:
    """Eq. 13: moves BAENet along the gradient through restoration network and simulator."""
    return self._stepped(self._exposure_step, state, {"bae": "bae"}, batch, {"bae": learning_rate})

  def end_to_end(self, state: TrainState, optimizer: str, batch: Batch, learning_rate: jax.Array,
                 bae_learning_rate: jax.Array) -> tuple[TrainState, Outputs]:
    """Eq. 13 for both networks at once (Table 5); norms and learning rate of BAENet are told as `bae_...`."""
    return self._stepped(self._end_to_end_step, state, {"restoration": optimizer, "bae": "bae"}, batch,
                         {"restoration": learning_rate, "bae": bae_learning_rate})

  def predicted_exposure_times(self, bae_variables: dict[str, Any], scenes: Scene,
                               conditions: CaptureConditions) -> jax.Array:
    """Times `[B, n]` that BAENet predicts; of a burst size drawn at random for each scene, where it knows several."""
    return self._prediction(bae_variables, self._motion, scenes, conditions)

  def chosen_exposure_times(self, policy: Policy, scenes: Scene, conditions: CaptureConditions) -> jax.Array:
    """Times `[B, n]` that a policy chooses: a pytree, or a hashable function."""
    choose = self._choice if is_pytree(policy) else self._choice_of_function
    return choose(policy, self._motion, scenes, conditions)

  def _stepped(self, step_fn, state, optimizer_of, batch, learning_rates):
    """The state after a step of the networks that `optimizer_of` names with their optimizers."""
    moved = {network: state.part(network, optimizer) for network, optimizer in optimizer_of.items()}
    stays = None if "restoration" in moved else state.restoration_params
    stats = dict(restoration=state.restoration_stats, bae=state.bae_stats)
    given = Given(self._motion, stays, {network: stats[network] for network in stats if network not in moved},
                  state.step)
    moved, outputs = step_fn(moved, given, batch, learning_rates)
    for network, optimizer in optimizer_of.items():
      state = state.with_part(network, optimizer, moved[network])
    return state.replace(step=state.step + 1), outputs

  def _train_step(self, loss_fn, moved, given, batch, learning_rates):
    """One descent step of all networks in `moved`, together or not at all."""
    params = {network: part["params"] for network, part in moved.items()}
    given = given._replace(stats=given.stats | {network: part["stats"] for network, part in moved.items()})
    mean_gradient = mesh_lib.mean_gradient(loss_fn, self._mesh, self._options.num_microbatches)
    gradient, means, per_example = mean_gradient(params, given, batch)
    stats = means.pop("stats")
    good = functools.reduce(jnp.logical_and, [
        is_good(gradient[network], moved[network]["opt_state"], means, per_example["scenes"], self._options.limits)
        for network in moved])
    outputs = means | per_example
    for network, part in moved.items():
      updated, norms = apply_update(self._optimizers[network], part, gradient[network], learning_rates[network])
      updated = updated | dict(stats=stats[network])
      kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), updated, part)
      moved = moved | {network: mesh_lib.constrain(kept, self._mesh, self._options.shard_state)}
      prefix = "bae_" if network == "bae" and len(moved) > 1 else ""
      outputs = outputs | {prefix + name: value for name, value in norms.items()}
    return moved, outputs | dict(applied=good.astype(jnp.float32))

  def _conditions(self, key, step, num_examples) -> CaptureConditions:
    """Conditions of a step; an example's key depends on its place in the global batch, not on the device it is on."""
    step_key = jax.random.fold_in(key, step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, step_key))(jnp.arange(num_examples))
    return jax.vmap(sample_conditions, in_axes=(0, None))(keys, self._setup)

  def _with_saturation(self, key, step, scenes):
    """Of a step; an example's key depends on its place in the global batch, as in `_conditions`."""
    step_key = jax.random.fold_in(jax.random.fold_in(key, _SATURATION_TAG), step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, step_key))(jnp.arange(len(scenes.scene_id)))
    return jax.vmap(with_saturation)(keys, scenes)

  def _random_exposure_times(self, conditions):
    return jax.vmap(lambda key: random_exposure_times(key, self._setup.timing, self._models.burst_sizes))(
        conditions.exposure_key)

  def _predict(self, bae_variables, motion, scenes, conditions):
    def predict(shared, batch):
      bae_variables, motion = shared
      logits = self._models.bae.apply(bae_variables, self._losses.bae_inputs(motion, batch), train=False)
      times_of = functools.partial(self._models.bae.exposure_times_of_sizes, timing=self._setup.timing)
      return _one_of_sizes(batch.conditions, jax.vmap(times_of, out_axes=1)(logits))

    return mesh_lib.map_examples(predict, self._mesh)((bae_variables, motion), Batch(scenes, conditions))

  def _choose(self, policy, motion, scenes, conditions):
    def choose(shared, batch):
      given, motion = shared
      chooser = policy if given is None else given
      of_one = lambda key, observation: chooser(key, observation, self._setup.timing)
      return jax.vmap(of_one)(batch.conditions.exposure_key, self._losses.observations(motion, batch))

    shared = (policy if is_pytree(policy) else None, motion)  # A function is no array to share.
    return mesh_lib.map_examples(choose, self._mesh)(shared, Batch(scenes, conditions))


def is_good(gradient: Any, opt_state: Any, means: dict[str, Any], scenes: dict[str, Any], limits: Limits) -> jax.Array:
  """Whether a step along this gradient may be applied: a scalar, bool."""
  grad_norm = optax.global_norm(gradient)
  return (jnp.isfinite(means["loss"]) & jnp.isfinite(grad_norm) & (grad_norm <= limits.max_grad_norm)
          & (grad_norm <= limits.max_grad_norm_ratio * usual_grad_norm(opt_state))
          & (scenes["saturated_fraction"].mean() <= limits.max_saturated_fraction)
          & (scenes["mean_intensity"].mean() >= limits.min_mean_intensity))


def apply_update(optimizer: optax.GradientTransformation, part: dict[str, Any], gradient: Any,
                 learning_rate: jax.Array) -> tuple[dict[str, Any], dict[str, jax.Array]]:
  """Steps the "params" and "opt_state" of a network along its gradient; returns them, and norms for the log."""
  params, opt_state = part["params"], part["opt_state"]
  direction, new_opt_state = optimizer.update(gradient, opt_state, params)
  norms = dict(grad_norm=optax.global_norm(gradient), usual_grad_norm=usual_grad_norm(opt_state),
               param_norm=optax.global_norm(params), update_norm=learning_rate * optax.global_norm(direction),
               learning_rate=learning_rate)
  updates = jax.tree.map(lambda d: -learning_rate * d, direction)
  return dict(params=optax.apply_updates(params, updates), opt_state=new_opt_state), norms


def _one_of_sizes(conditions, times):
  """Of times `[sizes, B, n]` those of one size for each scene, drawn at random: `[B, n]`."""
  if len(times) == 1:
    return times[0]
  draw = lambda key: jax.random.randint(jax.random.fold_in(key, 2), (), 0, len(times))
  return times[jax.vmap(draw)(conditions.exposure_key), jnp.arange(times.shape[1])]
