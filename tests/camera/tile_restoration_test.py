"""Tiles of a real burst: as one image, of what the frames show, and within any size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.camera import tile_restoration
from debir_jax.camera.coarse_motion import CoarseMotion, find_coarse_motion, no_motion
from debir_jax.camera.noise_profile import FrameNoise, NoiseProfile
from debir_jax.camera.real_burst import real_burst
from debir_jax.camera.tile_restoration import ShiftedMotion, path_at, restore_burst
from debir_jax.motion import MotionEstimator
from debir_jax.restoration import RestorerInputs
from debir_jax.simulator import IsoNoise
from debir_jax.types import BurstTiming, SampledMotion
from debir_jax.weights.model import Debir
from tests.camera.coarse_motion_test import scene, seen


@dataclasses.dataclass(frozen=True)
class Toy:
  """A restorer that returns its first frame, or the mean of all of them."""

  mean: bool = False

  def apply(self, variables, frames):
    return jnp.mean(frames[..., :4], -4) if self.mean else frames[..., 0, :, :, :4]


def model(restorer, **inputs):
  """Networks for four frames."""
  return Debir(restorer=restorer, restorer_variables={}, restorer_inputs=RestorerInputs(**inputs), policy=None,
               motion=MotionEstimator(), timing=BurstTiming.paper(), noise_model=IsoNoise(), description={})


def noise(count=4):
  return FrameNoise.of_frames([NoiseProfile(shot_noise=1e-4, read_variance=1e-6)] * count)


def burst_of(shifts, height=90, width=122):
  """Frames of a scene, shifted so much (x, y) from the first."""
  image = scene(300, 340)
  return real_burst([seen(image, 60 - y, 60 - x, height, width) for x, y in shifts])


@pytest.mark.parametrize("tile_size", [16, 64, 512])
def test_tiles_are_one_image(tile_size):
  """Weights sum to 1, also where tiles do not fit the sides: a restorer that changes nothing changes nothing."""
  burst = burst_of([(0, 0)] * 4)
  image = restore_burst(model(Toy()), burst, noise(), no_motion(4), tile_size=tile_size)
  np.testing.assert_allclose(image, burst.frames[0].packed(), atol=1e-6)


def test_tiles_are_cut_where_the_frames_show_them():
  """Frames 20 px apart: their mean is the reference to half a px, where all of them see it."""
  burst = burst_of([(0, 0), (20, -8), (-14, 12), (9, 17)])
  coarse = find_coarse_motion(burst.frames, burst.scales)
  inside = (slice(24, -24), slice(26, -26))
  error = {name: np.abs(restore_burst(model(Toy(mean=True)), burst, noise(), motion, tile_size=32)
                        - burst.frames[0].packed())[inside].mean()
           for name, motion in (("coarse", coarse), ("none", no_motion(4)))}
  assert error["coarse"] < 0.25 * error["none"]


def test_a_frame_that_is_missing_counts_for_nothing():
  """With a mask the restorer knows; one that does not know refuses."""
  burst = burst_of([(0, 0)] * 3)
  image = restore_burst(model(Toy(mean=True), frame_mask=True), burst, noise(), no_motion(3), tile_size=32)
  np.testing.assert_allclose(image, burst.frames[0].packed(), atol=1e-6)
  with pytest.raises(ValueError, match="bursts of 4 frames, got 3"):
    restore_burst(model(Toy()), burst, noise(), no_motion(3))


@pytest.mark.parametrize("known_noise", [True, False])
def test_motion_is_searched_in_the_preview_too(monkeypatch, known_noise):
  """It lies a gap and its exposure before the burst, with its own noise or what follows from its gain, and is moved
  back along the coarse motion, as the frames are."""
  image, seen_previews = scene(300, 340), []
  frames = [seen(image, 60, 60 - x, 64, 64) for x in (0, 8, 16, 24)]
  known = NoiseProfile(shot_noise=3e-4, read_variance=2e-5) if known_noise else None
  preview = dataclasses.replace(seen(image, 60, 66, 64, 64), exposure_time=2 * frames[0].exposure_time,
                                iso=frames[0].iso / 2, noise=known)
  time = frames[0].exposure_time
  burst = real_burst(frames, preview=preview, gap_s=time)

  def found(burst):
    seen_previews.append(burst.preview)
    return SampledMotion(flow_px=jnp.zeros((2, 64, 64, 2)), interval_s=1.0)

  inputs_of_tile = tile_restoration._inputs_of_tile.__wrapped__
  monkeypatch.setattr(tile_restoration, "_inputs_of_tile",
                      lambda options, tile: inputs_of_tile(options, jax.tree.map(jnp.asarray, tile)))
  monkeypatch.setattr(tile_restoration, "found_motion", found)
  coarse = CoarseMotion(flows=np.stack([np.full((1, 1, 2), (x, 0.0), np.float32) for x in (0, 8, 16, 24)]), factor=64)
  restore_burst(model(Toy(), aligned=True), burst, noise(), coarse, tile_size=64, choose=False)
  found_preview, = seen_previews
  assert found_preview.start_s == pytest.approx(-3 * time, abs=1e-7)
  # From the middle of its exposure to the start of the burst things move by 8 px / 2 time * 2 time. It shows them 6 px
  # behind, so it ends up where they are 2 px ahead.
  expected = seen(image, 60, 58, 64, 64).packed()
  inside = (slice(12, -12), slice(24, -24))
  assert np.abs(found_preview.raw - expected)[inside].mean() < 0.01 * np.abs(preview.packed() - expected)[inside].mean()
  own, first = (float(jnp.ravel(each.variance(0.2, 1.0))[0]) for each in (found_preview.noise_model, noise()))
  if known_noise:
    assert own == pytest.approx(known.std_at(0.2) ** 2, rel=1e-5)
  else:
    assert own == pytest.approx(first / 2, rel=0.1)


def test_what_does_not_fit_the_networks_is_refused():
  """No restorer, too many frames, tiles that cannot be."""
  four, five = burst_of([(0, 0)] * 4, 20, 20), burst_of([(0, 0)] * 5, 20, 20)
  with pytest.raises(ValueError, match="no restorer"):
    restore_burst(model(None), four, noise(), no_motion(4))
  with pytest.raises(ValueError, match="bursts of 4 frames, got 5"):
    restore_burst(model(Toy()), five, noise(5), no_motion(5))
  for size in (0, 4, 30, -8):
    with pytest.raises(ValueError, match="--tile_size"):
      restore_burst(model(Toy()), four, noise(), no_motion(4), tile_size=size)


def test_a_path_goes_through_its_knots_in_straight_lines():
  """And on beyond them."""
  knots, shifts = jnp.array([1.0, 2.0, 4.0]), jnp.array([[0.0, 0.0], [2.0, -1.0], [2.0, 3.0]])
  np.testing.assert_allclose(path_at(knots, shifts, knots), shifts, atol=1e-6)
  np.testing.assert_allclose(path_at(knots, shifts, jnp.array([0.0, 1.5, 3.0, 5.0])),
                             [[-2, 1], [1, -0.5], [2, 1], [2, 5]], atol=1e-6)


def test_shifted_frames_are_read_along_path_and_rest():
  """From the instant that is restored, less what their cuts were shifted by; blur is that of the path too."""
  class Still:
    def at(self, times_s):
      return jnp.zeros((len(times_s), 2, 2, 2))

  motion = ShiftedMotion(middle_s=jnp.array([1.0, 3.0]), shifts=jnp.array([[0.0, 0.0], [4.0, 0.0]]),
                         cuts=jnp.array([[0.0, 0.0], [4.0, 0.0]]), rest=Still())
  np.testing.assert_allclose(motion.at(jnp.array([1.0, 3.0]))[:, 0, 0], [[2, 0], [2, 0]])
  np.testing.assert_allclose((motion.at(jnp.array([2.0, 4.0])) - motion.at(jnp.array([0.0, 2.0])))[:, 0, 0],
                             [[4, 0], [4, 0]])


def test_restoring_traces_once_for_all_tiles():
  """One program, whatever the number of tiles."""
  traced = []

  @dataclasses.dataclass(frozen=True)
  class Counting(Toy):
    def apply(self, variables, frames):
      traced.append(frames.shape)
      return super().apply(variables, frames)

  restore_burst(model(Counting()), burst_of([(0, 0)] * 4), noise(), no_motion(4), tile_size=16)
  assert len(traced) == 1
