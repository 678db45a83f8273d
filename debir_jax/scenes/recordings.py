"""Recordings: what a camera took, frame by frame with times, whether it is a video, a folder of frames or one image.

Frames come as (time, pixels, is_captured): s from the first one on; sRGB `[H, W, 3]`, uint8 or uint16, upright, of
even sides; and whether a camera took the frame or a tool interpolated it. Folders hold frames at a rate that somebody
has to know, or frames that were interpolated by 8 already, 1920 per second, which are known by EMA-VFI's names
(`000012_375.png`). Names tell the order, see `frame_order`.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import difflib
import pathlib
import re
from typing import Protocol

import numpy as np

from debir_jax.scenes import frame_order, image_files, videos
from debir_jax.scenes.clips import FRAMES_PER_CAPTURE
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.types import SUBFRAME_RATE_HZ

Frames = Iterator[tuple[float, np.ndarray, bool]]
_INTERPOLATED_NAME = re.compile(r"[0-9]+_[0-9]{3}")
_COARSE_HZ = 100.0  # Below, an interval is longer than most exposures.


class Recording(Protocol):
  """What a data set is made of. Picklable: worked on by other processes.

  Attributes:
    name: unique within a data set.
    group: recordings of one group show the same thing and stay in one split.
    size: (height, width) of its frames, px.
    rate_hz: frames per second; 0 of one image.
    num_frames: as many as it seems to have.
    is_static: one image, in which nothing moves.
  """

  name: str
  group: str
  size: tuple[int, int]
  rate_hz: float
  num_frames: int
  is_static: bool

  def frames(self, on_unreadable: str) -> Frames:
    """See the module. `on_unreadable`: "stop" or "skip", which leaves out frames that cannot be read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRecording:
  """A video file."""

  facts: videos.VideoFacts
  group: str
  name: str
  is_static = False

  @property
  def size(self) -> tuple[int, int]:
    return self.facts.size

  @property
  def rate_hz(self) -> float:
    return self.facts.rate_hz

  @property
  def num_frames(self) -> int:
    return len(self.facts.times_s)

  def frames(self, on_unreadable: str) -> Frames:
    for time_s, pixels in videos.video_frames(self.facts, on_damaged=on_unreadable):
      yield time_s, pixels, True

  def __str__(self) -> str:
    return str(self.facts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameRecording:
  """A folder of frames, or one image (`rate_hz` 0).

  Attributes:
    files: in order.
    rate_from: who says so.
    captured_every: of so many frames the first is no interpolation.
  """

  name: str
  group: str
  files: tuple[pathlib.Path, ...]
  size: tuple[int, int]
  rate_hz: float = 0.0
  rate_from: str = ""
  captured_every: int = 1

  @property
  def num_frames(self) -> int:
    return len(self.files)

  @property
  def is_static(self) -> bool:
    return not self.rate_hz

  def frames(self, on_unreadable: str) -> Frames:
    for place, path in enumerate(self.files):
      try:
        pixels = _even(image_files.read_pixels(path))
        if pixels.shape[:2] != self.size:
          raise UnreadablePhotoError(f"{path} has {pixels.shape[0]}x{pixels.shape[1]} px, the first frame of its clip "
                                     f"{self.size[0]}x{self.size[1]}. Remove or replace the file.")
      except UnreadablePhotoError:
        if on_unreadable == "stop":
          raise
        continue
      yield place / self.rate_hz if self.rate_hz else 0.0, pixels, place % self.captured_every == 0

  def __str__(self) -> str:
    height, width = self.size
    if self.is_static:
      return f"{self.name}: an image of {height}x{width} px"
    return f"{self.name}: {self.num_frames} frames of {height}x{width} px at {self.rate_hz:.4g} per second " \
           f"({self.rate_from})"


@dataclasses.dataclass(frozen=True)
class Rates:
  """Frames per second that a person states: one for all, or by name of the recording.

  Attributes:
    by_name: "" stands for all others.
  """

  by_name: tuple[tuple[str, float], ...] = ()

  @classmethod
  def parse(cls, text: str) -> "Rates":
    """Of "240", or "swim=240,run.mp4=120", or both joined by commas. ValueError for anything else."""
    pairs = [part.rpartition("=")[::2] for part in text.split(",") if part]
    try:
      rates = [(name.strip(), float(rate)) for name, rate in pairs]
    except ValueError as error:
      raise ValueError(f"--fps={text} must be a number, or NAME=NUMBER joined by commas.") from error
    for name, rate in rates:
      if not 1 <= rate <= SUBFRAME_RATE_HZ:
        raise ValueError(f"--fps={text}: {rate:g} frames per second; expected 1 to {SUBFRAME_RATE_HZ}.")
    return cls(tuple(rates))

  def of(self, name: str) -> float | None:
    """The rate of a recording, None where nothing is stated."""
    stated = dict(self.by_name)
    return stated.get(name, stated.get(""))


def frame_folder(folder: pathlib.Path, *, name: str, group: str, rate_hz: float | None,
                 rate_from: str = "--fps") -> FrameRecording:
  """The frames of a folder as a recording.

  Args:
    folder: with png or jpg files.
    name, group: see `Recording`.
    rate_hz: at which they were captured; None: they must be interpolated by 8 already.
    rate_from: who says so.

  Raises:
    ValueError: no frames, in no even order, or at a rate that nobody tells.
    UnreadablePhotoError: the first of them cannot be read.
  """
  files = frame_order.in_order(image_files.image_files(folder))
  if not files:
    raise ValueError(f"{folder} holds no .png or .jpg files.")
  size = _even(image_files.read_pixels(files[0])).shape[:2]
  shared = dict(name=name, group=group, files=tuple(files), size=size)
  if all(_INTERPOLATED_NAME.fullmatch(path.stem) for path in files):
    return FrameRecording(**shared, rate_hz=float(SUBFRAME_RATE_HZ), captured_every=FRAMES_PER_CAPTURE,
                          rate_from="interpolated by 8, by the names of its frames")
  if rate_hz is None:
    raise ValueError(f"{folder} does not tell how many frames per second it was captured with. Say so: --fps=RATE for "
                     f"all, or --fps={name}=RATE.")
  every = FRAMES_PER_CAPTURE if rate_hz == SUBFRAME_RATE_HZ else 1
  return FrameRecording(**shared, rate_hz=rate_hz, captured_every=every, rate_from=rate_from)


def still(path: pathlib.Path, *, name: str, group: str) -> FrameRecording:
  """One image as a recording in which nothing moves."""
  return FrameRecording(name=name, group=group, files=(path,), size=_even(image_files.read_pixels(path)).shape[:2])


def find_recordings(folder: pathlib.Path, rates: Rates = Rates(), *, is_part: bool = False) -> list[Recording]:
  """Videos and folders of frames in a folder and the folders in it, sorted by name.

  A folder with videos in it is one group, as is a folder of frames and a video that lies by itself.

  Args:
    folder: to look into.
    rates: that are stated.
    is_part: rates may be those of recordings in other folders.

  Raises:
    ValueError: nothing found, or a folder of frames without a rate.
    UnreadablePhotoError: a file cannot be read.
  """
  found = [_video(path, path.name, path.name, rates) for path in _video_files(folder)]
  for subfolder in image_files.subfolders(folder):
    inner = _video_files(subfolder)
    found += [_video(path, f"{subfolder.name}/{path.name}", subfolder.name, rates) for path in inner]
    if not inner and image_files.image_files(subfolder):
      found.append(frame_folder(subfolder, name=subfolder.name, group=subfolder.name, rate_hz=rates.of(subfolder.name)))
  if not found:
    raise ValueError(f"{folder} holds no videos ({', '.join(videos.SUFFIXES)}) and no folders of frames.")
  unknown = sorted({name for name, _ in rates.by_name if name} - {recording.name for recording in found})
  if unknown and not is_part:
    raise ValueError(f"--fps names {', '.join(unknown)}, but {folder} holds "
                     f"{', '.join(recording.name for recording in found)}.")
  return found


def coarse(recording: Recording) -> bool:
  """Whether its frames are so far apart that what is interpolated between them is not what a camera would have seen."""
  return 0 < recording.rate_hz < _COARSE_HZ


def expected_folder(parent: pathlib.Path, name: str, what: str, where: str) -> pathlib.Path:
  """A folder that must be there.

  Args:
    parent: of it.
    name: that it must have.
    what: it is, for people.
    where: the data set is to be had, a sentence.

  Raises:
    ValueError: it is not; tells what was expected, and the nearest name found.
  """
  if (parent / name).is_dir():
    return parent / name
  found = [path.name for path in image_files.subfolders(parent)] if parent.is_dir() else []
  nearest = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
  hint = (f"the nearest name there is {nearest[0]}" if nearest
          else f"there are {len(found)} folders there" if found else "nothing like it is there")
  raise ValueError(f"{parent} has no folder {name}, {what}; {hint}. {where}")


def _video(path, name, group, rates) -> VideoRecording:
  return VideoRecording(facts=videos.video_facts(path, rate_hz=rates.of(name)), group=group, name=name)


def _video_files(folder) -> Sequence[pathlib.Path]:
  return sorted(path for path in folder.iterdir()
                if path.suffix.lower() in videos.SUFFIXES and path.is_file() and not path.name.startswith("."))


def _even(pixels) -> np.ndarray:
  return pixels[:pixels.shape[0] // 2 * 2, :pixels.shape[1] // 2 * 2]
