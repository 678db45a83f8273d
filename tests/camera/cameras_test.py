"""A burst is taken as planned, or taken again, or its frames are left out: never restored as if they were right."""

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.camera.cameras import CameraError, take_burst
from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.plan import CapturePlan, Expectations, plan_frames
from debir_jax.camera.simulated_camera import SimulatedCamera
from debir_jax.simulator import PoissonGaussianNoise
from debir_jax.types import BurstTiming, CameraColor, Scene

_TIMING = BurstTiming.paper()


@pytest.fixture
def plan():
  """Four frames of one brightness."""
  limits = CameraLimits(name="debir_jax simulated")
  frames = plan_frames((8 / 1920, 0.0125, 0.02, 0.028), 100 * 700 / 120, limits,
                       Expectations(speed_px_s=0.0, noise_std=lambda iso: 0.01), 10**9)
  return CapturePlan(frames=frames, limits=limits, budget_ns=10**9, timeout_ns=10**9, policy="bracket",
                     preview_gain=700.0, mean_flow_px=0.0)


def camera(**faults):
  """In front of a grey wall, with little noise."""
  radiance = jnp.full((_TIMING.num_subframes(0.07), 8, 8, 4), 0.25)
  scene = Scene(radiance=radiance, color=CameraColor.neutral(), scene_id=jnp.int32(0))
  return SimulatedCamera(scene=scene, timing=_TIMING, noise_model=PoissonGaussianNoise(1e-9, 1e-13), **faults)


def test_a_burst_is_taken_as_planned(plan):
  """With the settings of every frame in the plan, all frames of one brightness, one after the other."""
  with camera() as device:
    capture = take_burst(device, plan)
  assert (capture.num_retakes, capture.notes, len(capture.frames)) == (0, (), 4)
  for frame, planned in zip(capture.frames, capture.plan.frames):
    assert planned.fits(planned.actual)
    np.testing.assert_allclose(frame.packed().mean(), 0.25, atol=2e-3)
  starts = [frame.actual.start_ns for frame in capture.plan.frames]
  ends = [start + frame.exposure_time_ns for start, frame in zip(starts, capture.plan.frames)]
  gap = capture.plan.limits.frame_gap_ns
  assert np.diff(starts).min() > 0 and np.allclose(np.array(starts[1:]) - ends[:-1], gap, atol=1000)


@pytest.mark.parametrize("fault", ["drop", "late", "wrong"])
def test_a_fault_is_noticed_and_the_burst_taken_again(plan, fault):
  """A dropped frame, one with the settings of the frame before, one of half the exposure time."""
  capture = take_burst(camera(faults={(0, 2): fault}), plan)
  assert capture.num_retakes == 1 and len(capture.frames) == 4 and "Frame 2" in capture.notes[0]


def test_a_frame_that_always_fails_is_left_out(plan):
  """Its settings stay unknown; the others are restored without it."""
  capture = take_burst(camera(faults={(burst, 2): "wrong" for burst in range(9)}), plan)
  assert capture.num_retakes == 2 and len(capture.frames) == 3 and len(capture.notes) == 3
  assert [frame.actual is None for frame in capture.plan.frames] == [False, False, True, False]
  assert [frame.exposure_time for frame in capture.frames] == pytest.approx(
      [frame.actual.exposure_time_ns / 1e9 for frame in capture.plan.frames if frame.actual])


def test_a_burst_without_its_first_frame_is_none(plan):
  """What is to be restored is missing: an error with what was seen."""
  with pytest.raises(CameraError, match="Frame 0 was dropped"):
    take_burst(camera(faults={(burst, 0): "drop" for burst in range(9)}), plan)


def test_previews_say_how_they_were_taken():
  """And are of the scene's brightness."""
  first, second = camera().previews()
  assert (second.exposure_time, second.iso) == (_TIMING.preview_exposure_s, 70000)
  np.testing.assert_allclose(first.packed().mean(), 0.25, atol=2e-3)
