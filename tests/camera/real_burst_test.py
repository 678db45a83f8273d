"""Frames of a camera become a burst of one brightness, or an error says which frame does not belong to it."""

import dataclasses

import numpy as np
import pytest

from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.real_burst import measured_scales, real_burst, sharpness
from tests.camera.frames import frame


def darker(factor, **changes):
  """The frame with its signal divided by a factor."""
  bright = frame()
  return dataclasses.replace(bright.with_packed(bright.packed() / factor, bright.noise), **changes)


def test_brightness_follows_exposure_time_and_iso():
  """Half of the time at the same ISO is brought to the first frame's brightness, with its noise."""
  burst = real_burst([frame(), darker(2, exposure_time=1 / 240)])
  assert burst.scales == pytest.approx([1, 2]) and burst.measured_scales == pytest.approx([1, 2], rel=1e-3)
  assert burst.noise[1] == NoiseProfile(shot_noise=6e-5, read_variance=1.2e-7)
  means = [scale * one.packed().mean() for scale, one in zip(burst.scales, burst.frames)]
  assert means[1] == pytest.approx(means[0], rel=1e-3)


def test_brightness_is_measured_where_nobody_says_the_iso():
  """Clipped parts do not count."""
  burst = real_burst([frame(iso=None), darker(3, iso=None)])
  assert burst.scales == pytest.approx([1, 3], rel=1e-3)
  clipped = frame().with_packed(np.minimum(1.5 * frame().packed(), 1), None)
  assert measured_scales([frame(), clipped])[1] == pytest.approx(1 / 1.5, rel=0.01)


def test_a_preview_is_of_the_bursts_brightness_and_camera():
  """By exposure time and ISO, with its noise; it stands before the first frame alone, and must fit the others."""
  frames, half = [frame(), darker(2, exposure_time=1 / 240)], darker(2, exposure_time=1 / 240)
  preview = real_burst(frames, preview=half).preview
  assert preview.scale == pytest.approx(2) and preview.exposure_time == pytest.approx(1 / 240)
  assert preview.noise == NoiseProfile(shot_noise=6e-5, read_variance=1.2e-7)
  blurred = frames[0].with_packed(0 * frames[0].packed() + 0.2, frames[0].noise)
  assert real_burst([blurred, frame()], reference="sharpest", preview=frame()).preview is None
  with pytest.raises(ValueError, match="different sizes"):
    real_burst(frames, preview=dataclasses.replace(frame(), mosaic=frame().mosaic[:-8]))


def test_exposure_times_can_be_given():
  """For files that do not say them; else the error shows how."""
  frames = [frame(exposure_time=None), frame(exposure_time=None)]
  assert real_burst(frames, exposure_times=[0.01, 0.01]).exposure_times == pytest.approx([0.01, 0.01])
  with pytest.raises(ValueError, match="--exposure_times=0.01,0.01"):
    real_burst(frames)
  for wrong in ([0.01], [0.01, 0.0], [0.01, -1.0], [0.01, float("nan")]):
    with pytest.raises(ValueError, match="--exposure_times"):
      real_burst(frames, exposure_times=wrong)


@pytest.mark.parametrize("other, message", [
    (frame(height=32), "sizes"), (frame(camera="Another"), "cameras"), (frame(cfa="GRBG"), "color filter"),
    (frame(orientation=6), "orientations"), (frame(iso=3200.0 * 100), "no frames of one burst")])
def test_frames_that_do_not_belong_together_are_named(other, message):
  """By their files."""
  with pytest.raises(ValueError, match=message) as error:
    real_burst([frame(), dataclasses.replace(other, source="other.dng")])
  assert "other.dng" in str(error.value)


def test_one_frame_is_no_burst():
  """Nor are a thousand."""
  for count in (0, 1, 1000):
    with pytest.raises(ValueError, match=f"got {count}"):
      real_burst([frame()] * count)


def test_the_sharpest_frame_can_be_the_reference():
  """Blur takes detail away; the order of the others stays."""
  rng = np.random.default_rng(0)
  planes = np.repeat(rng.uniform(0.1, 0.9, (16, 24, 1)), 4, -1).repeat(2, 0).repeat(2, 1)
  sharp = frame().with_packed(planes, None)
  blurred = frame().with_packed((planes + np.roll(planes, 2, 0) + np.roll(planes, 2, 1)) / 3, None)
  assert sharpness(sharp) > sharpness(blurred)
  burst = real_burst([blurred, sharp, blurred], exposure_times=[0.03, 0.01, 0.02], reference="sharpest",
                     starts_s=[0, 0.04, 0.06])
  assert burst.frames[0] is sharp and burst.exposure_times == pytest.approx([0.01, 0.03, 0.02])
  assert burst.starts_s is None  # They would run backwards.
  with pytest.raises(ValueError, match="--reference"):
    real_burst([sharp, sharp], reference="best")


def test_frames_start_one_after_the_other():
  """By the gap, or as the camera says; those that were not taken at the end."""
  frames = [frame(), frame()]
  assert real_burst(frames, gap_s=0.01).start_s(0.5, 3) == pytest.approx([0, 1 / 120 + 0.01, 2 / 120 + 0.02])
  assert real_burst(frames).start_s(0.5, 2)[1] == pytest.approx(1 / 120 + 0.5)
  assert real_burst(frames, starts_s=[7.0, 7.25]).start_s(0.5, 2) == pytest.approx([0, 0.25])
  with pytest.raises(ValueError, match="overlap"):
    real_burst(frames, starts_s=[0.0, 0.001])
