"""Laws of the image metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from debir_jax.evaluation import metrics


def _images(seed, shape=(37, 29, 4), noise=0.1):
  """A smooth image and a noisy copy, both partly outside [0, 1]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:shape[0], :shape[1]] / 20
  reference = 0.5 + 0.6 * np.sin(3 * x + 2 * y)[..., None] * rng.uniform(0.5, 1, shape[2])
  return reference + noise * rng.standard_normal(shape), reference


@pytest.mark.parametrize("border", [0, 3])
@pytest.mark.parametrize("shape", [(37, 29, 4), (19, 17, 3)])
def test_ssim_equals_scikit_image_on_the_clamped_crop(x64, shape, border):
  """SSIM is that of scikit-image to 1e-10 in float64, its own 5 px rule included; clamp and border come first."""
  image, reference = _images(0, shape)
  crop = lambda x: np.clip(x, 0, 1)[border:shape[0] - border, border:shape[1] - border]
  expected = skimage.metrics.structural_similarity(
      crop(image), crop(reference), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
      channel_axis=-1)
  result = metrics.ssim(jnp.asarray(image), jnp.asarray(reference), border=border)
  np.testing.assert_allclose(result, expected, atol=1e-10)


def test_ssim_in_float32_is_close_to_float64():
  """Differences of moments cost no accuracy that matters: 2e-6 in float32, also on a flat bright image."""
  for image, reference in [_images(1), (np.full((16, 16, 1), 0.9), np.full((16, 16, 1), 0.905))]:
    with jax.enable_x64(True):
      expected = float(metrics.ssim(jnp.asarray(image), jnp.asarray(reference)))
    result = metrics.ssim(jnp.asarray(image, jnp.float32), jnp.asarray(reference, jnp.float32))
    np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("border", [0, 10])
def test_psnr_equals_scikit_image_on_the_clamped_crop(x64, border):
  """Without a floor, PSNR is that of scikit-image after clamp and border."""
  image, reference = _images(2)
  crop = lambda x: np.clip(x, 0, 1)[border:37 - border, border:29 - border]
  expected = skimage.metrics.peak_signal_noise_ratio(crop(reference), crop(image), data_range=1)
  result = metrics.psnr(jnp.asarray(image), jnp.asarray(reference), border=border)
  np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_mse_floor_caps_the_psnr_of_equal_images():
  """Equal images have infinite PSNR; the release's floor of 1e-6 makes it 60 dB."""
  image = jnp.full((4, 4, 4), 0.3)
  assert metrics.psnr(image, image) == np.inf
  np.testing.assert_allclose(metrics.psnr(image, image, mse_floor=1e-6), 60, rtol=1e-6)


def test_known_error_has_known_psnr():
  """A constant error of 0.1 is 20 dB."""
  np.testing.assert_allclose(metrics.psnr(jnp.full((4, 4, 4), 0.4), jnp.full((4, 4, 4), 0.5)), 20, rtol=1e-5)


def test_border_hides_errors_there_only():
  """An error inside the border does not count, one pixel further in it does."""
  reference = jnp.full((20, 20, 4), 0.5)
  for metric in (metrics.psnr, metrics.ssim):
    best = metric(reference, reference, border=3)
    assert metric(reference.at[2, 10].set(0.9), reference, border=3) == best
    assert metric(reference.at[3, 10].set(0.9), reference, border=3) < best


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_plain_jitted_and_vmapped_agree(metric):
  """A batch is a vmap, a fast one a jit."""
  pairs = [_images(seed) for seed in range(3)]
  images, references = (jnp.asarray(np.stack(x), jnp.float32) for x in zip(*pairs))
  plain = [metric(image, reference) for image, reference in zip(images, references)]
  np.testing.assert_allclose(jax.jit(jax.vmap(metric))(images, references), plain, rtol=1e-5)


