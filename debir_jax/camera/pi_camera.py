"""Raspberry Pi cameras through picamera2's documented interface. **Not run on hardware**: tested against a stand-in.

Settings of libcamera come into force three to four frames after they are set, and only a frame's metadata tells which
ones it has. So every setting is repeated until a frame says that it has it; frames in between are thrown away. The
frame duration is kept fixed, as libcamera otherwise changes it with the exposure time. Needs picamera2, which comes
with Raspberry Pi OS and its libcamera.
"""

from collections.abc import Sequence
import dataclasses
import time
from typing import Any

import numpy as np

from debir_jax.camera.cameras import CameraError, TakenFrame
from debir_jax.camera.limits import NS_PER_S, CameraLimits
from debir_jax.camera.plan import ActualSettings, PlannedFrame
from debir_jax.camera.raw_frame import RawFrame

_LATEST_FRAMES = 12  # After so many frames settings that are not there will not come.
_TOLERANCE = 0.02
_CORNERS = {"SRGGB": (0, 0), "SGRBG": (0, 1), "SGBRG": (1, 0), "SBGGR": (1, 1)}  # By format: where R is.


@dataclasses.dataclass(kw_only=True, eq=False)
class PiCamera:
  """A `Camera`.

  Attributes:
    device: a Picamera2; None: the first one.
    preview_exposure_ns, preview_iso: of the previews.
    limits: of the sensor; `base_iso` is that of gain 1.
  """

  device: Any = None
  preview_exposure_ns: int = 8_333_333
  preview_iso: int = 1600
  limits: CameraLimits = CameraLimits(name="Raspberry Pi camera", sync_latency_frames=4, warmup_frames=3,
                                      isos=(100, 1600))
  _started: bool = dataclasses.field(default=False, init=False)
  _format: str = dataclasses.field(default="", init=False)

  def __enter__(self):
    if self.device is None:
      self.device = _first_device()
    sensor = max(self.device.sensor_modes, key=lambda mode: mode["size"][0] * mode["size"][1])
    self._format = str(sensor["format"])
    configuration = self.device.create_still_configuration(
        raw=dict(size=sensor["size"], format=self._format), buffer_count=4)
    self.device.configure(configuration)
    self.device.set_controls(dict(AeEnable=False, AwbEnable=False))
    self.device.start()
    self._started = True
    for _ in range(self.limits.warmup_frames):
      self.device.capture_request().release()
    return self

  def __exit__(self, *_):
    if self._started:
      self.device.stop()
      self._started = False

  def previews(self) -> tuple[RawFrame, RawFrame]:
    """See `Camera.previews`."""
    wanted = ActualSettings(exposure_time_ns=self.preview_exposure_ns, iso=self.preview_iso)
    taken = [self._take_one(wanted, _TOLERANCE, time.monotonic() + 5) for _ in range(2)]
    if not all(taken):
      raise CameraError("The camera did not take the previews' settings. Check that they are within its limits.")
    return tuple(each.frame for each in taken)

  def take(self, frames: Sequence[PlannedFrame], timeout_ns: int) -> list[TakenFrame | None]:
    """See `Camera.take`."""
    end_s = time.monotonic() + timeout_ns / NS_PER_S
    wanted = [ActualSettings(exposure_time_ns=frame.exposure_time_ns, iso=frame.iso) for frame in frames]
    return [self._take_one(settings, frame.tolerance, end_s) for settings, frame in zip(wanted, frames)]

  def _take_one(self, wanted: ActualSettings, tolerance: float, end_s: float) -> TakenFrame | None:
    """The first frame with these settings; None if there is none in time."""
    duration_us = max(self.limits.min_frame_duration_ns, wanted.exposure_time_ns + self.limits.frame_gap_ns) // 1000
    for _ in range(_LATEST_FRAMES):
      if time.monotonic() > end_s:
        return None
      self.device.set_controls(dict(
          ExposureTime=wanted.exposure_time_ns // 1000, AnalogueGain=wanted.iso / self.limits.base_iso,
          FrameDurationLimits=(duration_us, duration_us)))
      request = self.device.capture_request()
      try:
        taken = self._accepted(request, wanted, tolerance)
      finally:
        request.release()
      if taken:
        return taken
    return None

  def _accepted(self, request, wanted, tolerance) -> TakenFrame | None:
    """The frame, where its metadata says that it is the one."""
    metadata = request.get_metadata()
    exposure_ns = 1000 * int(metadata["ExposureTime"])
    iso = self.limits.base_iso * float(metadata["AnalogueGain"])
    if abs(exposure_ns - wanted.exposure_time_ns) > tolerance * wanted.exposure_time_ns or (
        abs(iso - wanted.iso) > tolerance * wanted.iso):
      return None
    end_ns = int(metadata.get("SensorTimestamp", 0))  # Of the start of the readout of the first row.
    frame = raw_frame_of(request.make_array("raw"), metadata, self._format, self.limits.name)
    frame = dataclasses.replace(frame, exposure_time=exposure_ns / NS_PER_S, iso=iso)
    return TakenFrame(frame=frame, start_ns=end_ns - exposure_ns if end_ns > exposure_ns else None)


def raw_frame_of(pixels: np.ndarray, metadata: dict[str, Any], raw_format: str, name: str) -> RawFrame:
  """A frame out of picamera2's raw array, which has two bytes for each sample, and its metadata.

  Raises:
    CameraError: for a format that is no unpacked Bayer.
  """
  cfa, bits = raw_format[:5], "".join(c for c in raw_format[5:].partition("_")[0] if c.isdigit())
  if cfa not in _CORNERS or not bits:
    raise CameraError(f"Raw format {raw_format!r} is no Bayer pattern of known depth, such as SRGGB12.")
  counts = np.ascontiguousarray(pixels).view(np.uint16)
  top, left = _CORNERS[cfa]
  height, width = ((side - cut) // 2 * 2 for side, cut in zip(counts.shape, (top, left)))
  red, blue = (float(gain) for gain in metadata.get("ColourGains", (1.0, 1.0)))
  levels = [level / 2**(16 - int(bits)) for level in metadata.get("SensorBlackLevels", (0, 0, 0, 0))]  # Of 16 bits.
  return RawFrame(mosaic=np.array(counts[top:top + height, left:left + width]), black_levels=tuple(levels),
                  white_level=2**int(bits) - 1, white_balance=(red, 1.0, blue), camera=name, source=name, cfa=cfa[1:])


def _first_device():
  try:
    from picamera2 import Picamera2
  except ImportError as error:
    raise ImportError("Raspberry Pi cameras need picamera2, which comes with Raspberry Pi OS: sudo apt install "
                      "python3-picamera2") from error
  return Picamera2()
