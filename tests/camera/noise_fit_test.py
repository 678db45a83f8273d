"""Noise is measured as it is, within the interval that is claimed, from pairs and from single frames."""

import numpy as np
import pytest
from scipy import stats

from debir_jax.camera.noise_fit import fit_noise, joined, samples_of_frame, samples_of_pair

_FLOOR = -0.1
_CAMERAS = ((1e-3, 1e-5), (2e-2, 1e-3), (1e-4, 1e-7))  # Shot noise and read variance, of low to high ISO.


def scene(rng, height=192, width=256):
  """A ramp with discs in front, planes `[height, width, 4]`."""
  y, x = np.mgrid[:height, :width]
  image = 0.02 + 0.7 * (x / width) * (0.5 + 0.5 * y / height)
  for _ in range(12):
    middle_y, middle_x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 40)
    image = np.where((y - middle_y)**2 + (x - middle_x)**2 < radius**2, rng.uniform(0.02, 0.85), image)
  return np.repeat(image[..., None], 4, -1)


def taken(rng, image, shot_noise, read_variance):
  """A noisy frame, clipped."""
  return np.clip(image + np.sqrt(read_variance + shot_noise * image) * rng.standard_normal(image.shape), _FLOOR, 1)


def fit_of(seed, camera, source):
  """One trial."""
  rng = np.random.default_rng(seed)
  image = scene(rng)
  frames = [taken(rng, image, *camera) for _ in range(2 if source == "pair" else 1)]
  return fit_noise((samples_of_pair if source == "pair" else samples_of_frame)(*frames, _FLOOR))


@pytest.mark.parametrize("source", ["pair", "frame"])
@pytest.mark.parametrize("num_trials", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_intervals_hold_what_is_true_in_95_percent(source, num_trials):
  """Of each number, for cameras of low to high ISO: no fewer than chance allows in one of a thousand such tests."""
  least = stats.binom.ppf(1e-3, num_trials, 0.95)
  for camera in _CAMERAS:
    fits = [fit_of(seed, camera, source) for seed in range(num_trials)]
    held = np.sum([[low <= true <= high for true, (low, high) in zip(camera, (fit.shot_interval, fit.read_interval))]
                   for fit in fits], 0)
    assert np.all(held >= least), (camera, held)


def test_more_frames_tell_more():
  """Intervals of four pairs are about half as wide as those of one."""
  rng = np.random.default_rng(0)
  image = scene(rng)
  pairs = [samples_of_pair(taken(rng, image, 1e-3, 1e-5), taken(rng, image, 1e-3, 1e-5), _FLOOR) for _ in range(4)]
  width = lambda fit: np.ptp(fit.shot_interval)
  assert width(fit_noise(joined(pairs))) < 0.7 * width(fit_noise(pairs[0]))


def test_what_is_clipped_does_not_count():
  """Highlights at white and shadows at a floor of 0 have too little noise; the fit does not see them."""
  rng = np.random.default_rng(3)
  image = np.clip(1.6 * scene(rng) - 0.1, 0, None)
  frames = [np.clip(image + np.sqrt(1e-4 + 5e-3 * image) * rng.standard_normal(image.shape), 0, 1) for _ in range(2)]
  fit = fit_noise(samples_of_pair(*frames, 0.0))
  assert fit.shot_noise == pytest.approx(5e-3, rel=0.1)


def test_frames_that_say_too_little_are_refused():
  """Black, white, of one brightness, too small, of two sizes."""
  rng = np.random.default_rng(0)
  noisy = lambda level, size=64: np.clip(level + 0.01 * rng.standard_normal((size, size, 4)), 0, 1)
  for frame in (np.zeros((64, 64, 4)), np.ones((64, 64, 4)), noisy(0.01), noisy(0.5, 4)):
    with pytest.raises(ValueError):
      fit_noise(samples_of_frame(frame, 0.0))
  with pytest.raises(ValueError, match="one size"):
    samples_of_pair(noisy(0.5), noisy(0.5, 32), 0.0)
  with pytest.raises(ValueError, match="one brightness"):
    fit_noise(samples_of_frame(np.full((64, 64, 4), 0.5), 0.0))
