"""Where radiance comes from: scenes as sequences of packed camera RAW with 1920 entries per second."""

from debir_jax.scenes.batches import BatchOptions, SceneBatches, batches
from debir_jax.scenes.clips import FRAMES_PER_CAPTURE, Clip, ClipScenes, clip_folder
from debir_jax.scenes.dead_leaves import DeadLeavesScenes
from debir_jax.scenes.file_cache import FiledScenes
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.scenes.interpolate import (
    INTERPOLATORS,
    Interpolator,
    frame_name,
    interpolate_clip,
    interpolate_pair,
    interpolator_named,
)
from debir_jax.scenes.motion_statistics import MotionStatistics
from debir_jax.scenes.photo_motion import PhotoMotionScenes, moving_photo
from debir_jax.scenes.photos import Photo, PhotoSplits, builtin_photos, photo_folder, split_photos
from debir_jax.scenes.source import (
    CachedScenes,
    MixedScenes,
    SceneSettings,
    SceneSource,
    check_sequence_length,
    group_of,
    scenes_made_of,
)

__all__ = [
    "BatchOptions", "CachedScenes", "Clip", "ClipScenes", "DeadLeavesScenes", "FRAMES_PER_CAPTURE", "FiledScenes",
    "INTERPOLATORS", "Interpolator", "MixedScenes", "MotionStatistics", "Photo", "PhotoMotionScenes", "PhotoSplits",
    "SceneBatches", "SceneSettings", "SceneSource", "UnreadablePhotoError", "batches", "builtin_photos",
    "check_sequence_length", "clip_folder", "frame_name", "group_of", "interpolate_clip", "interpolate_pair",
    "interpolator_named", "moving_photo", "photo_folder", "scenes_made_of", "split_photos"]
