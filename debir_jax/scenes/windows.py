"""Which windows of a clip, and which crops of its frames, are the sequences of a data set: the paper's arithmetic.

A clip of N subframes has the windows k = 0 .. floor(N / 179) - 2, which begin 179 subframes after each other: the last
that would fit is left out, so that 358 subframes follow every start. "release" takes these starts as they are, as the
authors' code does. "captured" moves each back to where the instant that is restored, 80 subframes into the window, is a
captured frame: a multiple of 8 in clips of 240 frames per second. Both have the same counts there.

Crops are squares side by side in the middle of the frame: `rows` times `columns` of them.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

from debir_jax.scenes.clips import WINDOW_STRIDE
from debir_jax.scenes.source import CROP_MULTIPLE

STARTS = ("captured", "release")
_TARGET = 80  # Subframes from the start of a window to the instant that is restored, in the paper's timing.
_FURTHEST_BACK = 240  # Subframes that a start may be moved: an eighth of a second, the interval at 8 frames per second.


@dataclasses.dataclass(frozen=True)
class Layout:
  """The sequences that are cut from a recording.

  Attributes:
    num_subframes: of a sequence, at most twice the stride of the windows.
    rows, columns: of crops; 0: whole frames.
    crop_size: side of a crop, px.
    starts: see the module.
  """

  num_subframes: int
  rows: int
  columns: int
  crop_size: int
  starts: str = "captured"

  def __post_init__(self):
    if self.starts not in STARTS:
      raise ValueError(f"starts={self.starts!r}; choose one of {', '.join(map(repr, STARTS))}.")
    if not 1 <= self.num_subframes <= 2 * WINDOW_STRIDE:
      raise ValueError(f"Sequences have 1 to {2 * WINDOW_STRIDE} subframes, but {self.num_subframes} are asked for.")
    if self.crop_size < CROP_MULTIPLE or self.crop_size % CROP_MULTIPLE:
      raise ValueError(f"--crop_size={self.crop_size} must be a positive multiple of {CROP_MULTIPLE} px.")

  def crops(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of the crops of a frame (height, width), at even places.

    Raises:
      ValueError: the frame is too small.
    """
    height, width = size
    if not self.rows:
      sides = [side // CROP_MULTIPLE * CROP_MULTIPLE for side in size]
      return [(*((whole - side) // 4 * 2 for whole, side in zip(size, sides)), *sides)]
    side, block = self.crop_size, (self.rows * self.crop_size, self.columns * self.crop_size)
    if block[0] > height or block[1] > width:
      raise ValueError(f"Frames of {height}x{width} px do not hold {self.rows}x{self.columns} crops of {side} px. "
                       "Choose a smaller --crop_size.")
    top, left = ((whole - part) // 4 * 2 for whole, part in zip(size, block))
    return [(top + row * side, left + column * side, side, side)
            for row in range(self.rows) for column in range(self.columns)]


def num_windows(num_subframes: int) -> int:
  """Windows of a clip without gaps."""
  return max(num_subframes // WINDOW_STRIDE - 1, 0)


def num_subframes_of(num_frames: int, factor: int) -> int:
  """Subframes of a clip after interpolation."""
  return factor * (num_frames - 1) + 1


class WindowCutter:
  """Cuts windows out of the subframes of one stretch as they come; holds no more of them than a window needs."""

  def __init__(self, num_subframes: int, starts: str):
    self._length, self._starts = num_subframes, starts
    self._kept, self._captured, self._window = {}, [], 0

  def add(self, index: int, entry: Any, is_captured: bool) -> Iterator[tuple[int, list[Any]]]:
    """(start, entries) of the windows that this subframe completes.

    Args:
      index: 0, 1, 2 ... of the subframe.
      entry: what stands for it.
      is_captured: see `subframes`.
    """
    self._kept[index] = entry
    if is_captured:
      self._captured.append(index)
    while index + 1 >= WINDOW_STRIDE * (self._window + 2):
      start = self._start()
      if start is not None and start + self._length > index + 1:
        return  # Moved forward, so that it ends later.
      if start is not None:
        yield start, [self._kept[place] for place in range(start, start + self._length)]
      self._window += 1
      self._forget(WINDOW_STRIDE * self._window - _FURTHEST_BACK)

  def _start(self) -> int | None:
    nominal = WINDOW_STRIDE * self._window
    if self._starts == "release":
      return nominal
    targets = [place for place in self._captured if place >= _TARGET]
    before = [place for place in targets if nominal + _TARGET - _FURTHEST_BACK < place <= nominal + _TARGET]
    if before:
      return before[-1] - _TARGET
    return targets[0] - _TARGET if targets and targets[0] - _TARGET < WINDOW_STRIDE and not self._window else None

  def _forget(self, first) -> None:
    for place in [place for place in self._kept if place < first]:
      del self._kept[place]
    self._captured = [place for place in self._captured if place >= first]
