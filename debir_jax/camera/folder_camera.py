"""A camera that is a folder: other software takes RAW files by a plan, and puts them there.

What is asked for lies in the folder as request.json while it is waited for. Files come in the order of their names,
previews first; each is used once, and one that is still being written is waited for.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib
import time

from debir_jax.camera.cameras import CameraError, TakenFrame
from debir_jax.camera.limits import NS_PER_S, CameraLimits
from debir_jax.camera.plan import PlannedFrame
from debir_jax.camera.raw_files import UnreadableRawError, read_raw
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.runtime.files import local_path, write_text

REQUEST = "request.json"
_SUFFIXES = (".dng", ".cr2", ".cr3", ".crw", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef")
_MOST_FILES = 10_000
_WAIT_S = 0.05


@dataclasses.dataclass(kw_only=True, eq=False)
class FolderCamera:
  """A `Camera`.

  Attributes:
    folder: where RAW files arrive.
    limits: of the camera behind it.
    preview_timeout_s: how long previews are waited for.
    clock, sleep: for tests.
  """

  folder: str | os.PathLike
  limits: CameraLimits = CameraLimits()
  preview_timeout_s: float = 30.0
  clock: Callable[[], float] = time.monotonic
  sleep: Callable[[float], None] = time.sleep
  _used: set[str] = dataclasses.field(default_factory=set, init=False)

  def __post_init__(self):
    self.folder = local_path(self.folder, "--folder")
    if not self.folder.is_dir():
      raise CameraError(f"{self.folder} is no folder. Create it, and let the camera's software put RAW files there.")

  def __enter__(self):
    return self

  def __exit__(self, *_):
    (self.folder / REQUEST).unlink(missing_ok=True)

  def previews(self) -> tuple[RawFrame, RawFrame]:
    """See `Camera.previews`: the first two files."""
    first, second = self._wait_for(2, self.preview_timeout_s)
    if first is None or second is None:
      raise CameraError(f"{self.folder} has no two previews after {self.preview_timeout_s:g} s.")
    return first, second

  def take(self, frames: Sequence[PlannedFrame], timeout_ns: int) -> list[TakenFrame | None]:
    """See `Camera.take`: writes request.json and waits for so many files. A frame that is not there in time was
    dropped: which one, exposure times tell."""
    request = [dict(exposure_time_ns=frame.exposure_time_ns, iso=frame.iso) for frame in frames]
    write_text(self.folder / REQUEST, json.dumps(request, indent=2) + "\n")
    found = [frame for frame in self._wait_for(len(frames), timeout_ns / NS_PER_S) if frame is not None]
    (self.folder / REQUEST).unlink(missing_ok=True)
    return in_order_of(frames, found)

  def _wait_for(self, count, timeout_s) -> list[RawFrame | None]:
    """The next files, None of those that did not come."""
    frames, end_s = [], self.clock() + timeout_s
    while len(frames) < count:
      path = next(iter(self._new_files()), None)
      frame = path and self._read(path, final=self.clock() >= end_s)
      if frame:
        frames.append(frame)
      elif self.clock() >= end_s:
        break
      else:
        self.sleep(_WAIT_S)
    return frames + [None] * (count - len(frames))

  def _read(self, path, final) -> RawFrame | None:
    """The frame; None of a file that is not complete yet, and in the end of one that is none."""
    try:
      frame = read_raw(path)
    except (UnreadableRawError, OSError):
      if final:
        self._used.add(path.name)
      return None
    self._used.add(path.name)
    return frame

  def _new_files(self) -> list[pathlib.Path]:
    with os.scandir(self.folder) as entries:
      names = [entry.name for entry in entries]
    if len(names) > _MOST_FILES:
      raise CameraError(f"{self.folder} has {len(names)} files, more than {_MOST_FILES}. Give an empty one.")
    fresh = sorted(name for name in names if name not in self._used and not name.startswith("."))
    return [self.folder / name for name in fresh if pathlib.Path(name).suffix.lower() in _SUFFIXES]


def in_order_of(planned: Sequence[PlannedFrame], found: Sequence[RawFrame]) -> list[TakenFrame | None]:
  """Which of fewer frames is which of a plan, by the exposure times, in order; None of those that are missing."""
  if len(found) == len(planned):
    return [TakenFrame(frame=frame) for frame in found]
  waiting, taken = list(found), []
  for frame in planned:
    fits = waiting and waiting[0].exposure_time is not None and (
        abs(waiting[0].exposure_time * NS_PER_S - frame.exposure_time_ns) <= frame.tolerance * frame.exposure_time_ns)
    taken.append(TakenFrame(frame=waiting.pop(0)) if fits else None)
  return taken
