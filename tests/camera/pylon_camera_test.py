"""Basler cameras, by pylon's own emulation of one, whose images the simulator writes before each trigger.

Needs the extra `pylon`; skips without it.
"""

import os

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.camera.cameras import take_burst
from debir_jax.camera.pylon_camera import PylonCamera, gain_db
from debir_jax.imaging import unpack
from debir_jax.simulator import PoissonGaussianNoise, add_noise
from tests.camera.plan_test import some_plan

_SIGNAL = np.linspace(0.05, 0.7, 32)[None, :, None] * np.ones((24, 1, 4))  # `[24, 32, 4]`, at the plan's brightness.
_BRIGHTNESS = 25600 / 120  # Of `some_plan`, s x ISO.


@pytest.fixture
def emulation(monkeypatch, tmp_path):
  """A camera that sees a ramp under the settings that it is given."""
  pytest.importorskip("pypylon")
  monkeypatch.setitem(os.environ, "PYLON_CAMEMU", "1")
  camera = PylonCamera(before_trigger=lambda *settings: show(tmp_path, *settings))
  with camera:
    device = camera._device
    device.Width.Value, device.Height.Value = 64, 48
    device.TestImageSelector.Value, device.ImageFileMode.Value = "Off", "On"
    show(tmp_path, device, 10**6, 100.0)
    device.ImageFilename.Value = str(tmp_path)
    yield camera


def show(folder, device, exposure_ns, iso):
  """Writes what the sensor sees under these settings, for the next trigger."""
  del device
  signal = _SIGNAL * exposure_ns / 1e9 * iso / _BRIGHTNESS
  noisy = add_noise(jax.random.key(exposure_ns % 2**31), jnp.asarray(signal, jnp.float32), iso / 100,
                    PoissonGaussianNoise(1e-7, 1e-11))
  counts = np.clip(np.rint(np.asarray(unpack(noisy)) * 255), 0, 255).astype(np.uint8)
  cv2.imwrite(str(folder / "frame.png"), np.repeat(counts[..., None], 3, -1))


def test_a_plan_is_taken_frame_by_frame(emulation):
  """With exposure times and gains as the camera reads them back, each frame of the plan's brightness."""
  plan = some_plan(row_time_ns=1000, isos=(100, 25000))
  capture = take_burst(emulation, plan)
  assert capture.num_retakes == 0 and len(capture.frames) == 4
  for frame, planned in zip(capture.frames, plan.frames):
    assert frame.exposure_time == pytest.approx(planned.exposure_time_ns / 1e9, abs=2e-6)
    assert frame.iso == pytest.approx(planned.iso, rel=0.01)
    np.testing.assert_allclose(planned.digital_gain * frame.packed().mean((0, 2)), _SIGNAL[0, :, 0], atol=0.01)


def test_a_failed_buffer_is_noticed_and_the_burst_taken_again(emulation):
  """pylon's ForceFailedBuffer: the frame is dropped, the next try is whole."""
  emulation._device.ForceFailedBufferCount.Value = 1
  emulation._device.ForceFailedBuffer.Execute()
  capture = take_burst(emulation, some_plan(row_time_ns=1000, isos=(100, 25000)))
  assert capture.num_retakes == 1 and len(capture.frames) == 4 and "dropped" in capture.notes[0]


def test_limits_are_the_cameras(emulation):
  """Exposure times from 1 us to 10 s in steps of 0.1 us, 48 dB of gain; previews are alike."""
  limits = emulation.limits
  assert (limits.shortest_ns, limits.longest_ns, limits.row_time_ns) == (1000, 10**10, 100)
  assert limits.isos == (100, 25119)
  first, second = emulation.previews()
  assert first.exposure_time == second.exposure_time and first.size == (24, 32)


def test_gain_is_twenty_decibels_for_ten_times_the_iso():
  """As EMVA has it, of amplitudes."""
  assert gain_db(1000, 100) == pytest.approx(20) and gain_db(100, 100) == 0


def test_without_the_extra_the_error_names_it(monkeypatch):
  """The default install has no pypylon."""
  import sys
  monkeypatch.setitem(sys.modules, "pypylon", None)
  with pytest.raises(ImportError, match=r"\[pylon\]"):
    PylonCamera().__enter__()
