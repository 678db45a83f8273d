"""The networks: `config.restorer`, `config.restorer_inputs`, `config.bae` and `config.motion`."""

import dataclasses
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from debir_jax.config.capture import burst_sizes_of, timing_of
from debir_jax.config.choices import chosen
from debir_jax.motion import LucasKanade, MotionEstimator, Raft
from debir_jax.policies import (
  ActiveSL,
  BaeInputs,
  BAENet,
  BAENetPolicy,
  BurstPenalty,
  BurstSizeBAENet,
  DigitalGimbal,
  pair_set,
)
from debir_jax.restoration import AlignedUNet, Burstormer, Restorer, RestorerInputs
from debir_jax.runtime.mesh import AXIS
from debir_jax.runtime.progress import log
from debir_jax.weights.descriptions import BAE_BLOCKS, FLOW_ESTIMATORS
from debir_jax.weights.weight_file import RAFT_FILE, load_weights


@dataclasses.dataclass(frozen=True)
class Models:
  """Both networks, what they see, and how motion is measured.

  Attributes:
    restorer: maps frames `[..., n, h, w, c]` of `restorer_inputs` to `[..., h, w, 4]`.
    restorer_inputs: what it sees of a burst.
    bae: an `ExposurePredictor`: maps planes `[B, h, w, c]` of `bae_inputs` to logits `[B, n + 1]`.
    bae_inputs: what it sees of an observation.
    motion: where the motion magnitude comes from.
    burst_sizes: how many frames bursts may have, if not always all.
  """

  restorer: Restorer
  restorer_inputs: RestorerInputs
  bae: nn.Module
  bae_inputs: BaeInputs
  motion: MotionEstimator
  burst_sizes: tuple[int, ...] = ()


def models_of(config: ml_collections.ConfigDict, *, restorer: Restorer | None = None,
              motion: MotionEstimator | None = None) -> Models:
  """Networks of `config.restorer`, `config.bae` and `config.motion`; a restorer or motion that is given in their place.
  """
  return Models(restorer=restorer_of(config) if restorer is None else restorer,
                restorer_inputs=restorer_inputs_of(config), bae=bae_of(config), bae_inputs=bae_inputs_of(config),
                motion=motion_of(config) if motion is None else motion, burst_sizes=burst_sizes_of(config))


def bae_policy_of(models: Models, variables: dict[str, Any]) -> BAENetPolicy:
  """A trained BAENet as a policy."""
  return BAENetPolicy(module=models.bae, variables=variables, inputs=models.bae_inputs)


def bae_of(config: ml_collections.ConfigDict) -> BAENet | DigitalGimbal:
  """What predicts exposure times, of `config.bae`: BAENet, or another network in its place."""
  section, num_frames = config.bae, config.capture.num_frames
  common = dict(num_frames=num_frames, slack_floor=section.slack_floor)
  options = dict(
      **common, width=section.width, norm=section.norm, dropout_rate=section.dropout_rate,
      blocks=chosen(BAE_BLOCKS, section.blocks, "bae.blocks"), classifier_scale=section.classifier_scale,
      axis_name=AXIS)
  networks = dict(baenet=functools.partial(BAENet, **options),
                  uniform_exposure=functools.partial(BAENet, uniform_exposure=True, **options),
                  digital_gimbal=functools.partial(DigitalGimbal, **common),
                  burst_size=lambda: BurstSizeBAENet(
                      burst_sizes=_required_sizes(config), penalties=penalties_of(config), **options),
                  active_sl=lambda: ActiveSL(num_pairs=len(pair_set(timing_of(config)).names), **options))
  return chosen(networks, section.network, "bae.network")()


def bae_inputs_of(config: ml_collections.ConfigDict) -> BaeInputs:
  """What BAENet sees, of `config.bae`."""
  switches = {name: config.bae[name] for name in ("preview", "use_preview", "use_gain", "use_motion")}
  return BaeInputs(min_preview_gain=config.capture.min_preview_gain, **switches)


