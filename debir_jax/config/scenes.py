"""Where scenes come from, and how they are handed to the training: `config.data`."""

import os

from jax.sharding import Mesh
import ml_collections

from debir_jax.config.capture import timing_of
from debir_jax.runtime.mesh import by_example
from debir_jax.scenes import (
  FRAMES_PER_CAPTURE,
  CachedScenes,
  ClipScenes,
  DeadLeavesScenes,
  MixedScenes,
  PhotoMotionScenes,
  SceneBatches,
  SceneSource,
  batches,
  builtin_photos,
  clip_folder,
  photo_folder,
  split_photos,
)
from debir_jax.scenes.camera_path import REFERENCE_CROP_SIZE

_NUM_SPLITS = 3
_MAX_THREADS = 8  # That make scenes: each has one in the device's memory.


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


def batches_of(config: ml_collections.ConfigDict, source: SceneSource, first_step: int, mesh: Mesh) -> SceneBatches:
  """Batches from a step onwards, made ahead in the background; each device of this process makes its own part."""
  data = config.data
  num_threads = min(_MAX_THREADS, os.cpu_count() or 1) if data.num_threads is None else data.num_threads
  return batches(source, config.batch_size, config.seed, start_step=first_step, sharding=by_example(mesh),
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


def _clip_scenes(data, timing):
  """Bursts start at frames that are no interpolation where the timing allows it: the paper's, not the release's."""
  burst_start = round(timing.burst_start_s / timing.subframe_interval_s)
  return ClipScenes(
      clip_folder(data.eval_clips), num_subframes=timing.num_subframes(timing.budget_s),
      num_scenes=data.num_eval_scenes, crop_size=data.eval_clips_crop,
      start_multiple=1 if burst_start % FRAMES_PER_CAPTURE else FRAMES_PER_CAPTURE, seed=_NUM_SPLITS * data.seed + 2)
