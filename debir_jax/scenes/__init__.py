"""Where radiance comes from: scenes as sequences of packed camera RAW with 1920 entries per second."""

from debir_jax.scenes.clips import Clip, clip_folder, ClipScenes, FRAMES_PER_CAPTURE
from debir_jax.scenes.dead_leaves import DeadLeavesScenes
from debir_jax.scenes.photos import builtin_photos
from debir_jax.scenes.photos import Photo
from debir_jax.scenes.photos import photo_folder
from debir_jax.scenes.photos import PhotoSplits
from debir_jax.scenes.photos import split_photos
from debir_jax.scenes.photos import UnreadablePhotoError
from debir_jax.scenes.pipeline import batches
from debir_jax.scenes.pipeline import CachedScenes
from debir_jax.scenes.pipeline import check_sequence_length
from debir_jax.scenes.pipeline import MixedScenes
from debir_jax.scenes.pipeline import PhotoMotionScenes
from debir_jax.scenes.pipeline import SceneBatches
from debir_jax.scenes.pipeline import SceneSource
from debir_jax.scenes.pipeline import stack_scenes

__all__ = [
    "CachedScenes", "Clip", "ClipScenes", "DeadLeavesScenes", "FRAMES_PER_CAPTURE", "MixedScenes", "Photo",
    "PhotoMotionScenes", "PhotoSplits", "SceneBatches", "SceneSource", "UnreadablePhotoError", "batches",
    "builtin_photos", "check_sequence_length", "clip_folder", "photo_folder", "split_photos", "stack_scenes"]
