"""Whether the numbers of a config can be meant: asked before anything is computed or written.

What belongs together (sizes of networks, splits of photos) is checked where it is built.
"""

import math
from typing import Any

import ml_collections

from debir_jax.config.choices import chosen
from debir_jax.runtime.files import local_path

_STAGES = ("stage1", "stage2_warmup", "stage2", "stage3", "end_to_end")
_MAX_SEED = 2**31 - 1

# Closed ranges of numbers, by field. Fields that may be None are checked where they are not.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, _MAX_SEED), "data.seed": (0, _MAX_SEED), "evaluation.seed": (0, _MAX_SEED),
    **dict.fromkeys((
        "batch_size", "log_every_steps", "checkpoint_every_steps", "keep_every_steps", "data.crop_size",
        "data.num_restore_scenes", "data.num_bae_scenes", "data.num_validation_scenes", "data.num_test_scenes",
        "data.num_threads", "data.num_prefetched", "parallel.num_devices", "parallel.num_microbatches",
        "guard.max_bad_steps", "restorer.num_features", "restorer.deform_groups", "aligned_unet.num_features",
        "stage2_warmup.label_draws",
        "stage2.noise_draws", "evaluation.num_draws", "comparison.headroom_draws",
        *(f"{stage}.num_steps" for stage in _STAGES)), (1, math.inf)),
    "capture.num_frames": (2, math.inf), "capture.burst_sizes": (1, math.inf),
    **dict.fromkeys((
        "data.test_clips_crop", "guard.min_times_spread", "guard.min_alternate_frame_sensitivity",
        "profile.first_step", "profile.num_steps", "restorer.blocks_per_level",
        "aligned_unet.blocks_per_level", "restorer.fusion_blocks",
        "bae.classifier_scale", "restoration_optimizer.weight_decay", "bae_optimizer.weight_decay",
        "stage1.motion_error", "stage2.exposure_time_penalty", "stage2.frame_penalty", "stage2.motion_error",
        "evaluation.border", "evaluation.mse_floor",
        "evaluation.patch_size", "evaluation.patch_overlap", "evaluation.watched_scenes", "comparison.headroom_scenes",
        *(f"{stage}.{rate}" for stage in _STAGES for rate in ("final_learning_rate", "lr_warmup_steps")),
        "end_to_end.bae_final_learning_rate"), (0, math.inf)),
    **dict.fromkeys((
        "data.dead_leaves_fraction", "data.static_fraction", "data.held_out_static_fraction",
        "data.slow_fraction", "data.parallax_fraction", "data.object_fraction", "guard.max_saturated_fraction",
        "restoration_optimizer.beta2", "bae_optimizer.beta2", "guard.min_mean_intensity", "guard.collapse_after",
        "bae.dropout_rate", "capture.black_level"), (0, 1)),
}
_POSITIVE = (
    "capture.min_preview_gain", "capture.max_preview_gain", "data.median_speed_px_s",
    "motion.full_scale_px_per_s", "bae.width",
    "guard.max_grad_norm", "guard.max_grad_norm_ratio", "restoration_optimizer.clip_norm", "bae_optimizer.clip_norm",
    "restoration_optimizer.offset_rate", *(f"{stage}.learning_rate" for stage in _STAGES),
    "end_to_end.bae_learning_rate")
_PATHS = ("init_from", "data.cache_dir", "data.photos", "data.photo_list", "data.test_clips", "motion.weights",
          "evaluation.lpips")
_NAMES = {
    "guard.on_nonfinite": ("stop", "skip"), "guard.on_bad_batch": ("skip", "stop"),
    "guard.on_collapse": ("log", "stop"), "data.on_unreadable": ("stop", "skip"),
    "stage2_warmup.label_metric": ("l1", "psnr"), "comparison.split": ("validation", "test"),
    "data.bae_photos": ("bae", "training"), "stage2.loss": ("l1", "log_l1"),
    "compute.dtype": ("float32", "bfloat16"), "compute.remat": ("none", "blocks", "stages")}


def check_values(config: ml_collections.ConfigDict) -> None:
  """Raises a ValueError that names the first field whose value cannot be meant, and what is possible."""
  for field, (low, high) in _RANGES.items():
    for value in _numbers(config, field):
      if not low <= value <= high:
        raise ValueError(f"config.{field}={value:g} must be {_range_in_words(low, high)}.")
  for field in _POSITIVE:
    for value in _numbers(config, field):
      if not 0 < value < math.inf:
        raise ValueError(f"config.{field}={value:g} must be positive.")
  for field, names in _NAMES.items():
    chosen(dict.fromkeys(names), _at(config, field), field)
  for field in _PATHS:
    local_path(_at(config, field) or "", f"config.{field}")


def _numbers(config, field) -> tuple[float, ...]:
  """The numbers of a field: none for None, several for a tuple."""
  value = _at(config, field)
  return () if value is None else tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _at(config, field) -> Any:
  for name in field.split("."):
    config = config[name]
  return config


def _range_in_words(low, high):
  return f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
