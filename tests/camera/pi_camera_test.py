"""The Raspberry Pi's camera against a stand-in whose settings land late, as picamera2's do. Not run on hardware."""

import numpy as np
import pytest

from debir_jax.camera.cameras import CameraError, take_burst
from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.pi_camera import PiCamera, raw_frame_of
from debir_jax.camera.plan import CapturePlan
from tests.camera.plan_test import some_plan

_LIMITS = CameraLimits(name="Pi", sync_latency_frames=4, warmup_frames=3, isos=(100, 12800))


class StandIn:
  """What of Picamera2 is used: settings come into force `latency` frames after they were set."""

  sensor_modes = [dict(size=(8, 8), format="SBGGR10"), dict(size=(24, 16), format="SBGGR12")]

  def __init__(self, latency=4, broken=False):
    self._waiting, self._settings = [], dict(ExposureTime=1, AnalogueGain=1.0)
    self._latency, self._broken = latency, broken
    self.num_frames = self.num_held = 0

  def create_still_configuration(self, raw, buffer_count):
    return raw

  def configure(self, configuration):
    assert configuration["size"] == (24, 16)

  def start(self):
    self.running = True

  def stop(self):
    self.running = False

  def set_controls(self, controls):
    self._waiting.append((self.num_frames + self._latency, controls))

  def capture_request(self):
    assert self.running
    self.num_frames += 1
    self.num_held += 1
    while self._waiting and self._waiting[0][0] <= self.num_frames:
      landed = self._waiting.pop(0)[1]
      self._settings |= {} if self._broken else landed
    return Request(self, dict(self._settings, SensorTimestamp=10**9 + self.num_frames * 40_000_000,
                              ColourGains=(2.0, 1.5), SensorBlackLevels=(4096,) * 4))


class Request:
  def __init__(self, device, metadata):
    self._device, self._metadata = device, metadata

  def get_metadata(self):
    return self._metadata

  def make_array(self, name):
    assert name == "raw"
    return np.full((16, 24), 1000, np.uint16).view(np.uint8)

  def release(self):
    self._device.num_held -= 1


@pytest.fixture
def plan():
  return some_plan(**{key: getattr(_LIMITS, key) for key in ("isos", "sync_latency_frames")})


def test_only_frames_with_their_own_settings_are_taken(plan: CapturePlan):
  """However late settings land; every request is given back."""
  device = StandIn()
  with PiCamera(device=device, limits=_LIMITS) as camera:
    assert [preview.iso for preview in camera.previews()] == [1600, 1600]
    capture = take_burst(camera, plan)
  assert capture.num_retakes == 0 and [frame.exposure_time for frame in capture.frames] == pytest.approx(
      plan.exposure_times, abs=1e-6)
  assert device.num_held == 0 and not device.running
  starts = [frame.actual.start_ns for frame in capture.plan.frames]
  assert starts == sorted(starts)


def test_settings_that_never_land_are_noticed(plan):
  """A camera that keeps its own: an error, no frame."""
  with PiCamera(device=StandIn(broken=True), limits=_LIMITS) as camera:
    with pytest.raises(CameraError, match="settings"):
      camera.previews()
    with pytest.raises(CameraError, match="dropped"):
      take_burst(camera, plan, max_retakes=0)


def test_raw_arrays_become_rggb():
  """Levels of 12 bits, colors and the first red; other formats are refused."""
  counts = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24)
  metadata = dict(ColourGains=(2.0, 1.5), SensorBlackLevels=(4096,) * 4)
  frame = raw_frame_of(counts.view(np.uint8), metadata, "SBGGR12", "Pi")
  np.testing.assert_array_equal(frame.mosaic, counts[1:15, 1:23])
  assert (frame.black_levels, frame.white_level, frame.white_balance) == ((256.0,) * 4, 4095, (2.0, 1.0, 1.5))
  for wrong in ("YUV420", "SRGGB", "R8"):
    with pytest.raises(CameraError, match="Raw format"):
      raw_frame_of(counts, {}, wrong, "Pi")


def test_without_picamera2_the_error_says_how_to_get_it(monkeypatch):
  """It comes with the system of the Pi."""
  import sys
  monkeypatch.setitem(sys.modules, "picamera2", None)
  with pytest.raises(ImportError, match="apt install"):
    PiCamera().__enter__()
