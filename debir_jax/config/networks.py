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
from debir_jax.motion import FlowEstimator, LucasKanade, Raft
from debir_jax.policies import (
  BLOCKS,
  LIGHT_BLOCKS,
  ActiveSL,
  BAENet,
  BAENetPolicy,
  BurstSizeBAENet,
  DigitalGimbal,
  network_planes,
  num_planes,
  pair_set,
)
from debir_jax.restoration import Burstormer, BurstPlanes, Restorer
from debir_jax.runtime.mesh import AXIS
from debir_jax.runtime.progress import log
from debir_jax.weights.weight_file import RAFT_FILE, load_weights

_BAE_BLOCKS = dict(mobilenet_v2=BLOCKS, light=LIGHT_BLOCKS)
_FLOW_ESTIMATORS = dict(lucas_kanade=LucasKanade(), raft_small=Raft("small"), raft_large=Raft("large"))


@dataclasses.dataclass(frozen=True)
class Models:
  """Both networks and how motion is measured.

  Attributes:
    restorer: maps frames `[..., n, h, w, c]` of `burst_planes` to `[..., h, w, 4]`.
    burst_planes: what the restorer sees of a burst.
    bae: maps planes `[B, h, w, num_planes]` to logits `[B, n + 1]`.
    planes: maps an `Observation` to the planes that `bae` sees.
    num_planes: channels of the planes.
    slack_floor: form of the bounded softmax.
    flow_estimator, flow_variables: optical flow between previews and its weights.
    full_scale_px_per_s: speed at which the motion magnitude reaches 1, in px of the half-size preview.
    burst_sizes: how many frames bursts may have, if not always all.
  """

  restorer: Restorer
  burst_planes: BurstPlanes
  bae: nn.Module
  planes: Any
  num_planes: int
  slack_floor: bool
  flow_estimator: FlowEstimator
  flow_variables: Any
  full_scale_px_per_s: float
  burst_sizes: tuple[int, ...] = ()


def models_of(config: ml_collections.ConfigDict) -> Models:
  """Networks of `config.restorer`, `config.bae` and `config.motion`."""
  flow_estimator, flow_variables = flow_of(config)
  planes = functools.partial(network_planes, min_preview_gain=config.capture.min_preview_gain, **_inputs_of(config))
  return Models(
      restorer=restorer_of(config),
      burst_planes=BurstPlanes(**config.restorer_inputs, frame_mask=bool(burst_sizes_of(config))),
      bae=bae_of(config), planes=planes, num_planes=num_planes_of(config), slack_floor=config.bae.slack_floor,
      flow_estimator=flow_estimator, flow_variables=flow_variables,
      full_scale_px_per_s=config.motion.full_scale_px_per_s, burst_sizes=burst_sizes_of(config))


def bae_policy_of(config: ml_collections.ConfigDict, models: Models, params: Any, stats: Any) -> BAENetPolicy:
  """A trained BAENet as a policy."""
  variables = {"params": params, "batch_stats": stats} if stats else {"params": params}
  return BAENetPolicy(module=models.bae, variables=variables, min_preview_gain=config.capture.min_preview_gain,
                      slack_floor=config.bae.slack_floor, **_inputs_of(config))


def bae_of(config: ml_collections.ConfigDict) -> BAENet | DigitalGimbal:
  """What predicts exposure times, of `config.bae`: BAENet, or another network in its place."""
  section, num_frames = config.bae, config.capture.num_frames
  options = dict(
      num_frames=num_frames, width=section.width, norm=section.norm, dropout_rate=section.dropout_rate,
      blocks=chosen(_BAE_BLOCKS, section.blocks, "bae.blocks"), classifier_scale=section.classifier_scale,
      axis_name=AXIS)
  networks = dict(baenet=functools.partial(BAENet, **options),
                  one_time=functools.partial(BAENet, one_time=True, **options),
                  digital_gimbal=functools.partial(DigitalGimbal, num_frames=num_frames),
                  burst_size=lambda: BurstSizeBAENet(
                      burst_sizes=_required_sizes(config), time_cost=config.stage2.time_cost,
                      frame_cost=config.stage2.frame_cost, **options),
                  active_sl=lambda: ActiveSL(num_pairs=len(pair_set(timing_of(config)).names), **options))
  return chosen(networks, section.network, "bae.network")()


def num_planes_of(config: ml_collections.ConfigDict) -> int:
  """Channels of what BAENet sees."""
  found = num_planes(**_inputs_of(config))
  if not found:
    raise ValueError("BAENet has no input: switch on config.bae.use_preview, use_gain or use_motion.")
  return found


def flow_of(config: ml_collections.ConfigDict) -> tuple[FlowEstimator, Any]:
  """Estimator of `config.motion` and its weights; Lucas–Kanade in place of a RAFT without weights, and says so."""
  estimator, weights = chosen(_FLOW_ESTIMATORS, config.motion.estimator, "motion.estimator"), config.motion.weights
  variables = {}
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
  return estimator, variables


def restorer_of(config: ml_collections.ConfigDict) -> Restorer:
  """Restoration network of `config.restorer`, computed as `config.compute` says."""
  return Burstormer(**config.restorer, **config.compute)


def _raft_file_beside(init_from: str) -> str:
  """RAFT's file in a folder of converted weights that a run starts from; "" where there is none."""
  path = pathlib.Path(init_from).expanduser() / RAFT_FILE
  return str(path) if init_from and path.is_file() else ""


def _raft_variables(estimator: Raft, weights: str) -> dict[str, Any]:
  """Variables from a file, which must be for this size of RAFT."""
  variables, description = load_weights(pathlib.Path(weights).expanduser())
  wanted, found = dict(name="raft", size=estimator.size), description.get("network")
  if found != wanted:
    raise ValueError(f"config.motion.weights={weights!r} is not for config.motion.estimator={estimator.name!r}: it "
                     f"holds weights of {found}, not of {wanted}.")
  return variables


def _required_sizes(config):
  if not config.capture.burst_sizes:
    raise ValueError("config.bae.network='burst_size' chooses among config.capture.burst_sizes, which is empty. Set "
                     "it, e.g. to (2, 4, 6, 8), with config.capture.num_frames=8.")
  return burst_sizes_of(config)


def _inputs_of(config):
  return {name: config.bae[name] for name in ("preview", "use_preview", "use_gain", "use_motion")}
