"""The losses of the paper, one per kind of training step, through the whole capture chain.

Each is a function `(params, given, batch) -> (loss, (means, per_example))` of the parameters of the networks that move,
of what stays, and of a batch; `mesh.mean_gradient` takes its gradient on all devices. Losses are means of absolute
differences and never clamped, unless asked for.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from debir_jax.config.networks import Models
from debir_jax.evaluation.metrics import psnr
from debir_jax.imaging.bayer import NUM_ORIENTATIONS, reorient
from debir_jax.motion.uncertain import error_of_search, with_error
from debir_jax.pipeline import capture_under, observe_scene, restorer_inputs
from debir_jax.policies import BurstPenalty
from debir_jax.restoration import apply_in_training
from debir_jax.simulator import CaptureConditions, target_of
from debir_jax.types import BurstTiming, Observation, Scene

_MOTION_TAG = 0x30710  # Folded into the burst's key.
_USUAL_LOSS, _LEAST_LOSS = 0.02, 1e-6  # L1 of restored images.

Result = tuple[jax.Array, tuple[dict[str, Any], dict[str, Any]]]


class Batch(NamedTuple):
  """What a step works on; every leaf has a leading batch axis.

  Attributes:
    scenes, conditions: of every example. Frames are aligned by the motion that scenes tell, where they tell one.
    exposure_times: `[B, n]`, s: those of the bursts, or in the warm-up the labels; None where BAENet predicts them.
  """

  scenes: Scene
  conditions: CaptureConditions
  exposure_times: jax.Array | None = None


class Given(NamedTuple):
  """What a step reads beside the parameters that it moves.

  Attributes:
    motion: see `MotionEstimator`.
    restoration_params: phi, where it stays.
    stats: by network, the collections beside "params": statistics of BatchNorm.
    step: of the stage. The warm-up comes back to the very same captures, but not to the same dropout.
  """

  motion: Any
  restoration_params: Any
  stats: dict[str, Any]
  step: jax.Array


def restoration_loss(restored: jax.Array, target: jax.Array, *, clamp: bool = False) -> jax.Array:
  """Mean |restored - target| (Eq. 11 and 13).

  Args:
    restored, target: `[..., h, w, 4]`, white = 1.
    clamp: clamp the restored image to [0, 1] first, as the authors' release does; a pixel outside then has no gradient.
  """
  if restored.shape != target.shape:
    raise ValueError(f"restored {restored.shape} and target {target.shape} must have the same shape.")
  if clamp:
    restored = jnp.clip(restored, 0, 1)
  return jnp.mean(jnp.abs(restored - target))


def counted_alike(losses: jax.Array) -> jax.Array:
  """Losses by which scenes count alike, like PSNR: their logarithm, as its tangent where losses are usual.

  In a mean of plain losses a scene that is dark or stands still counts for little, and so does what its exposure times
  could gain: a decibel is 12 % of a small loss.
  """
  return _USUAL_LOSS * (1 + jnp.log(jnp.maximum(losses, _LEAST_LOSS) / _USUAL_LOSS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
  """The losses of one run.

  Attributes:
    models: both networks.
    timing: of the bursts.
    clamp: see `restoration_loss`.
    noise_draws: bursts that BAENet's times are judged by in `exposure`; they differ in their noise only.
    penalties: what bursts add to the loss of `exposure`.
    motion_error, restorer_motion_error: of the motion that scenes tell, in `exposure` and in `restoration`, relative,
      at the shortest exposure times: see `error_of_search`; 0: frames are aligned exactly.
    exposure_loss: what `exposure` takes the mean of: "l1", or "log_l1", see `counted_alike`.
    reorient_previews: show BAENet in training every preview mirrored or turned in one of 8 ways, which changes nothing
      about the best exposure times. For square scenes.
  """

  models: Models
  timing: BurstTiming
  clamp: bool = False
  noise_draws: int = 1
  penalties: BurstPenalty = BurstPenalty()
  motion_error: float = 0.0
  restorer_motion_error: float = 0.0
  exposure_loss: str = "l1"
  reorient_previews: bool = False

  def __post_init__(self):
    if self.noise_draws < 1:
      raise ValueError(f"config.stage2.noise_draws={self.noise_draws} must be at least 1.")

  def restoration(self, params: dict[str, Any], given: Given, batch: Batch) -> Result:
    """Eq. 11 (times at random) and stage 3 (times from BAENet), for the restoration network."""
    inputs = self._inputs(batch, batch.exposure_times, self.restorer_motion_error)
    restored, stats = apply_in_training(
        self.models.restorer, params["restoration"], given.stats["restoration"], inputs)
    losses, quality, per_example = self._compared(restored[None], batch.scenes)
    means = dict(psnr=quality, stats=dict(restoration=stats))
    return losses.mean(), (means, dict(exposure_times=batch.exposure_times, scenes=per_example))

  def label(self, params: dict[str, Any], given: Given, batch: Batch) -> Result:
    """Eq. 12, for BAENet, whose labels are the batch's exposure times."""
    logits, stats = self._train_logits(params["bae"], given, batch)
    times = self._times(logits)
    losses = jax.vmap(functools.partial(self.models.bae.label_loss, timing=self.timing))(logits, batch.exposure_times)
    # For people: the distance from the label in 1/1920 s.
    error = jnp.abs(times - batch.exposure_times).mean() / self.timing.subframe_interval_s
    per_example = _per_example_stats(batch.scenes, self._targets(batch.scenes), losses)
    return losses.mean(), (dict(label_error=error, stats=dict(bae=stats)),
                           dict(exposure_times=times, scenes=per_example))

  def exposure(self, params: dict[str, Any], given: Given, batch: Batch) -> Result:
    """Eq. 13, for BAENet, through restoration network and simulator.

    With several burst sizes the exposure times of each are judged, and the mean over the sizes is the loss. What each
    size is expected to lose, which the choice rests on, adds its squared error.
    """
    logits, stats = self._train_logits(params["bae"], given, batch)
    times = jax.vmap(functools.partial(self.models.bae.exposure_times_of_sizes, timing=self.timing), out_axes=1)(logits)
    inputs = jax.vmap(lambda times: self._drawn_inputs(batch, times))(times)
    restored = self._restored(given, inputs.reshape(-1, *inputs.shape[2:]))
    losses, quality, per_example = self._compared(restored, batch.scenes)
    losses = losses.reshape(len(times), self.noise_draws, -1).mean(1)
    expectation_losses = jax.vmap(self.models.bae.expectation_loss)(logits, jax.lax.stop_gradient(losses).T)
    judged = counted_alike(losses) if self.exposure_loss == "log_l1" else losses
    loss = (judged + self.penalties(times, self.timing)).mean() + expectation_losses.mean()
    return loss, (dict(psnr=quality, stats=dict(bae=stats)),
                  dict(exposure_times=self._times(logits), scenes=per_example))

  def end_to_end(self, params: dict[str, Any], given: Given, batch: Batch) -> Result:
    """Eq. 13 for both networks at once (Table 5)."""
    logits, stats = self._train_logits(params["bae"], given, batch)
    times = self._times(logits)
    restored, restoration_stats = apply_in_training(
        self.models.restorer, params["restoration"], given.stats["restoration"], self._inputs(batch, times))
    losses, quality, per_example = self._compared(restored[None], batch.scenes)
    means = dict(psnr=quality, stats=dict(bae=stats, restoration=restoration_stats))
    return losses.mean(), (means, dict(exposure_times=times, scenes=per_example))

  def observations(self, motion: Any, batch: Batch) -> Observation:
    """What a policy sees of every example."""
    def observe_one(scene, conditions):
      return observe_scene(conditions.preview_key, scene.radiance, scene.color, conditions.preview_gain,
                           conditions.preview_noise_model, self.timing, motion, black_level=conditions.black_level)

    return jax.vmap(observe_one)(batch.scenes, batch.conditions)

  def bae_inputs(self, motion: Any, batch: Batch) -> jax.Array:
    """What BAENet sees of every example, `[B, h, w, c]`."""
    return jax.vmap(self.models.bae_inputs)(self.observations(motion, batch))

  def _train_logits(self, params, given, batch):
    """Logits `[B, ...]` in training mode, with the new statistics of BatchNorm."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, given.step))(batch.conditions.exposure_key)
    observations = self.observations(given.motion, batch)
    if self.reorient_previews:
      observations = jax.vmap(_reoriented)(keys, observations)
    inputs = jax.vmap(self.models.bae_inputs)(observations)
    dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    logits, updated = self.models.bae.apply({"params": params, **given.stats["bae"]}, inputs, train=True,
                                            dropout_keys=dropout_keys, mutable=["batch_stats"])
    return logits, updated

  def _times(self, logits):
    return jax.vmap(functools.partial(self.models.bae.exposure_times, timing=self.timing))(logits)

  def _inputs(self, batch, exposure_times, motion_error=0.0):
    """What the restorer sees of every example's burst, `[B, n, h, w, c]`."""
    def inputs_of_one(scene, conditions, times):
      motion = scene.motion
      if motion is not None and motion_error:
        error = error_of_search(motion_error, times, self.timing.min_exposure_s)
        motion = with_error(jax.random.fold_in(conditions.burst_key, _MOTION_TAG), motion, error)
      burst = capture_under(conditions, scene.radiance, times, self.timing, motion=motion)
      return restorer_inputs(burst, self.models.restorer_inputs)

    return jax.vmap(inputs_of_one)(batch.scenes, batch.conditions, exposure_times)

  def _drawn_inputs(self, batch, times):
    """`[draws, B, n, h, w, c]`, alike but for their noise."""
    inputs_of = lambda draw: self._inputs(_redrawn(batch, draw), times, self.motion_error)
    return jax.vmap(inputs_of)(jnp.arange(self.noise_draws))

  def _restored(self, given, inputs):
    variables = {"params": given.restoration_params, **given.stats["restoration"]}
    return self.models.restorer.apply(variables, inputs)

  def _compared(self, restored, scenes):
    """Losses of images `[draws, B, ...]`, `[draws, B]`, their mean PSNR, and what is known of every scene."""
    targets = self._targets(scenes)
    of_draws = lambda metric: jax.vmap(jax.vmap(metric), in_axes=(0, None))(restored, targets)
    losses = of_draws(functools.partial(restoration_loss, clamp=self.clamp))
    return losses, of_draws(psnr).mean(), _per_example_stats(scenes, targets, losses.mean(0))

  def _targets(self, scenes):
    """Cut at white, which only `with_saturation` goes beyond."""
    return jax.vmap(lambda radiance: jnp.minimum(target_of(radiance, self.timing), 1))(scenes.radiance)


def _per_example_stats(scenes, targets, losses):
  """What is told of every scene of a batch, arrays `[B]`."""
  each = lambda values: values.reshape(values.shape[0], -1).mean(1)
  return dict(scene_id=scenes.scene_id, loss=losses, mean_intensity=each(targets),
              saturated_fraction=each((targets >= 1).astype(targets.dtype)))


def _reoriented(key, observation):
  """With its previews in an orientation drawn from a key; the magnitude of the motion stays."""
  orientation = jax.random.randint(jax.random.fold_in(key, 3), (), 0, NUM_ORIENTATIONS)
  return dataclasses.replace(observation, previews=reorient(observation.previews, orientation))


def _redrawn(batch, draw):
  """The same batch with another noise draw in its bursts."""
  burst_key = jax.vmap(lambda key: jax.random.fold_in(key, draw))(batch.conditions.burst_key)
  return batch._replace(conditions=dataclasses.replace(batch.conditions, burst_key=burst_key))
