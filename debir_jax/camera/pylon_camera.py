"""Basler cameras through pypylon, and pylon's own emulation of one. Needs `pip install -e ".[pylon]"`.

Frames are taken one by one on software triggers: settings are written, the frame is triggered, and what the camera then
says of itself is what counts. The emulation (environment variable PYLON_CAMEMU=1) takes settings and delivers images
that do not react to them; tests put simulated ones in their place.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from debir_jax.camera.cameras import CameraError, TakenFrame
from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.plan import PlannedFrame
from debir_jax.camera.raw_frame import RawFrame

_FORMAT, _WHITE = "BayerRG8", 255  # What every color camera has, and the emulation too.
_PREVIEW_TIMEOUT_MS = 5000


@dataclasses.dataclass(kw_only=True, eq=False)
class PylonCamera:
  """A `Camera`.

  Attributes:
    preview_exposure_ns, preview_iso: of the previews.
    black: counts without light.
    white_balance: gains of R, G, B that make grey neutral under the light.
    before_trigger: called with exposure time, ns, and ISO before each trigger; for tests.
    limits: read from the camera when it is opened, with `base_iso` at 0 dB.
  """

  preview_exposure_ns: int = 8_333_333
  preview_iso: int = 1600
  black: int = 0
  white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
  before_trigger: Callable[[Any, int, float], None] = lambda device, exposure_ns, iso: None
  limits: CameraLimits = dataclasses.field(default=CameraLimits(), init=False)
  _device: Any = dataclasses.field(default=None, init=False)

  def __enter__(self):
    pylon = import_pylon()
    try:
      self._device = pylon.InstantCamera(pylon.TlFactory.GetInstance().CreateFirstDevice())
      self._device.Open()
      self._device.PixelFormat.Value = _FORMAT
      self._device.TriggerSelector.Value, self._device.TriggerMode.Value = "FrameStart", "On"
      self._device.TriggerSource.Value = "Software"
      self.limits = _limits_of(self._device)
    except pylon.GenericException as error:
      self.__exit__()
      raise CameraError(f"No Basler camera could be opened ({error}). Plug one in, or set PYLON_CAMEMU=1 for the "
                        "emulation.") from error
    return self

  def __exit__(self, *_):
    if self._device is not None:
      self._device.Close()
      self._device = None

  def previews(self) -> tuple[RawFrame, RawFrame]:
    """See `Camera.previews`."""
    taken = [self._take_one(self.preview_exposure_ns, self.preview_iso, _PREVIEW_TIMEOUT_MS) for _ in range(2)]
    if not all(taken):
      raise CameraError("The camera dropped a preview. Try again, or check its cable.")
    return tuple(each.frame for each in taken)

  def take(self, frames: Sequence[PlannedFrame], timeout_ns: int) -> list[TakenFrame | None]:
    """See `Camera.take`."""
    return [self._take_one(frame.exposure_time_ns, frame.iso, max(1, timeout_ns // 10**6)) for frame in frames]

  def _take_one(self, exposure_ns, iso, timeout_ms) -> TakenFrame | None:
    pylon = import_pylon()
    try:
      self._device.ExposureTime.Value = exposure_ns / 1000  # us
      self._device.Gain.Value = gain_db(iso, self.limits.base_iso)
      self.before_trigger(self._device, exposure_ns, iso)
      self._device.StartGrabbingMax(1)
      self._device.WaitForFrameTriggerReady(timeout_ms, pylon.TimeoutHandling_ThrowException)
      self._device.TriggerSoftware.Execute()
      result = self._device.RetrieveResult(timeout_ms, pylon.TimeoutHandling_Return)
      return self._taken(result) if result.IsValid() and result.GrabSucceeded() else None
    except pylon.GenericException as error:
      raise CameraError(f"The camera failed: {error}. Check its connection.") from error
    finally:
      if self._device is not None:
        self._device.StopGrabbing()

  def _taken(self, result) -> TakenFrame:
    """The frame with the settings that the camera reads back."""
    exposure_s = self._device.ExposureTime.Value / 1e6
    iso = self.limits.base_iso * 10**(self._device.Gain.Value / 20)
    pixels = np.asarray(result.Array, np.uint16)
    height, width = (side // 2 * 2 for side in pixels.shape)
    frame = RawFrame(
        mosaic=np.ascontiguousarray(pixels[:height, :width]), black_levels=(self.black,) * 4, white_level=_WHITE,
        white_balance=self.white_balance, exposure_time=exposure_s, iso=iso, camera=self.limits.name,
        source=self.limits.name)
    return TakenFrame(frame=frame, start_ns=result.TimeStamp or None)


def gain_db(iso: float, base_iso: float) -> float:
  """Basler's gain of an ISO."""
  return 20 * math.log10(iso / base_iso)


def import_pylon() -> Any:
  """The module.

  Raises:
    ImportError: it is not installed.
  """
  try:
    from pypylon import pylon
  except ImportError as error:
    raise ImportError('Basler cameras need pypylon (240 MB), which the default install leaves out: '
                      'pip install -e ".[pylon]"') from error
  return pylon


def _limits_of(device) -> CameraLimits:
  base_iso = 100
  iso_at = lambda decibel: round(base_iso * 10**(decibel / 20))
  step_ns = max(1, round(1000 * (device.ExposureTime.GetInc() if device.ExposureTime.HasInc() else 0)))
  return CameraLimits(
      name=device.GetDeviceInfo().GetModelName(), min_exposure_ns=math.ceil(1000 * device.ExposureTime.Min),
      max_exposure_ns=math.floor(1000 * device.ExposureTime.Max), row_time_ns=step_ns,
      isos=(iso_at(device.Gain.Min), iso_at(device.Gain.Max)), base_iso=base_iso)
