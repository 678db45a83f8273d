"""Laws of the burst's Wiener filter: splits of one total are alike, blur is undone, nothing is lost without noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration.wiener import wiener_merge

_TIMES = np.array([8.0, 24.0, 40.0, 56.0]) / 32  # Bracketing, relative to {32}.
_NOISE = 0.05  # Standard deviation of a frame of {32}.


def _photo(seed=0, height=48, width=48):
  """`[h, w, 4]` with a spectrum that falls like that of photos, between 0.1 and 0.7 or so."""
  rng = np.random.default_rng(seed)
  frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
  spectrum = np.fft.rfft2(rng.normal(size=(4, height, width))) / (frequency + 0.5 / 48)
  image = np.moveaxis(np.fft.irfft2(spectrum, s=(height, width)), 0, -1)
  return 0.4 + 0.1 * image / image.std()


def _moved(image, shift):
  """Periodically, by fractions of a px; an array of shifts `[k, 2]` (y, x) gives their mean: a motion during k."""
  fy, fx = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
  phase = np.mean([np.exp(-2j * np.pi * (fy[:, None] * y + fx * x)) for y, x in np.atleast_2d(shift)], 0)
  return np.fft.irfft2(np.fft.rfft2(image, axes=(0, 1)) * phase[..., None], s=image.shape[:2], axes=(0, 1))


def _frames(image, times, *, blur_px=0.0, angle=0.0, noise=_NOISE, seed=1):
  """Aligned frames `[n, h, w, 9]` whose blur grows with their time, `blur_px` at {32}."""
  rng, frames = np.random.default_rng(seed), []
  for time in times:
    length = blur_px * time
    along = length * np.linspace(-0.5, 0.5, 65)[:, None] * np.array([np.sin(angle), np.cos(angle)])
    std = noise / np.sqrt(time)
    plane = lambda value: np.full((*image.shape[:2], 1), value)
    frames.append(np.concatenate(
        [_moved(image, along) + std * rng.normal(size=image.shape), plane(std), plane(1.0), plane(length / 10),
         plane(length * np.cos(2 * angle) / 10), plane(length * np.sin(2 * angle) / 10)], -1))
  return jnp.asarray(np.stack(frames))


def _mean(frames):
  precision = (frames[..., 5:6] + 1e-4) / frames[..., 4:5]**2
  return jnp.sum(precision * frames[..., :4], -4) / jnp.sum(precision, -4), 1 / jnp.sum(precision, -4)


@jax.jit
def _merged(frames):
  return wiener_merge(frames, *_mean(frames))


def _error(image, other, edge=8):
  inside = np.s_[..., edge:-edge, edge:-edge, :]
  return float(np.sqrt(np.mean((np.asarray(image)[inside] - np.asarray(other)[inside])**2)))


def test_splits_of_one_total_restore_alike_where_nothing_moves():
  """Both are that function of the mean, and means of one total have one noise."""
  photo = _photo()
  errors = [np.mean([_error(_merged(_frames(photo, times, seed=seed)), photo) for seed in range(6)])
            for times in (np.ones(4), _TIMES)]
  assert errors[0] == pytest.approx(errors[1], rel=0.03)


def test_of_frames_that_are_alike_only_the_mean_counts(x64):
  """Exactly: four frames, or their mean four times."""
  frames = _frames(_photo(), np.ones(4))
  mean, variance = _mean(frames)
  of_mean = jnp.concatenate([jnp.broadcast_to(mean, frames[..., :4].shape), frames[..., 4:]], -1)
  np.testing.assert_allclose(wiener_merge(frames, mean, variance), wiener_merge(of_mean, mean, variance), atol=1e-12)


def test_it_is_better_than_the_mean_on_what_has_the_spectrum_of_photos():
  """Noise above the detail goes."""
  photo = _photo()
  frames = _frames(photo, _TIMES, noise=0.15)
  assert _error(_merged(frames), photo) < 0.75 * _error(_mean(frames)[0], photo)


@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 2, 2.2])
def test_blur_of_a_known_motion_is_undone(angle):
  """Of all frames together, in any direction; told another direction it does worse."""
  photo = _photo()
  frames = _frames(photo, _TIMES, blur_px=4.0, angle=angle, noise=0.02)
  told, mean = _error(_merged(frames), photo), _error(_mean(frames)[0], photo)
  turned = frames.at[..., 7:9].multiply(-1.0)
  assert told < 0.65 * mean and told < 0.8 * _error(_merged(turned), photo)


def test_without_noise_and_blur_nothing_is_changed(x64):
  """The mean comes back."""
  photo = _photo()
  frames = _frames(photo, np.ones(4), noise=1e-5)
  np.testing.assert_allclose(_merged(frames), photo, atol=1e-4)


def test_light_passes_however_flat_the_image_is():
  """Shrinking is for detail: where nothing but noise is above the light, the light is what comes back."""
  flat = np.full((32, 32, 4), 0.3)
  frames = _frames(flat, _TIMES)
  assert _error(_merged(frames), flat) < 0.5 * _error(_mean(frames)[0], flat)
  assert float(_merged(frames).mean()) == pytest.approx(0.3, abs=0.003)


def test_what_lies_outside_of_a_frame_does_not_matter():
  """Up to what a weight of a thousandth leaves."""
  frames = _frames(_photo(), _TIMES).at[2, ..., 5].set(0)
  other = frames.at[2, ..., :4].set(7.0)
  np.testing.assert_allclose(_merged(frames), _merged(other), atol=0.01)


@pytest.mark.parametrize("size", [(4, 4), (20, 12), (36, 64)])
def test_sides_need_not_be_those_of_windows(size):
  """Any even ones do, and a batch is each of its bursts."""
  bursts = jnp.stack([_frames(_photo(seed, *size), _TIMES) for seed in range(2)])
  merged = _merged(bursts)
  assert merged.shape == (2, *size, 4)
  np.testing.assert_allclose(merged[1], _merged(bursts[1]), atol=1e-5)


def test_gradients_are_those_of_finite_differences(x64):
  """In the frames' values, noise and blur, also where nothing moves."""
  for blur_px in (0.0, 3.0):
    frames = _frames(_photo(0, 16, 16), _TIMES, blur_px=blur_px, angle=0.4)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=frames.shape)) * frames.std((0, 1, 2))
    direction = direction.at[..., 6:].set(0.01 * blur_px * frames[..., 6:])
    along = jax.jit(lambda step: jnp.sum(_merged(frames + step * direction)**2))
    numeric = (along(1e-5) - along(-1e-5)) / 2e-5
    assert float(jax.jvp(along, (0.0,), (1.0,))[1]) == pytest.approx(float(numeric), rel=1e-4)
  gradient = jax.jit(jax.grad(lambda frames: jnp.sum(_merged(frames)**2)))(_frames(_photo(0, 16, 16), _TIMES))
  assert jnp.isfinite(gradient).all()
