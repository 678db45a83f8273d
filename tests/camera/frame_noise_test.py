"""The noise of real frames is who says it first; and what networks do not know is said, with by how much."""

import dataclasses
import re

import numpy as np
import pytest

import debir_jax
from debir_jax.camera.frame_noise import doubts, model_noise, noise_of
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.real_burst import real_burst
from debir_jax.simulator import IsoNoise
from tests.camera.coarse_motion_test import scene
from tests.camera.frames import frame

_TIMES = (1 / 120,) * 4
_PROFILES = [NoiseProfile.of_model(IsoNoise(), 700.0)] * 4


@pytest.fixture(scope="module")
def model():
  """The weights inside the package: gains of 512 to 1024, clipped at black."""
  return debir_jax.load()


def taken(gain, level=1.0, times=_TIMES, profile=False, seed=0):
  """A burst of a scene under the noise of training at a gain."""
  rng = np.random.default_rng(seed)
  image = level * np.repeat(scene(96, 128)[..., None], 4, -1)
  variance = np.asarray(IsoNoise().variance(image, gain))
  noise = NoiseProfile.of_model(IsoNoise(), gain) if profile else None
  return real_burst([frame(exposure_time=time, iso=float(100 * gain / time / 120)).with_packed(
      image + np.sqrt(variance) * rng.standard_normal(image.shape), noise) for time in times])


def test_the_noise_of_frames_is_estimated_where_nobody_says_it(model):
  """From the frames alone, within a third of a stop; a profile counts as it is."""
  signal = 0.3
  true = NoiseProfile.of_model(IsoNoise(), 300.0).std_at(signal)
  for profile in noise_of(taken(300.0), model):
    assert profile.std_at(signal) == pytest.approx(true, rel=0.25)
  exact = NoiseProfile.of_model(IsoNoise(), 700.0)
  assert noise_of(taken(700.0, profile=True), model)[2] == exact


def test_frames_as_in_training_raise_no_doubt(model):
  """At the gain and brightness of training."""
  burst = taken(512.0)
  assert not [doubt for doubt in doubts(burst, noise_of(burst, model), model) if "black" not in doubt]


@pytest.mark.parametrize("gain, message", [(4.0, r"[0-9.]+ times less noise"), (60000.0, r"[0-9.]+ times more noise")])
def test_other_noise_is_told_by_how_much(model, gain, message):
  """Far from the gains of training, either way."""
  burst = taken(gain, profile=True)
  assert any(re.search(message, doubt) for doubt in doubts(burst, burst.noise, model))


def test_samples_below_black_are_told(model):
  """A dark scene at a high gain."""
  burst = taken(700.0, level=0.05)
  told = doubts(burst, _PROFILES, model)
  assert any("% of the samples lie further below black" in doubt for doubt in told)


def test_wrong_metadata_is_told(model):
  """A frame twice as bright as it says; times longer than those of training."""
  burst = taken(700.0)
  lying = dataclasses.replace(burst, measured_scales=np.array([1, 0.5, 1, np.nan]))
  assert any("2.00 times as bright" in doubt for doubt in doubts(lying, _PROFILES, model))
  long = dataclasses.replace(burst, exposure_times=np.full(4, 0.5))
  assert any("2 s in all" in doubt for doubt in doubts(long, _PROFILES, model))


def test_frames_that_were_not_taken_have_some_noise():
  """That of the first: nothing divides by 0."""
  profiles = [NoiseProfile(shot_noise=1e-3, read_variance=1e-6), NoiseProfile(shot_noise=2e-3, read_variance=1e-6)]
  np.testing.assert_allclose(model_noise(profiles, 4).shot_noise.ravel(), [1e-3, 2e-3, 1e-3, 1e-3])
