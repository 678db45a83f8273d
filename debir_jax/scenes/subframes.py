"""From frames of any rate to subframes, 1920 per second: each captured frame at its instant, others interpolated.

A captured frame goes to the nearest 1/1920 s, so that a rate that varies, or that 1920 is no multiple of, is kept to
half a subframe. Where frames are missing a new stretch begins: nothing is interpolated over a gap.
"""

from collections.abc import Callable, Iterator
import dataclasses

import numpy as np

from debir_jax.scenes.recordings import Frames
from debir_jax.types import SUBFRAME_RATE_HZ

Between = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # See `interpolate.interpolate_pair`.
_LARGEST_STEP = 1.5  # Relative to the usual one; frames further apart are not neighbours.


@dataclasses.dataclass(frozen=True)
class Subframe:
  """One entry of the 1920 per second.

  Attributes:
    stretch: number of the stretch without gaps that it belongs to.
    index: within the stretch.
    pixels: sRGB `[H, W, 3]`, uint8 or uint16.
    is_captured: a camera took it.
  """

  stretch: int
  index: int
  pixels: np.ndarray
  is_captured: bool


def subframes(frames: Frames, rate_hz: float, between: Between) -> Iterator[Subframe]:
  """All subframes of a recording, in order, holding two of its frames at a time.

  Args:
    frames: see `recordings`.
    rate_hz: the usual number of frames per second.
    between: makes the frames strictly between two, `[factor - 1, H, W, 3]` in [0, 1], of two in [0, 1] and a factor.
  """
  largest = _LARGEST_STEP * SUBFRAME_RATE_HZ / rate_hz
  stretch, origin, last, before = 0, None, None, None
  for time_s, pixels, is_captured in frames:
    slot = round(time_s * SUBFRAME_RATE_HZ)
    if last is not None and slot <= last:
      continue  # Two frames within one subframe.
    if last is None or slot - last > max(largest, 1):
      stretch, origin = stretch + (last is not None), slot
    else:
      for step, filled in enumerate(_filled(before, pixels, slot - last, between), 1):
        yield Subframe(stretch, last + step - origin, filled, False)
    yield Subframe(stretch, slot - origin, pixels, is_captured)
    last, before = slot, pixels


def _filled(first, second, factor, between) -> Iterator[np.ndarray]:
  if factor == 1:
    return
  white = np.iinfo(first.dtype).max
  for frame in between(*(np.float32(pixels) / white for pixels in (first, second)), factor):
    yield np.round(white * frame).astype(first.dtype)
