"""What a camera is to this package, and how a plan is taken by one: checked frame by frame, and again where it failed.

Cameras answer late, drop frames and take other values than they were asked for. So a frame counts only by what the
camera says that it did: what does not fit its plan is taken again, and in the end left out.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

from debir_jax.camera.limits import NS_PER_S, CameraLimits
from debir_jax.camera.plan import ActualSettings, CapturePlan, PlannedFrame
from debir_jax.camera.raw_frame import RawFrame


class CameraError(RuntimeError):
  """A camera did not deliver; the message says what, and the way on."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TakenFrame:
  """A frame as a camera delivers it.

  Attributes:
    frame: its pixels; exposure time and ISO are those that the camera says it used.
    start_ns: of its exposure, on the camera's clock; None where it does not say.
  """

  frame: RawFrame
  start_ns: int | None = None


class Camera(Protocol):
  """Previews, limits, and frames by plan. A camera is a context: it is closed behind `with`."""

  limits: CameraLimits

  def previews(self) -> tuple[RawFrame, RawFrame]:
    """Two frames of one exposure time and ISO, the earlier one first."""

  def take(self, frames: Sequence[PlannedFrame], timeout_ns: int) -> list[TakenFrame | None]:
    """Takes these frames one after the other; None where one was dropped.

    Raises:
      CameraError: the camera failed, or is not there by the timeout.
    """


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
  """What became of a plan.

  Attributes:
    plan: with the actual settings of every frame; None of those that failed.
    frames: that were taken as planned, in the plan's order.
    num_retakes: how often the burst was taken again.
    notes: what went wrong, a sentence each.
  """

  plan: CapturePlan
  frames: tuple[RawFrame, ...]
  num_retakes: int
  notes: tuple[str, ...]


def take_burst(camera: Camera, plan: CapturePlan, *, max_retakes: int = 2) -> Capture:
  """Takes a burst; the best of several tries, where a frame is missing or is not as planned.

  The whole burst is taken again, since frames of two bursts do not show one motion.

  Raises:
    CameraError: the camera failed, or no try has two frames with the first among them.
  """
  best, notes = None, []
  for attempt in range(max_retakes + 1):
    taken = camera.take(plan.frames, plan.timeout_ns)
    if len(taken) != len(plan.frames):
      raise CameraError(f"The camera delivered {len(taken)} frames for a plan of {len(plan.frames)}.")
    checked = [_checked(number, planned, frame, notes)
               for number, (planned, frame) in enumerate(zip(plan.frames, taken))]
    if best is None or _rank(checked) > _rank(best):
      best = checked
    if all(checked):
      break
  usable = [taken for taken in best if taken]
  if best[0] is None or len(usable) < min(2, len(plan.frames)):
    raise CameraError(f"In {attempt + 1} tries the camera took no burst that can be restored: {notes[-1]} Check its "
                      "connection and light, or plan with its limits (--camera).")
  settings = [taken and _settings(taken) for taken in best]
  return Capture(plan=plan.with_actual(settings), frames=tuple(taken.frame for taken in usable), num_retakes=attempt,
                 notes=tuple(notes))


def capture_starts_s(plan: CapturePlan) -> list[float]:
  """Starts of the frames that were taken, s after the first one: as the camera says, else by the plan's durations.

  Raises:
    CameraError: none was.
  """
  taken = [frame.actual for frame in plan.frames]
  if not any(taken):
    raise CameraError("No frame of the plan was taken yet: its `actual` fields are empty.")
  planned_ns = np.cumsum([0, *[frame.frame_duration_ns for frame in plan.frames[:-1]]])
  said = all(actual.start_ns is not None for actual in taken if actual)
  starts_ns = [actual.start_ns if said else planned for actual, planned in zip(taken, planned_ns.tolist()) if actual]
  return [(start - starts_ns[0]) / NS_PER_S for start in starts_ns]


def _rank(checked) -> tuple[bool, int]:
  """The first frame is what is restored; then, the more the better."""
  return checked[0] is not None, sum(taken is not None for taken in checked)


def _checked(number, planned, taken, notes) -> TakenFrame | None:
  """The frame, where it is as planned; else why not goes into the notes."""
  if taken is None:
    notes.append(f"Frame {number} was dropped.")
    return None
  if taken.frame.exposure_time is None or taken.frame.iso is None:
    notes.append(f"Frame {number} does not say how it was taken.")
    return None
  settings = _settings(taken)
  if not planned.fits(settings):
    notes.append(f"Frame {number} was taken with {settings.exposure_time_ns / 1e6:.3f} ms at ISO {settings.iso:g}, not "
                 f"with {planned.exposure_time_ns / 1e6:.3f} ms at ISO {planned.iso}.")
    return None
  return taken


def _settings(taken) -> ActualSettings:
  return ActualSettings(exposure_time_ns=max(1, round(taken.frame.exposure_time * NS_PER_S)), iso=taken.frame.iso,
                        start_ns=taken.start_ns)
