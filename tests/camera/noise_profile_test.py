"""Two numbers a frame stand for its noise, as a model of the simulator has it."""

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.camera.noise_profile import FrameNoise, NoiseProfile, mean_profile
from debir_jax.simulator import IsoNoise


def test_a_model_at_one_gain_is_a_profile():
  """Its variance at every signal."""
  profile = NoiseProfile.of_model(IsoNoise(), 700.0)
  for signal in (0.0, 0.1, 0.9):
    assert profile.std_at(signal)**2 == pytest.approx(float(IsoNoise().variance(signal, 700.0)), rel=1e-4)


def test_a_scaled_frame_has_scaled_noise():
  """The variance of k x at the signal k s is k^2 that of x at s."""
  profile = NoiseProfile(shot_noise=1e-3, read_variance=1e-5)
  assert profile.scaled(3).std_at(0.3) == pytest.approx(3 * profile.std_at(0.1))


def test_frames_have_their_own_noise_whatever_the_gain():
  """Also at one signal for all of them, which alignment asks for."""
  noise = FrameNoise.of_frames([NoiseProfile(shot_noise=1e-3, read_variance=1e-6),
                                NoiseProfile(shot_noise=2e-3, read_variance=1e-5)])
  variance = noise.variance(jnp.full((2, 4, 4, 4), 0.5), jnp.ones((2, 1, 1, 1)))
  np.testing.assert_allclose(variance[:, 0, 0, 0], [5.01e-4, 1.01e-3], rtol=1e-5)
  assert noise.variance(jnp.float32(0.5), jnp.ones((2, 1, 1, 1))).reshape(-1).shape == (2,)


def test_planes_of_a_file_are_averaged():
  """NoiseProfile has a pair for each plane."""
  profile = mean_profile(np.array([1e-3, 1e-6, 3e-3, 3e-6]))
  assert (profile.shot_noise, profile.read_variance) == pytest.approx((2e-3, 2e-6))


@pytest.mark.parametrize("pair", [(-1e-3, 1e-6), (float("nan"), 0.0), (0.0, 0.0)])
def test_profiles_that_make_no_sense_are_refused(pair):
  """Negative, not finite, none at all."""
  with pytest.raises(ValueError, match="noise profile"):
    NoiseProfile(shot_noise=pair[0], read_variance=pair[1])
