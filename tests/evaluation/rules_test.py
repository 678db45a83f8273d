"""Laws of the rules: viewing metrics are scikit-image's, the release's are what its code computes, one crop for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics
from slow_lpips import slow_lpips, state_dict

from debir_jax.convert import lpips_params
from debir_jax.evaluation import MetricRules
from debir_jax.evaluation.lpips import Lpips
from debir_jax.imaging import demosaic_malvar, unpack, view
from debir_jax.types import CameraColor

SIDES, RULES = (34, 32), MetricRules(border=3)  # Packed px.


@pytest.fixture(scope="module")
def color():
  return CameraColor(white_balance=jnp.array([2.1, 1.2, 1.7]), ccm=jnp.eye(3) * 1.4 - 0.4 / 3)


def _images(noise=0.05):
  """A smooth image and a noisy copy, both partly outside [0, 1]."""
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:SIDES[0], :SIDES[1]] / 10
  target = 0.45 + 0.8 * np.sin(2 * x + y)[..., None] * rng.uniform(0.5, 1, 4)
  return [jnp.asarray(image, jnp.float32) for image in (target + noise * rng.standard_normal(target.shape), target)]


def _crop(image, border):
  return np.clip(np.asarray(image, np.float64), 0, 1)[border:image.shape[0] - border, border:image.shape[1] - border]


def _slow_ssim(image, reference):
  return skimage.metrics.structural_similarity(
      image, reference, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)


def _measure(rules, *arguments):
  return jax.jit(rules.measure)(*arguments)


def test_viewing_metrics_equal_scikit_image(color):
  """On sRGB of twice the size, less twice the border; RAW metrics are the same with and without a color."""
  restored, target = _images()
  found = _measure(RULES, restored, target, color)
  views = [_crop(view(image, color), 6) for image in (restored, target)]
  assert views[0].shape == (2 * SIDES[0] - 12, 2 * SIDES[1] - 12, 3)
  np.testing.assert_allclose(found["view_psnr"], skimage.metrics.peak_signal_noise_ratio(
      views[1], views[0], data_range=1), rtol=1e-5)
  np.testing.assert_allclose(found["view_ssim"], _slow_ssim(*views), atol=1e-5)
  raw = _measure(RULES, restored, target)
  assert raw["l1"] == pytest.approx(float(np.abs(restored - target).mean()), rel=1e-5)  # Neither clamped nor cropped.
  assert set(raw) == {"psnr", "ssim", "l1"} and all(abs(found[name] - raw[name]) < 1e-5 for name in raw)


@pytest.mark.parametrize("noise", [0.05, 0.002])
def test_the_release_measures_as_its_code_does(color, noise):
  """PSNR with 1e-6 and SSIM on packed RAW in [0, 1] less 10 px; with little noise the 1e-6 shows."""
  restored, target = _images(noise)
  found = _measure(MetricRules.release(), restored, target, color)
  raw = [_crop(image, 10) for image in (restored, target)]
  assert min(map(np.min, (restored, target))) < 0 and max(map(np.max, (restored, target))) > 1
  np.testing.assert_allclose(found["psnr"], -10 * np.log10(np.mean((raw[0] - raw[1])**2) + 1e-6), rtol=1e-5)
  np.testing.assert_allclose(found["ssim"], _slow_ssim(*raw), atol=1e-5)


@pytest.mark.parametrize("leaves_the_range", [False, True])
def test_the_release_takes_lpips_as_its_code_does(color, leaves_the_range):
  """VGG on linear camera RGB less 10 px, in [0, 1]: RAW is clamped, demosaicked, and clamped once more."""
  images = _images() if leaves_the_range else [jnp.clip(image, 0, 1) for image in _images()]
  weights = state_dict("vgg")
  found = _measure(MetricRules.release(), *images, color, Lpips("vgg", lpips_params(weights)["params"]))
  camera_rgb = [demosaic_malvar(unpack(jnp.clip(image, 0, 1))) for image in images]
  assert camera_rgb[0].shape == (68, 64, 3) and camera_rgb[0].min() < 0
  expected = slow_lpips(weights, "vgg", *[_crop(image, 10) for image in camera_rgb], unit_range=False)
  np.testing.assert_allclose(found["lpips"], expected, rtol=1e-4)


def test_the_published_lpips_sees_what_the_other_viewing_metrics_see(color):
  """sRGB of both images in this order, twice the border, brought to [-1, 1] as it does of itself."""
  options = []

  def lpips(image, reference, **given):
    options.append(given)
    return jnp.mean(image + 2 * reference)

  restored, target = _images()
  found = jax.jit(lambda *images: RULES.measure(*images, color, lpips))(restored, target)
  np.testing.assert_allclose(found["lpips"], jnp.mean(view(restored, color) + 2 * view(target, color)), rtol=1e-5)
  assert options == [dict(border=6)]


def test_equal_views_have_a_finite_psnr(color):
  """Where both images are saturated in every channel only RAW differs."""
  bright = jnp.full((*SIDES, 4), 0.95)
  found = _measure(RULES, bright, bright + 0.02, color)
  assert found["view_psnr"] == 100 and found["psnr"] == pytest.approx(-20 * np.log10(0.02), rel=1e-4)


def test_unknown_rules_and_networks_are_refused():
  with pytest.raises(ValueError, match="'published', 'release', got 'other'"):
    MetricRules(lpips_rule="other")
  with pytest.raises(ValueError, match="LPIPS with VGG.*'alex'"):
    MetricRules.release().check_lpips(Lpips("alex", {}))
  MetricRules.release().check_lpips(Lpips("vgg", {}))
  MetricRules().check_lpips(Lpips("alex", {}))
