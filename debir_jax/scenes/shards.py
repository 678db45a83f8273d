"""A shard: the sequences of one clip, in one file, made by one process; done, or not there at all.

Shards are TFDS's own files (ArrayRecord of tf.train.Example). Each is written under a temporary name, read back, and
takes its name only when it is complete; beside it a JSON file says which sequences it holds. What is there is not made
again, so preparing goes on where it was stopped, clip by clip.

A sequence is an example of `FEATURES`:

  frames           its subframes in order, each an encoded image, see `frame_codec`; one alone of a scene that is still
  clip             name of the recording
  start            index of the first subframe in its stretch of the recording
  stretch          number of the stretch; a recording without gaps has one
  top, left        of the crop within the frame, px
  height, width    of the crop, px
  capture_rate_hz  frames per second of the recording; 0: still
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import pathlib
import secrets
from typing import Any

import cv2
import numpy as np

from debir_jax.runtime.files import local_path, read_json, write_json
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes import file_colors, frame_codec, interpolate
from debir_jax.scenes.clips import WINDOW_STRIDE
from debir_jax.scenes.recordings import Recording
from debir_jax.scenes.subframes import subframes
from debir_jax.scenes.windows import Layout, WindowCutter
from debir_jax.types import SUBFRAME_RATE_HZ

LONG_SUBFRAMES, SHORT_SUBFRAMES = 2 * WINDOW_STRIDE, 230  # With random exposure times of stage 1; within the budget.
_CONTEXT = 64  # px around the crops that interpolation sees.
_NUMBERS = ("start", "stretch", "top", "left", "height", "width")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How recordings become sequences; the same for a whole data set.

  Attributes:
    crop_size: side of the crops, px.
    starts: of windows, "captured" or "release", see `windows`.
    encoding: of frames, see `frame_codec`.
    interpolator: see `interpolate`; `weights` is its file.
    reduction: frames are reduced by this whole number in linear light, so that a pixel sees what a sensor's would.
    on_unreadable: "stop", or "skip": frames that cannot be read are left out, and the clip is cut there.
  """

  crop_size: int = 256
  starts: str = "captured"
  encoding: str = "mixed"
  interpolator: str = "flow"
  weights: str = ""
  reduction: int = 1
  on_unreadable: str = "stop"

  def __post_init__(self):
    if self.encoding not in frame_codec.ENCODINGS:
      raise ValueError(f"--encoding={self.encoding}; choose one of {', '.join(frame_codec.ENCODINGS)}.")
    if self.interpolator not in interpolate.INTERPOLATORS:
      raise ValueError(f"--interpolator={self.interpolator}; choose one of {', '.join(interpolate.INTERPOLATORS)}.")
    if not 1 <= self.reduction <= 16:
      raise ValueError(f"--reduction={self.reduction} must be a whole number from 1 to 16.")
    if self.on_unreadable not in ("stop", "skip"):
      raise ValueError(f"--on_unreadable={self.on_unreadable} must be stop or skip.")

  def layout(self, rows: int, columns: int, *, is_long: bool = False) -> Layout:
    """Of so many crops; long sequences hold every burst of stage 1, the others those within the budget."""
    return Layout(num_subframes=LONG_SUBFRAMES if is_long else SHORT_SUBFRAMES, rows=rows, columns=columns,
                  crop_size=self.crop_size, starts=self.starts)

  def reduced(self, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of frames after the reduction."""
    return tuple(side // self.reduction for side in size)

  @property
  def description(self) -> dict[str, Any]:
    """What sequences depend on, JSON."""
    return dataclasses.asdict(self) | dict(weights=pathlib.PurePath(self.weights).name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Recordings whose sequences go into one file. Picklable: made by any process, on any machine."""

  split: str
  name: str
  recordings: tuple[Recording, ...]
  layout: Layout

  @property
  def file_stem(self) -> str:
    """Of its files: letters and digits that people can read, and what tells it from all others."""
    readable = "".join(letter if letter.isalnum() else "_" for letter in self.name)[:60]
    facts = [[clip.name, clip.rate_hz, clip.num_frames, list(clip.size)] for clip in self.recordings]
    return f"{self.split}-{readable}-{fingerprint(self.name, facts, dataclasses.asdict(self.layout))}"


def num_subframes(clip: Recording) -> int:
  """How many subframes a clip gives at most, where all of its frames can be read and none is missing."""
  return int((clip.num_frames - 1) * SUBFRAME_RATE_HZ / clip.rate_hz) + 1


def of_clip(split: str, clip: Recording, layout: Layout, settings: Settings) -> Shard:
  """The shard of one clip. Raises ValueError, naming the clip, where its frames do not hold the crops."""
  try:
    layout.crops(settings.reduced(clip.size))
  except ValueError as error:
    raise ValueError(f"{clip.name}: {error}") from error
  return Shard(split=split, name=clip.name, recordings=(clip,), layout=layout)


@dataclasses.dataclass(frozen=True)
class Written:
  """A shard that is there.

  Attributes:
    path: of its records.
    sequences: of each record its clip, group and numbers, as the features of the same names.
    clips: of each recording its name, rate, and how many subframes came of it.
  """

  path: pathlib.Path
  sequences: list[dict[str, Any]]
  clips: list[dict[str, Any]]


@functools.lru_cache(maxsize=1)
def features() -> Any:
  """TFDS's features of a sequence, see the module."""
  import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top
  return tfds.features.FeaturesDict({
      "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
      "clip": tfds.features.Text(), "capture_rate_hz": np.float32, **dict.fromkeys(_NUMBERS, np.int32)})


def write_shard(shard: Shard, settings: Settings, folder: pathlib.Path) -> Written:
  """Makes a shard, unless it is there.

  Args:
    shard: what to make.
    settings: of the data set.
    folder: for the files, for these settings alone.

  Raises:
    UnreadablePhotoError: a frame cannot be read, and settings say "stop".
    OSError: the disk is full, or the like.
  """
  done = finished(shard, folder)
  if done is not None:
    return done
  path, index = _paths(shard, folder)
  sequences, clips = [], []
  with _record_writer(path) as write:
    for recording in shard.recordings:
      clip = dict(name=recording.name, rate_hz=recording.rate_hz, description=str(recording), num_sequences=0,
                  num_subframes=0)
      for example in examples(recording, shard.layout, settings, counts=clip):
        write(_serializer().serialize_example(features().encode_example(example)))
        sequences.append({name: example[name] for name in ("clip", *_NUMBERS)} | dict(group=recording.group))
        clip["num_sequences"] += 1
      clips.append(clip)
  write_json(index, dict(sequences=sequences, clips=clips))
  return Written(path, sequences, clips)


def finished(shard: Shard, folder: pathlib.Path) -> Written | None:
  """The shard if it is there in full."""
  path, index = _paths(shard, folder)
  if not (path.is_file() and index.is_file()):
    return None
  told = read_json(index, "Remove it: its clip is then prepared again.")
  return Written(path, told["sequences"], told["clips"])


def examples(recording: Recording, layout: Layout, settings: Settings, *,
             counts: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
  """The sequences of a recording as examples, see the module; window after window, in each crop after crop.

  Args:
    recording: see `recordings`.
    layout: which windows and crops.
    settings: how.
    counts: gets the number of subframes.
  """
  crops, counts = layout.crops(settings.reduced(recording.size)), {} if counts is None else counts
  counts["num_subframes"] = 0
  facts = dict(clip=recording.name, capture_rate_hz=np.float32(recording.rate_hz))
  place = lambda crop: dict(zip(("top", "left", "height", "width"), crop))
  for stretch, start, frames in _windows(recording, layout, settings, crops, counts):
    for number, crop in enumerate(crops):
      yield facts | place(crop) | dict(stretch=stretch, start=start, frames=[entry[number] for entry in frames])


def _windows(recording, layout, settings, crops, counts):
  """(stretch, start, encoded crops of each subframe)."""
  rows, columns = _region(crops)
  frames = ((time_s, _reduced(pixels, settings.reduction)[rows, columns], is_captured)
            for time_s, pixels, is_captured in recording.frames(settings.on_unreadable))
  encoded = lambda pixels, is_captured: [
      frame_codec.encode(pixels[top - rows.start:top - rows.start + height,
                                left - columns.start:left - columns.start + width],
                         settings.encoding, is_captured=is_captured)
      for top, left, height, width in crops]
  if recording.is_static:
    for _, pixels, _ in frames:
      yield 0, 0, [encoded(pixels, True)]
    return
  cutter, current = None, -1
  for subframe in subframes(frames, recording.rate_hz, _between(settings)):
    if subframe.stretch != current:
      cutter, current = WindowCutter(layout.num_subframes, layout.starts), subframe.stretch
    counts["num_subframes"] += 1
    entry = encoded(subframe.pixels, subframe.is_captured)
    for start, entries in cutter.add(subframe.index, entry, subframe.is_captured):
      yield current, start, entries


def _region(crops) -> tuple[slice, slice]:
  """Rows and columns of what is interpolated: all crops, and what may move into them."""
  tops, lefts, heights, widths = zip(*crops)
  return (slice(max(min(tops) - _CONTEXT, 0), max(map(sum, zip(tops, heights))) + _CONTEXT),
          slice(max(min(lefts) - _CONTEXT, 0), max(map(sum, zip(lefts, widths))) + _CONTEXT))


def _between(settings):
  return functools.partial(interpolate.interpolate_pair, _interpolator(settings.interpolator, settings.weights))


@functools.lru_cache(maxsize=1)
def _interpolator(name, weights):
  return interpolate.interpolator_named(name, weights=local_path(weights, "--weights") if weights else None)


def _reduced(pixels, reduction) -> np.ndarray:
  """Means of squares of pixels in linear light, sRGB as before."""
  if reduction == 1:
    return pixels
  levels = np.iinfo(pixels.dtype).max
  height, width = (side // reduction * reduction for side in pixels.shape[:2])
  linear = _linear_of_code(levels)[pixels[:height, :width]]
  mean = cv2.resize(linear, (width // reduction, height // reduction), interpolation=cv2.INTER_AREA)
  encoded = np.where(mean <= 0.0031308, 12.92 * mean, 1.055 * np.maximum(mean, 0.0031308)**(1 / 2.4) - 0.055)
  return np.round(levels * encoded).astype(pixels.dtype)


@functools.lru_cache(maxsize=2)
def _linear_of_code(levels):
  return file_colors.decoded(np.arange(levels + 1) / levels).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _serializer() -> Any:
  from tensorflow_datasets.core import example_serializer  # pylint: disable=g-import-not-at-top
  return example_serializer.ExampleSerializer(features().get_serialized_info())


def _paths(shard, folder) -> tuple[pathlib.Path, pathlib.Path]:
  return folder / f"{shard.file_stem}.array_record", folder / f"{shard.file_stem}.json"


@contextlib.contextmanager
def _record_writer(path):
  """A function that writes a record; the file gets its name when it is complete and could be read."""
  from array_record.python import array_record_module  # pylint: disable=g-import-not-at-top
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
  count = 0

  def write(record: bytes) -> None:
    nonlocal count
    if not writer.ok():
      raise OSError(f"{temporary} cannot be written. Is the disk full?")
    writer.write(record)
    count += 1

  try:
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
    yield write
    _close(writer, temporary)
    _check_complete(temporary, count)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def _close(writer, path) -> None:
  try:
    writer.close()
  except (RuntimeError, ValueError) as error:
    raise OSError(f"{path} could not be written in full ({error}). Is the disk full?") from error


def _check_complete(path, count) -> None:
  from array_record.python import array_record_module  # pylint: disable=g-import-not-at-top
  try:
    reader = array_record_module.ArrayRecordReader(str(path))
    found = reader.num_records() if reader.ok() else -1
    reader.close()
  except (RuntimeError, ValueError) as error:
    raise OSError(f"{path} cannot be read back ({error}). Is the disk full?") from error
  if found != count:
    raise OSError(f"{path} holds {max(found, 0)} of {count} records. Is the disk full?")

