"""From a config to the objects it names: timing, capture setup, networks, optimizers, scenes."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import ml_collections

from debir_jax.evaluation.rules import MetricRules
from debir_jax.motion import FlowEstimator, LucasKanade, Raft
from debir_jax.policies import (BLOCKS, LIGHT_BLOCKS, ActiveSL, BAENet, BAENetPolicy, BurstSizeBAENet, CandidateSet,
                                DigitalGimbal, candidate_set, check_burst_sizes, network_planes, num_planes, pair_set)
from debir_jax.restoration import Burstormer, BurstPlanes, Restorer, TiledRestorer
from debir_jax.scenes import FRAMES_PER_CAPTURE, CachedScenes, ClipScenes, DeadLeavesScenes, MixedScenes
from debir_jax.scenes import PhotoMotionScenes, SceneBatches, SceneSource
from debir_jax.scenes import batches, builtin_photos, clip_folder, photo_folder, split_photos
from debir_jax.scenes.camera_path import REFERENCE_CROP_SIZE
from debir_jax.simulator import CaptureSetup, IsoNoise, PaperNoise, PoissonGaussianNoise
from debir_jax.training import mesh as mesh_lib
from debir_jax.training.guard import Limits
from debir_jax.training.logs import say
from debir_jax.training.optimizer import adamw_direction
from debir_jax.types import BurstTiming
from debir_jax.weights import RAFT_FILE, load_weights

_TIMINGS = dict(paper=BurstTiming.paper, release=BurstTiming.release)
_NOISE_MODELS = dict(iso=IsoNoise, paper=PaperNoise, poisson_gaussian=PoissonGaussianNoise)
_BAE_BLOCKS = dict(mobilenet_v2=BLOCKS, light=LIGHT_BLOCKS)
_FLOW_ESTIMATORS = dict(lucas_kanade=LucasKanade(), raft_small=Raft("small"), raft_large=Raft("large"))
_NUM_SPLITS = 3
_MAX_THREADS = 8  # That make scenes: each has one in the device's memory.


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


def timing_of(config: ml_collections.ConfigDict) -> BurstTiming:
  """Timing of `config.capture`."""
  return _chosen(_TIMINGS, config.capture.timing, "capture.timing")(config.capture.num_frames)


def capture_setup_of(config: ml_collections.ConfigDict, *, training: bool) -> CaptureSetup:
  """Conditions of `config.capture`; cameras are jittered in training only."""
  capture = config.capture
  return CaptureSetup(
      timing=timing_of(config), noise_model=_chosen(_NOISE_MODELS, capture.noise, "capture.noise")(),
      min_preview_gain=capture.min_preview_gain, max_preview_gain=capture.max_preview_gain,
      camera_jitter=training and capture.camera_jitter)


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
      blocks=_chosen(_BAE_BLOCKS, section.blocks, "bae.blocks"), classifier_scale=section.classifier_scale,
      axis_name=mesh_lib.AXIS)
  networks = dict(baenet=functools.partial(BAENet, **options),
                  one_time=functools.partial(BAENet, one_time=True, **options),
                  digital_gimbal=functools.partial(DigitalGimbal, num_frames=num_frames),
                  burst_size=lambda: BurstSizeBAENet(
                      burst_sizes=_required_sizes(config), time_cost=config.stage2.time_cost,
                      frame_cost=config.stage2.frame_cost, **options),
                  active_sl=lambda: ActiveSL(num_pairs=len(pair_set(timing_of(config)).names), **options))
  return _chosen(networks, section.network, "bae.network")()


def burst_sizes_of(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Sizes of the bursts that one pair of networks is for; () where all bursts have all frames."""
  sizes = tuple(config.capture.burst_sizes)
  if sizes:
    check_burst_sizes(sizes, config.capture.num_frames)
  return sizes


