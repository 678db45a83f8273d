"""What a camera can do, and the nearest of it to what is asked for: exposure times in row times, ISO, flicker.

Times are integers of nanoseconds, as in Android's and Basler's interfaces: what is compared for equality later must not
be rounded in between. Under light that flickers with twice the mains' frequency, frames whose exposure is a multiple of
its period are all lit alike; the ISO makes up for what such a time is longer or shorter.
"""

from collections.abc import Sequence
import dataclasses
import math
import os
from typing import Any

from debir_jax.runtime.files import local_path, read_json

NS_PER_S = 10**9
MOST_NS = 3600 * NS_PER_S  # Of any time: an hour.
_MOST_BYTES = 2**20
_MOST_ISOS = 1000
_MAINS_HZ = (0, 50, 60)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraLimits:
  """A camera's limits; the defaults are those of no camera in particular.

  Attributes:
    name: of the camera.
    min_exposure_ns, max_exposure_ns: of one frame.
    row_time_ns: exposure times are multiples of it.
    isos: that the camera amplifies by, ascending; of two, `iso_step_stops` apart, all between.
    continuous_iso: any ISO between the first and the last can be set.
    base_iso: at gain 1.
    min_frame_duration_ns: from the start of a frame to that of the next, at least.
    frame_gap_ns: from the end of an exposure to the start of the next, as the sensor is read out.
    sync_latency_frames: how many frames late settings come into force; 0: with the very frame.
    warmup_frames: to be thrown away after the stream has started.
    mains_hz: 50 or 60 where artificial light flickers with twice that, 0: none.
    handheld_ceiling_ns: longest exposure that a hand holds still enough for; 0: none.
  """

  name: str = ""
  min_exposure_ns: int = 10_000
  max_exposure_ns: int = NS_PER_S
  row_time_ns: int = 1
  isos: tuple[int, ...] = (50, 409600)
  continuous_iso: bool = True
  base_iso: int = 100
  min_frame_duration_ns: int = 0
  frame_gap_ns: int = 3_645_833  # The paper's 7/1920 s.
  sync_latency_frames: int = 0
  warmup_frames: int = 0
  mains_hz: int = 0
  handheld_ceiling_ns: int = 0

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_NS):
        raise ValueError(f"{field.name} of a camera must be an integer from 0 to {MOST_NS}, got {value!r}.")
    if not isinstance(self.name, str) or not isinstance(self.continuous_iso, bool):
      raise ValueError(f"name={self.name!r} must be a text and continuous_iso={self.continuous_iso!r} true or false.")
    if not 0 < self.min_exposure_ns <= self.max_exposure_ns or self.row_time_ns < 1:
      raise ValueError("Exposure limits must satisfy 0 < min_exposure_ns <= max_exposure_ns with row_time_ns >= 1, got "
                       f"{self.min_exposure_ns}, {self.max_exposure_ns} and {self.row_time_ns}.")
    if self.longest_ns < self.shortest_ns:
      raise ValueError(f"No multiple of row_time_ns={self.row_time_ns} lies between min_exposure_ns="
                       f"{self.min_exposure_ns} and the longest exposure, {self._ceiling_ns}.")
    _check_isos(self.isos, self.base_iso)
    if self.mains_hz not in _MAINS_HZ:
      raise ValueError(f"mains_hz={self.mains_hz} must be 50 or 60, or 0 where no light flickers.")

  @property
  def shortest_ns(self) -> int:
    """The shortest exposure time that the camera really takes."""
    return -(-self.min_exposure_ns // self.row_time_ns) * self.row_time_ns

  @property
  def longest_ns(self) -> int:
    """The longest one."""
    return self._ceiling_ns // self.row_time_ns * self.row_time_ns

  @property
  def _ceiling_ns(self) -> int:
    return min(self.max_exposure_ns, self.handheld_ceiling_ns or self.max_exposure_ns)

  @property
  def flicker_period_ns(self) -> float:
    """Of the light; 0: it does not flicker."""
    return NS_PER_S / (2 * self.mains_hz) if self.mains_hz else 0.0

  def nearest_exposure_ns(self, requested_ns: float) -> int:
    """What the camera can take that is nearest, safe from flicker where the time is long enough for that."""
    period = self.flicker_period_ns
    if period and requested_ns >= period / 2:
      most = max(1, math.floor(self.longest_ns / period))
      requested_ns = min(max(1, round(requested_ns / period)), most) * period
    return self._on_rows(requested_ns)

  def shorter_exposure_ns(self, exposure_ns: int) -> int:
    """The next shorter one of its kind: by a row, or by a period of the flicker; the same where there is none."""
    step = self.flicker_period_ns if self.flicker_period_ns and self.is_flicker_safe(exposure_ns) else self.row_time_ns
    return self._on_rows(max(exposure_ns - step, min(step, exposure_ns)))

  def is_flicker_safe(self, exposure_ns: int) -> bool:
    """Whether frames of this exposure time are lit alike: a multiple of the flicker's period, within a row's time."""
    period = self.flicker_period_ns
    if not period:
      return True
    multiple = round(exposure_ns / period)
    return multiple >= 1 and abs(exposure_ns - multiple * period) <= max(self.row_time_ns, 0.01 * period)

  def analogue_iso(self, requested_iso: float) -> int:
    """The largest ISO of the camera that is not above the requested one: what it lacks is made up for digitally, and
    nothing is clipped. The smallest one where all are above."""
    if self.continuous_iso:
      return int(min(max(math.floor(requested_iso + 0.5), self.isos[0]), self.isos[-1]))
    below = [iso for iso in self.isos if iso <= requested_iso * (1 + 1e-6)]
    return below[-1] if below else self.isos[0]

  def _on_rows(self, exposure_ns: float) -> int:
    rows = round(exposure_ns / self.row_time_ns) * self.row_time_ns
    return int(min(max(rows, self.shortest_ns), self.longest_ns))


def read_limits(path: str | os.PathLike) -> CameraLimits:
  """The limits in a JSON file: an object whose fields are those of `CameraLimits`, those that differ from the defaults.

  Raises:
    ValueError: it is damaged, has other fields, or limits that make no sense.
  """
  path = local_path(path, "--camera")
  remedy = "docs/camera.md has an example."
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"{path} is too large for a camera's limits. {remedy}")
  found = read_json(path, remedy)
  try:
    return limits_of_json(found)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def limits_of_json(found: Any) -> CameraLimits:
  """The inverse of `dataclasses.asdict`.

  Raises:
    ValueError: for what are no limits.
  """
  known = {field.name for field in dataclasses.fields(CameraLimits)}
  if not isinstance(found, dict) or not set(found) <= known:
    unknown = sorted(set(found) - known) if isinstance(found, dict) else found
    raise ValueError(f"A camera has no {unknown!r:.200}; it has {', '.join(sorted(known))}.")
  if "isos" in found:
    if not isinstance(found["isos"], (list, tuple)) or len(found["isos"]) > _MOST_ISOS:
      raise ValueError(f"isos must be a list of up to {_MOST_ISOS} integers.")
    found = found | dict(isos=tuple(found["isos"]))
  return CameraLimits(**found)


def _check_isos(isos: Sequence[int], base_iso: int):
  whole = all(isinstance(iso, int) and not isinstance(iso, bool) and 0 < iso < 10**8 for iso in isos)
  if not isos or not whole or list(isos) != sorted(set(isos)) or base_iso < 1:
    raise ValueError(f"isos={str(isos)[:200]} must be ascending positive integers, and base_iso={base_iso} one.")