def test_image_that_is_too_small_is_named_with_the_remedy():
  """SSIM needs its 11 px window, PSNR one pixel, after the border; a negative border is refused."""
  image = jnp.zeros((12, 12, 4))
  metrics.ssim(image[:11, :11], image[:11, :11])
  with pytest.raises(ValueError, match=r"10x12 .* 11x11 .* larger crop"):
    metrics.ssim(image[:10], image[:10])
  with pytest.raises(ValueError, match="border of 1 "):
    metrics.ssim(image, image, border=1)
  with pytest.raises(ValueError, match="border of 6 "):
    metrics.psnr(image, image, border=6)
  with pytest.raises(ValueError, match="negative"):
    metrics.psnr(image, image, border=-1)


def test_shapes_must_agree():
  """A batch or images of two sizes are refused with their shapes."""
  with pytest.raises(ValueError, match=r"\(2, 12, 12, 4\).*jax.vmap"):
    metrics.psnr(jnp.zeros((2, 12, 12, 4)), jnp.zeros((2, 12, 12, 4)))
  with pytest.raises(ValueError, match=r"\(12, 12, 4\) and \(12, 13, 4\)"):
    metrics.ssim(jnp.zeros((12, 12, 4)), jnp.zeros((12, 13, 4)))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_restored_images_may_leave_the_range_but_not_by_255_times(metric):
  """They are clamped, also those of a network that has learnt nothing; what is not finite stays what it was."""
  image = jnp.linspace(0, 1, 12 * 12 * 4).reshape(12, 12, 4)
  for low, high in ((-0.2, 1.3), (-3.5, 3.5)):
    wide = low + (high - low) * image
    np.testing.assert_allclose(metric(wide, image), metric(jnp.clip(wide, 0, 1), image), rtol=1e-5)
  assert np.isnan(metric(image.at[0, 0].set(jnp.nan), image)) and np.isnan(metric(image * jnp.nan, image))
  assert np.isfinite(metric(image.at[0, 0].set(jnp.inf), image))


_UNIT = np.linspace(0, 1, 12 * 12 * 4).reshape(12, 12, 4)


@pytest.mark.parametrize("wrong, message", [
    (255 * _UNIT, "values from 0 to 255. Divide it by 255"), (65535 * _UNIT, "values from 0 to 65535"),
    (20 + 60 * _UNIT, "values from 20 to 80"), (255 * (_UNIT - 0.5), "values from -127.5 to 127.5"),
    (np.where(_UNIT == 0, np.nan, 255 * _UNIT), "to 255"), ((255 * _UNIT).astype(np.float16), "to 255"),
    ((255 * _UNIT).astype(np.uint8), "uint8 from 0 to 255. Divide it by 255"),
    (np.ones((12, 12, 4), int), "int64 from 1 to 1. Divide"), (_UNIT > 0.5, "bool"), (_UNIT + 0j, "complex128")])
@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_images_of_another_range_are_refused_with_the_range_and_the_remedy(metric, wrong, message):
  """Of NumPy and of JAX, as image and as reference; clamped, they would be white and score well."""
  good = _UNIT.astype(np.float32)
  for pair, name in (((wrong, good), "image"), ((good, wrong), "reference")):
    with pytest.raises(ValueError, match=f"^{name} must hold real numbers relative to white = 1, .*{message}") as error:
      metric(*pair)
    assert len(str(error.value).splitlines()) == 1
  if wrong.dtype.kind in "fub":
    with pytest.raises(ValueError, match="^image must hold real numbers"):
      metric(jnp.asarray(wrong), jnp.asarray(good))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_images_are_not_looked_at_inside_of_jit(metric):
  """There are no values there; the same program clamps them."""
  bright, good = jnp.asarray(255 * _UNIT, jnp.float32), jnp.asarray(_UNIT, jnp.float32)
  expected = metric(jnp.clip(bright, 0, 1), good)
  np.testing.assert_allclose(jax.jit(metric)(bright, good), expected, rtol=1e-5)
  np.testing.assert_allclose(jax.vmap(metric)(bright[None], good[None]), expected[None], rtol=1e-5)
