"""Where scenes come from, and how they are handed to the training: `config.data`.

Four splits share no photo: two are trained on, by the restorer and by BAENet; choices (the best checkpoint, a recipe)
are made on the validation scenes; what is reported is measured on the test scenes, on which no choice is made.

`config.data.source` names what training scenes are made of, `validation_source` and `test_source` what the others are;
several names are joined by "+". Data sets that `python -m debir_jax.scenes.prepare` wrote into `config.data.data_dir`
are sources by their names. A source of your own takes part under a name of its own, see `register_scenes`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
import os

from jax.sharding import Mesh
import ml_collections

from debir_jax.config.capture import timing_of
from debir_jax.config.choices import chosen
from debir_jax.imaging.color import Unprocessing, random_camera_color, random_ccm, random_release_ccm
from debir_jax.runtime.files import local_path
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.mesh import by_example
from debir_jax.scenes import (
  FRAMES_PER_CAPTURE,
  BatchOptions,
  CachedScenes,
  ClipScenes,
  DeadLeavesScenes,
  FiledScenes,
  MixedScenes,
  MotionStatistics,
  Photo,
  PhotoMotionScenes,
  SceneBatches,
  SceneSettings,
  SceneSource,
  batches,
  builtin_photos,
  check_sequence_length,
  clip_folder,
  photo_folder,
  split_photos,
)
from debir_jax.scenes.photo_splits import read_list
from debir_jax.scenes.prepared import WHERE, PreparedData, PreparedScenes
from debir_jax.types import BurstTiming

SPLITS = ("restore", "bae", "validation", "test")
TRAINING_SPLITS = ("restore", "bae")
PREPARED = tuple(WHERE)  # Data sets that are prepared once.
_MAX_THREADS = 8  # That make scenes: each has one in the device's memory.


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneRequest:
  """What is asked of a source of scenes.

  Attributes:
    split: "restore" (D_restore), "bae" (D_BAENet), "validation" or "test".
    num_scenes: how many are wanted; a data set of a size of its own may have others.
    num_subframes: the least length of their sequences.
    seed: of all that is drawn at random; another one for every split and name.
    timing: of the bursts that are taken of them.
    photos: gives the photos of the split.
    tell_motion: scenes are to tell their motion, where they know it.
  """

  split: str
  num_scenes: int
  num_subframes: int
  seed: int
  timing: BurstTiming
  photos: Callable[[], list[Photo]]
  tell_motion: bool = False


SceneMaker = Callable[[ml_collections.ConfigDict, SceneRequest], SceneSource]


def register_scenes(name: str, make: SceneMaker) -> None:
  """Makes a source of scenes known by a name, for `config.data.source`, `validation_source` and `test_source`.

  Args:
    name: without "+".
    make: maps `config.data` and a `SceneRequest` to a `SceneSource`.

  Raises:
    ValueError: the name is taken, or no name.
  """
  if not name or "+" in name or name in _MAKERS:
    raise ValueError(f"A source of scenes needs a name of its own without '+', got {name!r}; there are "
                     f"{', '.join(_MAKERS)}.")
  _MAKERS[name] = make


def scene_sources_of(config: ml_collections.ConfigDict,
                     given: Mapping[str, SceneSource] | None = None) -> dict[str, SceneSource]:
  """Scenes of the splits "restore", "bae", "validation" and "test", from photos that no two splits share, unless
  BAENet's scenes may be of the restorer's photos (`data.bae_photos`).

  Sequences of "restore" hold every burst with random exposure times (stage 1), the others every burst within the
  budget.

  Args:
    config: of the run.
    given: sources in the place of the config's, by split.

  Raises:
    ValueError: an unknown split or name, or sequences that are too short.
  """
  data, timing, given = config.data, timing_of(config), given or {}
  if unknown := sorted(set(given) - set(SPLITS)):
    raise ValueError(f"There are no splits {', '.join(map(repr, unknown))}; scenes can be given for "
                     f"{', '.join(map(repr, SPLITS))}.")
  longest_s = dict.fromkeys(SPLITS, timing.budget_s) | dict(
      restore=max(timing.num_frames * timing.max_exposure_s, timing.budget_s))
  photos = functools.cache(lambda: _photos_by_split(data))
  sources = {}
  for split in SPLITS:
    request = SceneRequest(
        split=split, num_scenes=data[f"num_{split}_scenes"], num_subframes=timing.num_subframes(longest_s[split]),
        seed=data.seed, timing=timing, photos=lambda split=split: photos()[split],
        tell_motion=config.restorer_inputs.aligned)
    sources[split] = given[split] if split in given else _source_of(data, request)
    check_sequence_length(sources[split], timing, longest_s[split])
  return sources


def batches_of(config: ml_collections.ConfigDict, source: SceneSource, first_step: int, mesh: Mesh, *,
               reorient: bool = False) -> SceneBatches:
  """Batches from a step onwards, made ahead in the background; each device of this process makes its own part."""
  data = config.data
  num_threads = min(_MAX_THREADS, os.cpu_count() or 1) if data.num_threads is None else data.num_threads
  return batches(source, config.batch_size, config.seed, start_step=first_step, sharding=by_example(mesh),
                 options=BatchOptions(num_threads=num_threads, num_prefetched=data.num_prefetched,
                                      on_unreadable=data.on_unreadable, reorient=reorient))


def _source_of(data, request):
  names = _names_of(data, request.split)
  if request.num_scenes < 1:
    raise ValueError(f"config.data.num_{request.split}_scenes={request.num_scenes} must be at least 1.")
  sizes = {name: _prepared_data(data, name).size(request.split, _validation_clips(data))
           for name in names if name in PREPARED}
  counts = _counts_of(names, request.num_scenes, data.dead_leaves_fraction, sizes)
  if not any(counts.values()):
    raise ValueError(f"The data sets {', '.join(sizes)} have no scenes for {request.split}. Name another source: "
                     f"config.data.{request.split}_source.")
  of_name = lambda name: dataclasses.replace(
      request, num_scenes=counts[name], seed=_seed_of(data.seed, request.split, name))
  made = [_MAKERS[name](data, of_name(name)) for name in names if counts[name]]
  source = made[0] if len(made) == 1 else MixedScenes(made)
  if source.crop_size and data.cache_dir:
    return FiledScenes(source, local_path(data.cache_dir, "config.data.cache_dir"))
  return CachedScenes(source, use_16_bits=True) if data.cache and source.crop_size else source


def _seed_of(seed, split, name) -> int:
  """Sources of one split do not show the same motion in the same colors."""
  return int(fingerprint(seed, split, name), 16) % 2**31


def _names_of(data, split) -> list[str]:
  """Names of the sources of a split; those that are not trained on are of real scenes unless others are asked for."""
  field = "source" if split in TRAINING_SPLITS else f"{split}_source"
  given = data[field]
  if given is None:
    given = "clips" if split == "test" and data.test_clips else "+".join(
        name for name in data.source.split("+") if name != "dead_leaves")
    if not given:
      raise ValueError(f"Dead leaves are no {split} scenes unless they are asked for: set config.data.{field}, to "
                       f"'dead_leaves' or another source, beside config.data.source={data.source!r}.")
  names = given.split("+")
  for name in names:
    if name not in _MAKERS or names.count(name) > 1:
      raise ValueError(f"config.data.{field}={given!r} must be names of sources of scenes, joined by '+'; there are "
                       f"{', '.join(map(repr, _MAKERS))} (a source of your own: "
                       "debir_jax.config.scenes.register_scenes).")
  return names


def _counts_of(names, num_scenes, dead_leaves_fraction, sizes) -> dict[str, int]:
  """Dead leaves have their fraction of the scenes, all others share the rest evenly; data sets share what they get by
  their sizes, and have no more than these."""
  others = [name for name in names if name != "dead_leaves"]
  num_leaves = (round(dead_leaves_fraction * num_scenes) if others else num_scenes) if others != names else 0
  parts = [(num_scenes - num_leaves + place) // len(others) for place in range(len(others))][::-1]
  counts = dict(zip(others, parts))
  part, before = min(sum(counts[name] for name in sizes), sum(sizes.values())), 0
  for name, size in sizes.items():
    counts[name] = (before + size) * part // sum(sizes.values()) - before * part // sum(sizes.values()) if part else 0
    before += size
  return counts | {"dead_leaves": num_leaves}


def _photos_by_split(data):
  if not data.photos:
    raise ValueError(
        "config.data.photos names no photos to make scenes of. Give a folder with photos (--config.data.photos=FOLDER, "
        "a few hundred are good: docs/training.md says where to get them), or --config.data.photos=builtin: seven "
        "photos that come with scikit-image, with which training as in the paper makes no sense.")
  folders = [local_path(folder, "config.data.photos") for folder in data.photos.split(",")]
  if data.photo_list:
    splits = read_list(local_path(data.photo_list, "config.data.photo_list"), folders)
  else:
    builtin = data.photos == "builtin"
    photos = builtin_photos() if builtin else [photo for folder in folders for photo in photo_folder(folder)]
    splits = split_photos(photos, seed=data.seed)
  by_split = {split: getattr(splits, split) for split in SPLITS}
  if data.bae_photos == "training":
    by_split["bae"] = by_split["restore"] + by_split["bae"]
  return by_split


def _photo_motion(data, request):
  return PhotoMotionScenes(request.photos(), _settings_of(data, request))


def _dead_leaves(data, request):
  return DeadLeavesScenes(_settings_of(data, request))


def _settings_of(data, request) -> SceneSettings:
  static_fraction = data.static_fraction if request.split in TRAINING_SPLITS else data.held_out_static_fraction
  shared = {name: data[name] for name in ("slow_fraction", "median_speed_px_s", "parallax_fraction", "object_fraction")}
  return SceneSettings(
      crop_size=data.crop_size, num_subframes=request.num_subframes, num_scenes=request.num_scenes, seed=request.seed,
      statistics=MotionStatistics(static_fraction=static_fraction, **shared), unprocessing=unprocessing_of(data),
      target_index=request.timing.target_index if request.tell_motion else None)


def unprocessing_of(data: ml_collections.ConfigDict) -> Unprocessing:
  """How sRGB becomes camera RAW, of `config.data`."""
  return Unprocessing(chosen(_CAMERA_COLORS, data.camera_colors, "data.camera_colors"), data.preserve_highlights)


def _clips(data, request):
  """Bursts start at frames that are no interpolation where the timing allows it: the paper's, not the release's."""
  if request.split != "test" or not data.test_clips:
    raise ValueError("Clips are test scenes: set config.data.test_clips to their folder and leave them out of "
                     "config.data.source and validation_source.")
  burst_start = round(request.timing.burst_start_s / request.timing.subframe_interval_s)
  return ClipScenes(
      clip_folder(data.test_clips), num_subframes=request.num_subframes, num_scenes=request.num_scenes,
      crop_size=data.test_clips_crop, start_multiple=1 if burst_start % FRAMES_PER_CAPTURE else FRAMES_PER_CAPTURE,
      seed=request.seed, unprocessing=unprocessing_of(data))


def _prepared_data(data, name) -> PreparedData:
  return PreparedData(local_path(data.data_dir, "config.data.data_dir"), name)


def _validation_clips(data) -> tuple[str, ...] | None:
  """Clips of "bae" that are validated on in its stead; None: the data set's choice."""
  return None if data.validation_clips is None else tuple(filter(None, data.validation_clips.split(",")))


def _prepared(name, data, request):
  """Of the test whole frames, or what `test_clips_crop` says; of the others pieces."""
  crop_size = data.test_clips_crop if request.split == "test" else data.crop_size
  return PreparedScenes(
      _prepared_data(data, name).split(request.split, _validation_clips(data)), crop_size=crop_size,
      num_subframes=request.num_subframes, num_scenes=request.num_scenes, seed=request.seed,
      unprocessing=unprocessing_of(data))


_CAMERA_COLORS = {
    "authors": random_camera_color,
    "authors_code": functools.partial(random_camera_color, draw_ccm=functools.partial(random_release_ccm, count=2),
                                      brightness_cut_std=math.inf),
    "mixed": functools.partial(random_camera_color, draw_ccm=random_ccm)}
_MAKERS: dict[str, SceneMaker] = dict(photos=_photo_motion, dead_leaves=_dead_leaves, clips=_clips) | {
    name: functools.partial(_prepared, name) for name in PREPARED}
