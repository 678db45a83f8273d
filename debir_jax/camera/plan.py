"""A capture plan: the burst that metering asks a camera for, and what the camera then did.

JSON with a schema (docs/capture_plan.schema.json) and a version. Times are integers of nanoseconds. Whoever takes the
burst fills in `actual` of every frame; restoring goes by that, never by what was requested.
"""

from collections.abc import Sequence
import dataclasses
import math
import os
from typing import Any

from debir_jax.camera.limits import MOST_NS, NS_PER_S, CameraLimits, limits_of_json
from debir_jax.runtime.files import local_path, read_json

SCHEMA = "debir_jax/capture-plan"
VERSION = 1
MOST_FRAMES = 64
_MOST_BYTES = 2**20
_TOLERANCE = 0.02  # Relative, of exposure time and ISO, where the steps of the camera are finer.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActualSettings:
  """How a frame was taken.

  Attributes:
    exposure_time_ns, iso: of the frame.
    start_ns: of its exposure, on the camera's clock; None where it does not say.
  """

  exposure_time_ns: int
  iso: float
  start_ns: int | None = None

  def __post_init__(self):
    _check_int("exposure_time_ns", self.exposure_time_ns, 1)
    _check_number("iso", self.iso, above=0)
    if self.start_ns is not None:
      _check_int("start_ns", self.start_ns, 0, most=2**63)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedFrame:
  """One frame.

  Attributes:
    requested_exposure_ns, requested_iso: what metering wants.
    exposure_time_ns, iso: what the camera can do; `iso` is amplified by the sensor.
    digital_gain: what is left to multiply by.
    flicker_safe: whether the light's flicker, if any, falls out.
    frame_duration_ns: from the start of the frame to that of the next.
    tolerance: relative, of exposure time and of ISO: a frame that differs by more is another one.
    expected_blur_px: packed px, at the speed between the previews.
    expected_noise_db: of the noise's standard deviation at the preview's mean, relative to white.
    actual: None until the frame is taken, or where it failed.
  """

  requested_exposure_ns: int
  requested_iso: float
  exposure_time_ns: int
  iso: int
  digital_gain: float
  flicker_safe: bool
  frame_duration_ns: int
  tolerance: float
  expected_blur_px: float
  expected_noise_db: float
  actual: ActualSettings | None = None

  def __post_init__(self):
    for name in ("requested_exposure_ns", "exposure_time_ns", "iso", "frame_duration_ns"):
      _check_int(name, getattr(self, name), 1)
    for name in ("requested_iso", "digital_gain", "tolerance"):
      _check_number(name, getattr(self, name), above=0)
    _check_number("expected_blur_px", self.expected_blur_px, above=-1e-9)
    _check_number("expected_noise_db", self.expected_noise_db)
    if not isinstance(self.flicker_safe, bool):
      raise ValueError(f"flicker_safe must be true or false, got {self.flicker_safe!r}.")

  def fits(self, actual: ActualSettings) -> bool:
    """Whether a frame is the one that was planned."""
    near = lambda value, wanted: abs(value - wanted) <= self.tolerance * wanted
    return near(actual.exposure_time_ns, self.exposure_time_ns) and near(actual.iso, self.iso)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapturePlan:
  """A burst.

  Attributes:
    frames: in the order in which they are taken.
    limits: of the camera that it is for.
    budget_ns: of all exposure times together.
    timeout_ns: after which a camera that has not delivered is given up.
    policy: that chose the exposure times.
    preview_gain: linear, as the policy was told.
    mean_flow_px: between the previews, packed px.
  """

  frames: tuple[PlannedFrame, ...]
  limits: CameraLimits
  budget_ns: int
  timeout_ns: int
  policy: str
  preview_gain: float
  mean_flow_px: float

  def __post_init__(self):
    if not 1 <= len(self.frames) <= MOST_FRAMES:
      raise ValueError(f"A plan has 1 to {MOST_FRAMES} frames, got {len(self.frames)}.")
    _check_int("budget_ns", self.budget_ns, 1)
    _check_int("timeout_ns", self.timeout_ns, 1)
    _check_number("preview_gain", self.preview_gain, above=0)
    _check_number("mean_flow_px", self.mean_flow_px, above=-1e-9)
    if not isinstance(self.policy, str):
      raise ValueError(f"policy must be a text, got {self.policy!r}.")

  @property
  def exposure_times(self) -> tuple[float, ...]:
    """What the camera is asked for, s."""
    return tuple(frame.exposure_time_ns / NS_PER_S for frame in self.frames)

  def with_actual(self, actual: Sequence[ActualSettings | None]) -> "CapturePlan":
    """The plan after capture; None of frames that failed."""
    if len(actual) != len(self.frames):
      raise ValueError(f"The plan has {len(self.frames)} frames, but {len(actual)} were taken.")
    return dataclasses.replace(self, frames=tuple(
        dataclasses.replace(frame, actual=settings) for frame, settings in zip(self.frames, actual)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectations:
  """What is known of the scene before the burst.

  Attributes:
    speed_px_s: packed px per s.
    noise_std: standard deviation of the noise of an ISO, at the preview's mean: a function.
  """

  speed_px_s: float
  noise_std: Any


def plan_frames(exposure_times_s: Sequence[float], brightness: float, limits: CameraLimits,
                expected: Expectations, budget_ns: int) -> tuple[PlannedFrame, ...]:
  """Frames as a camera can take them, all of one brightness.

  Args:
    exposure_times_s: wanted; 0 where a frame is left out.
    brightness: exposure time, s, times ISO of the preview: that of every frame.
    limits: of the camera.
    expected: for what is told of each frame.
    budget_ns: of all exposure times: what rounding added to it is taken back, from the longest.
  """
  wanted = [time for time in exposure_times_s if time > 0]
  exposures = _within_budget([limits.nearest_exposure_ns(time * NS_PER_S) for time in wanted], limits, budget_ns)
  return tuple(_planned(time, exposure, brightness, limits, expected) for time, exposure in zip(wanted, exposures))


def plan_json(plan: CapturePlan) -> dict[str, Any]:
  """What a file holds."""
  return dict(schema=SCHEMA, version=VERSION) | dataclasses.asdict(plan)


def plan_of_json(found: Any) -> CapturePlan:
  """The inverse of `plan_json`.

  Raises:
    ValueError: for what is no plan, or one of a newer version.
  """
  if not isinstance(found, dict) or found.get("schema") != SCHEMA:
    raise ValueError("It is no capture plan. python -m debir_jax.camera.meter writes one.")
  if found.get("version") != VERSION:
    raise ValueError(f"It is of version {found.get('version')!r:.50}, this package knows {VERSION}. Update it.")
  if not isinstance(found.get("frames"), list) or len(found["frames"]) > MOST_FRAMES:
    raise ValueError(f"It has no list of 1 to {MOST_FRAMES} frames.")
  fields = {name: value for name, value in found.items() if name not in ("schema", "version")}
  frames = tuple(_built(PlannedFrame, frame | dict(actual=_actual(frame))) if isinstance(frame, dict) else
                 _no_object(PlannedFrame, frame) for frame in fields.pop("frames"))
  limits = limits_of_json(fields.pop("limits", None))
  return _built(CapturePlan, fields | dict(frames=frames, limits=limits))


def read_plan(path: str | os.PathLike) -> CapturePlan:
  """The plan of a file.

  Raises:
    ValueError: as `plan_of_json`, with the file's name.
  """
  path = local_path(path, "--plan")
  remedy = "Write it anew: python -m debir_jax.camera.meter PREVIEW1 PREVIEW2"
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"{path} is too large for a capture plan. {remedy}")
  try:
    return plan_of_json(read_json(path, remedy))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: {error}") from error


def plan_table(plan: CapturePlan) -> str:
  """For people, in Markdown."""
  rows = ["| frame | requested | exposure | ISO | digital gain | blur | noise | flicker |", "|" + 8 * "---|"]
  for number, frame in enumerate(plan.frames):
    ms = lambda ns: f"{ns / 1e6:.3f} ms"
    rows.append(f"| {number} | {ms(frame.requested_exposure_ns)}, ISO {frame.requested_iso:.0f} | "
                f"{ms(frame.exposure_time_ns)} | {frame.iso} | {frame.digital_gain:.2f} | "
                f"{frame.expected_blur_px:.1f} px | {frame.expected_noise_db:.1f} dB | "
                f"{'safe' if frame.flicker_safe else 'may flicker'} |")
  return "\n".join(rows)


def _within_budget(exposures: list[int], limits: CameraLimits, budget_ns: int) -> list[int]:
  exposures = list(exposures)
  for _ in range(10_000):
    if sum(exposures) <= budget_ns:
      break
    longest = exposures.index(max(exposures))
    shorter = limits.shorter_exposure_ns(exposures[longest])
    excess = sum(exposures) - budget_ns
    if not limits.flicker_period_ns and limits.row_time_ns < excess:  # In one step in the place of thousands.
      shorter = limits.nearest_exposure_ns(exposures[longest] - min(excess, exposures[longest] - limits.shortest_ns))
    if shorter == exposures[longest]:
      break
    exposures[longest] = shorter
  return exposures


def _planned(time_s, exposure_ns, brightness, limits, expected) -> PlannedFrame:
  wanted_iso = brightness / (exposure_ns / NS_PER_S)  # Of the time that will be, so that brightness stays.
  iso = limits.analogue_iso(wanted_iso)
  step = limits.row_time_ns / exposure_ns
  return PlannedFrame(
      requested_exposure_ns=max(1, round(time_s * NS_PER_S)), requested_iso=brightness / time_s,
      exposure_time_ns=exposure_ns, iso=iso, digital_gain=wanted_iso / iso,
      flicker_safe=limits.is_flicker_safe(exposure_ns),
      frame_duration_ns=max(limits.min_frame_duration_ns, exposure_ns + limits.frame_gap_ns),
      tolerance=min(max(_TOLERANCE, step), 0.5), expected_blur_px=expected.speed_px_s * exposure_ns / NS_PER_S,
      expected_noise_db=20 * math.log10(expected.noise_std(iso) * wanted_iso / iso))


def _actual(frame):
  actual = frame.get("actual")
  return None if actual is None else _built(ActualSettings, actual)


def _built(kind, fields):
  """An object of these very fields."""
  if not isinstance(fields, dict):
    return _no_object(kind, fields)
  names = {field.name for field in dataclasses.fields(kind)}
  required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
  if not required <= set(fields) <= names:
    raise ValueError(f"{kind.__name__} lacks {sorted(required - set(fields))} or must not have "
                     f"{str(sorted(map(str, set(fields) - names)))[:200]}.")
  return kind(**fields)


def _no_object(kind, value):
  raise ValueError(f"{kind.__name__} must be an object, got {value!r:.50}.")


def _check_int(name, value, least, most=MOST_NS):
  if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
    raise ValueError(f"{name} must be an integer from {least} to {most}, got {value!r:.50}.")


def _check_number(name, value, above=-math.inf):
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
    raise ValueError(f"{name} must be a finite number{f' above {above:g}' if above > -1 else ''}, got {value!r:.50}.")