def penalties_of(config: ml_collections.ConfigDict) -> BurstPenalty:
  """What bursts add to the loss of stage 2, of `config.stage2`."""
  return BurstPenalty(exposure_time=config.stage2.exposure_time_penalty, frame=config.stage2.frame_penalty)


def motion_of(config: ml_collections.ConfigDict) -> MotionEstimator:
  """Estimator of `config.motion` and its weights; Lucas–Kanade in place of a RAFT without weights, and says so."""
  estimator, weights, variables = named_motion_of(config).estimator, config.motion.weights, {}
  if isinstance(estimator, Raft) and (weights := weights or _raft_file_beside(config.init_from)):
    variables = jax.tree.map(jnp.asarray, _raft_variables(estimator, weights))
  elif isinstance(estimator, Raft):
    log(f"config.motion.weights names no file for {estimator.name}: Lucas-Kanade measures the motion in its place.")
    estimator = LucasKanade()
  elif weights:
    raise ValueError(f"config.motion.weights={weights!r} is of no use to config.motion.estimator={estimator.name!r}; "
                     "choose 'raft_small' or 'raft_large', or name no file.")
  preview = jax.ShapeDtypeStruct((config.data.crop_size // 2,) * 2 + (3,), jnp.float32)
  jax.eval_shape(estimator.apply, variables, preview, preview)  # Refuses crops that are too small for it.
  return MotionEstimator(estimator=estimator, variables=variables,
                         full_scale_px_per_s=config.motion.full_scale_px_per_s)


def named_motion_of(config: ml_collections.ConfigDict) -> MotionEstimator:
  """The estimator that `config.motion` names, without weights: to describe, not to use."""
  return MotionEstimator(estimator=chosen(FLOW_ESTIMATORS, config.motion.estimator, "motion.estimator"),
                         full_scale_px_per_s=config.motion.full_scale_px_per_s)


def restorer_of(config: ml_collections.ConfigDict) -> Restorer:
  """Restoration network of `config.restorer`, computed as `config.compute` says."""
  fields = dict(config.restorer)
  network = fields.pop("network")
  burstormer = lambda: Burstormer(**fields, **config.compute)
  return chosen(dict(burstormer=burstormer, aligned_unet=lambda: _aligned_unet(config)), network, "restorer.network")()


def _aligned_unet(config):
  if not config.restorer_inputs.aligned:
    raise ValueError("config.restorer.network='aligned_unet' restores aligned frames; set "
                     "config.restorer_inputs.aligned=True.")
  if config.compute.remat != "none":
    raise ValueError(f"config.compute.remat={config.compute.remat!r} is of the Burstormer; 'aligned_unet' has only "
                     "'none'.")
  return AlignedUNet(**config.aligned_unet, dtype=config.compute.dtype)


def restorer_inputs_of(config: ml_collections.ConfigDict) -> RestorerInputs:
  """What the restoration network sees, of `config.restorer_inputs`; aligned frames show what was taken."""
  frame_mask = bool(burst_sizes_of(config)) and not config.restorer_inputs.aligned
  return RestorerInputs(**config.restorer_inputs, frame_mask=frame_mask)


def _raft_file_beside(init_from: str) -> str:
  """RAFT's file in a folder of converted weights that a run starts from; "" where there is none."""
  path = pathlib.Path(init_from).expanduser() / RAFT_FILE
  return str(path) if init_from and path.is_file() else ""


def _raft_variables(estimator: Raft, weights: str) -> dict[str, Any]:
  """Variables from a file, which must be for this size of RAFT."""
  variables, description = load_weights(pathlib.Path(weights).expanduser())
  wanted, found = dict(name="raft", size=estimator.size), description.get("architecture")
  if found != wanted:
    raise ValueError(f"config.motion.weights={weights!r} is not for config.motion.estimator={estimator.name!r}: it "
                     f"holds weights of {found}, not of {wanted}.")
  return variables


def _required_sizes(config):
  if not config.capture.burst_sizes:
    raise ValueError("config.bae.network='burst_size' chooses among config.capture.burst_sizes, which is empty. Set "
                     "it, e.g. to (2, 4, 6, 8), with config.capture.num_frames=8.")
  return burst_sizes_of(config)