def candidates_of(config: ml_collections.ConfigDict) -> CandidateSet:
  """Exposure times that the warm-up looks for the best of: the set E, or what Active S-L chooses from."""
  return (pair_set if config.bae.network == "active_sl" else candidate_set)(timing_of(config))


def num_planes_of(config: ml_collections.ConfigDict) -> int:
  """Channels of what BAENet sees."""
  found = num_planes(**_inputs_of(config))
  if not found:
    raise ValueError("BAENet has no input: switch on config.bae.use_preview, use_gain or use_motion.")
  return found


def flow_of(config: ml_collections.ConfigDict) -> tuple[FlowEstimator, Any]:
  """Estimator of `config.motion` and its weights; Lucas–Kanade in place of a RAFT without weights, and says so."""
  estimator, weights = _chosen(_FLOW_ESTIMATORS, config.motion.estimator, "motion.estimator"), config.motion.weights
  variables = {}
  if isinstance(estimator, Raft) and (weights := weights or _raft_file_beside(config.init_from)):
    variables = jax.tree.map(jnp.asarray, _raft_variables(estimator, weights))
  elif isinstance(estimator, Raft):
    say(f"config.motion.weights names no file for {estimator.name}: Lucas-Kanade measures the motion in its place.")
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


def metric_rules_of(config: ml_collections.ConfigDict) -> MetricRules:
  """How `config.evaluation` measures restored images."""
  section = config.evaluation
  return MetricRules(border=section.border, mse_floor=section.mse_floor, lpips_rule=section.lpips_rule)


