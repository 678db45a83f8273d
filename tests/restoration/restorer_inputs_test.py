"""What a restorer sees beside RAW: the noise there is, where frames are clipped, how long they were exposed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration import RestorerInputs
from debir_jax.simulator import IsoNoise, PoissonGaussianNoise, add_noise, frame_mask
from debir_jax.types import Burst

TIMES = jnp.array([8, 24, 40, 56]) / 1920
GAINS = 600 * (1 / 120) / TIMES
ALL = RestorerInputs(noise_map=True, validity=True, relative_exposure=True)


def _burst(raw, exposure_times=TIMES, gains=GAINS, noise_model=IsoNoise()):
  return Burst(raw=raw, exposure_times=exposure_times, gains=gains, frame_mask=frame_mask(exposure_times),
               noise_model=noise_model)


def test_nothing_is_added_by_default():
  raw = jax.random.uniform(jax.random.key(0), (4, 2, 3, 4))
  np.testing.assert_array_equal(RestorerInputs()(_burst(raw)), raw)
  assert RestorerInputs().num_channels == 4


@pytest.mark.parametrize("noise_model", [IsoNoise(), PoissonGaussianNoise()])
def test_noise_map_is_the_standard_deviation_of_the_simulated_noise(noise_model):
  """Monte Carlo over the simulator's own noise, for every frame's gain."""
  signal = jnp.full((4, 60, 60, 4), 0.3)
  noise_map = RestorerInputs(noise_map=True)(_burst(signal, noise_model=noise_model))[..., 4:]
  noisy = add_noise(jax.random.key(0), signal, GAINS, noise_model)
  np.testing.assert_allclose(noisy.std((1, 2, 3)), noise_map.mean((1, 2, 3)), rtol=0.03)


def test_planes_stand_in_their_order():
  raw = jnp.full((4, 2, 2, 4), 0.5).at[1, 0, 1, 2].set(0.99)
  frames = ALL(_burst(raw))
  assert frames.shape == (4, 2, 2, ALL.num_channels) == (4, 2, 2, 10)
  np.testing.assert_array_equal(frames[..., :4], raw)
  expected = np.ones((4, 2, 2))
  expected[1, 0, 1] = 0
  np.testing.assert_array_equal(frames[..., 8], expected)
  np.testing.assert_allclose(frames[:, 0, 0, 9], np.log2([1, 3, 5, 7]), rtol=1e-6)


def test_gradients_to_exposure_times_are_exact_and_finite(x64):
  """Through gains, noise map and relative exposure, also where a sample is 0."""
  raw = jnp.zeros((4, 2, 2, 4), jnp.float64).at[2].set(0.4)

  def total(times):
    return jnp.sum(jnp.sin(ALL(_burst(raw, times, 5 / times))))

  times = jnp.asarray(TIMES, jnp.float64)
  step = 1e-7
  differences = [(total(times.at[i].add(step)) - total(times.at[i].add(-step))) / (2 * step) for i in range(4)]
  np.testing.assert_allclose(jax.grad(total)(times), differences, rtol=1e-5)


@pytest.mark.parametrize("taken, sources", [((1, 1, 0, 0), (0, 1, 0, 1)), ((1, 1, 1, 0), (0, 1, 2, 0)),
                                            ((1, 0, 0, 1), (0, 0, 3, 3)), ((1, 1, 1, 1), (0, 1, 2, 3))], ids=str)
def test_taken_frames_stand_in_turns_where_others_were_left_out(taken, sources):
  """With all their planes; one more says which were taken. Nothing is NaN or infinite, nor are gradients."""
  taken = jnp.array(taken)
  raw = jax.random.uniform(jax.random.key(0), (4, 2, 3, 4)) * taken[:, None, None, None]
  inputs = dataclasses.replace(ALL, frame_mask=True)
  model = IsoNoise(shot_jitter=-1.5e-4)  # Does not know a gain of 0.
  frames = inputs(_burst(raw, TIMES * taken, GAINS * taken, model))
  assert frames.shape == (4, 2, 3, inputs.num_channels)
  np.testing.assert_allclose(frames[..., :-1], ALL(_burst(raw, noise_model=model))[np.array(sources)], rtol=1e-6)
  np.testing.assert_array_equal(frames[..., -1], np.broadcast_to(taken[:, None, None], (4, 2, 3)))
  gradient = jax.grad(lambda times: jnp.sum(inputs(_burst(raw, times, GAINS * taken, model))))(TIMES * taken)
  assert np.all(np.isfinite(gradient))


def test_a_noise_map_of_an_unknown_camera_is_refused():
  """With the remedy; a restorer that does not look at the noise need not know it."""
  burst = _burst(jnp.full((4, 2, 2, 4), 0.5), noise_model=None)
  with pytest.raises(ValueError, match=r"the burst has no noise_model. Give one, such as .*IsoNoise\(\)"):
    ALL(burst)
  assert RestorerInputs(validity=True, relative_exposure=True)(burst).shape == (4, 2, 2, 6)