def patch_restorer_of(config: ml_collections.ConfigDict, restorer: Restorer) -> Restorer | None:
  """The restorer in patches of `config.evaluation`; None where it asks for none.

  Raises:
    ValueError: patches do not fit the scenes or the network.
  """
  size, overlap = config.evaluation.patch_size, config.evaluation.patch_overlap
  if not size:
    return None
  if size < 0 or size % 8 or size > config.data.crop_size or overlap < 0 or overlap % 8 or 2 * overlap > size:
    raise ValueError(
        f"config.evaluation.patch_size={size} and patch_overlap={overlap} must be multiples of 8 px of the mosaic, "
        f"patches not larger than config.data.crop_size={config.data.crop_size}, overlaps at most half of a patch.")
  return TiledRestorer(restorer, tile_size=size // 2, overlap=overlap // 2)


def scene_sources_of(config: ml_collections.ConfigDict) -> dict[str, SceneSource]:
  """Scenes of the splits "restore", "bae" and "eval", from photos that no two splits share.

  Sequences of "restore" hold every burst with random exposure times (stage 1), the others every burst within the
  budget.
  Held-out scenes are photos in motion only, or windows of clips.
  """
  data, timing = config.data, timing_of(config)
  photos = builtin_photos() if data.photos == "builtin" else photo_folder(data.photos)
  splits = split_photos(photos, seed=data.seed)
  longest_s = max(timing.num_frames * timing.max_exposure_s, timing.budget_s)
  return dict(
      restore=_scenes(data, splits.restore, data.num_restore_scenes, timing.num_subframes(longest_s), 0),
      bae=_scenes(data, splits.bae, data.num_bae_scenes, timing.num_subframes(timing.budget_s), 1),
      eval=_clip_scenes(data, timing) if data.eval_clips else _scenes(
          data, splits.held_out, data.num_eval_scenes, timing.num_subframes(timing.budget_s), 2, dead_leaves_share=0.0))


def _clip_scenes(data, timing):
  """Bursts start at frames that are no interpolation where the timing allows it: the paper's, not the release's."""
  burst_start = round(timing.burst_start_s / timing.subframe_interval_s)
  return ClipScenes(
      clip_folder(data.eval_clips), num_subframes=timing.num_subframes(timing.budget_s),
      num_scenes=data.num_eval_scenes, crop_size=data.eval_clips_crop,
      start_multiple=1 if burst_start % FRAMES_PER_CAPTURE else FRAMES_PER_CAPTURE, seed=_NUM_SPLITS * data.seed + 2)


def batches_of(config: ml_collections.ConfigDict, source: SceneSource, first_step: int, mesh: Mesh) -> SceneBatches:
  """Batches from a step onwards, made ahead in the background; each device of this process makes its own part."""
  data = config.data
  num_threads = min(_MAX_THREADS, os.cpu_count() or 1) if data.num_threads is None else data.num_threads
  return batches(source, config.batch_size, config.seed, start_step=first_step, sharding=mesh_lib.by_example(mesh),
                 num_threads=num_threads, num_prefetched=data.num_prefetched, on_unreadable=data.on_unreadable)


def _scenes(data, photos, num_scenes, num_subframes, split, *, dead_leaves_share=None):
  share = data.dead_leaves_share if dead_leaves_share is None else dead_leaves_share
  num_leaves = round(share * num_scenes)
  options = dict(crop_size=data.crop_size, num_subframes=num_subframes, seed=_NUM_SPLITS * data.seed + split,
                 static_share=data.static_share, speed_scale=data.speed_scale * data.crop_size / REFERENCE_CROP_SIZE)
  sources = []
  if num_leaves < num_scenes:
    sources.append(PhotoMotionScenes(
        photos, num_scenes=num_scenes - num_leaves, foreground_share=data.foreground_share, **options))
  if num_leaves:
    sources.append(DeadLeavesScenes(num_scenes=num_leaves, **options))
  source = sources[0] if len(sources) == 1 else MixedScenes(sources)
  return CachedScenes(source, use_16_bits=True) if data.cache else source


def limits_of(config: ml_collections.ConfigDict) -> Limits:
  """Beyond what a step is not applied, of `config.guard`."""
  guard = config.guard
  or_none = lambda limit: float("inf") if limit is None else limit
  return Limits(max_grad_norm=or_none(guard.max_grad_norm), max_grad_norm_ratio=or_none(guard.max_grad_norm_ratio),
                max_saturated_share=guard.max_saturated_share, min_level=guard.min_level)


def compiler_options() -> dict[str, Any] | None:
  """Options of XLA for the programs of the steps.

  On a CPU this preset makes the gradient of the full Burstormer compile in two thirds of the time and run as fast.
  """
  return {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE"} if jax.default_backend() == "cpu" else None


def optimizers_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The three optimizers of `state.OPTIMIZERS`."""
  restoration = adamw_direction(**config.restoration_optimizer)
  return dict(restoration=restoration, finetune=restoration, bae=adamw_direction(**config.bae_optimizer))


def purposes_of(config: ml_collections.ConfigDict, flow_estimator: str | None = None) -> dict[str, Any]:
  """What each part of a checkpoint is trained for; JSON. A part is used under the same purpose only.

  Args:
    config: of the run.
    flow_estimator: name of the one that measures the motion, where it may differ from `config.motion.estimator`, as
      `flow_of` says.
  """
  timing = dataclasses.asdict(timing_of(config))
  capture = {name: config.capture[name] for name in ("noise", "min_preview_gain", "max_preview_gain")}
  conditions = dict(timing=timing, **capture)
  if sizes := burst_sizes_of(config):
    conditions["burst_sizes"] = list(sizes)
  motion = dict(estimator=flow_estimator or config.motion.estimator,
                full_scale_px_per_s=config.motion.full_scale_px_per_s)
  network = dict(**config.restorer, inputs=config.restorer_inputs.to_dict())
  return dict(restoration=dict(conditions=conditions, network=network),
              bae=dict(conditions=conditions, network=config.bae.to_dict(), motion=motion))


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


def _chosen(choices, name, field):
  if name not in choices:
    raise ValueError(f"Unknown config.{field}={name!r}; choose one of {', '.join(map(repr, choices))}.")
  return choices[name]
