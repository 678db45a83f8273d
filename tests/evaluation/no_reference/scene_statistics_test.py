"""Laws of the statistics: equal to slow versions from the definitions, right on samples of known distributions."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import stats
from skimage import data
import slow_statistics

from debir_jax.evaluation.no_reference import scene_statistics


@pytest.fixture(scope="module")
def photo():
  """A cat, `[90, 101, 3]` in [0, 1]."""
  return (data.chelsea()[100:190, 100:201] / 255).astype(np.float32)


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-5), (np.float64, 1e-9)])
@pytest.mark.parametrize("padding, mode", [("edge", "nearest"), ("constant", "constant")])
def test_normalized_coefficients_are_those_of_the_definition(photo, padding, mode, dtype, rtol):
  """For both kinds of edges, in both precisions."""
  with jax.enable_x64(dtype == np.float64):
    grey = scene_statistics.grey_levels(photo.astype(dtype))
    found = scene_statistics.normalized(grey, padding=padding)
    assert grey.dtype == found[0].dtype == dtype
  expected = slow_statistics.grey_of(photo)
  np.testing.assert_array_equal(grey, expected)
  for ours, theirs in zip(found, slow_statistics.mscn(expected, mode)):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=10 * rtol)


def test_products_pair_every_pixel_with_four_neighbours(photo):
  coefficients = slow_statistics.mscn(slow_statistics.grey_of(photo), "nearest")[0]
  found = scene_statistics.neighbour_products(jnp.asarray(coefficients, jnp.float32))
  np.testing.assert_allclose(found.reshape(4, -1), slow_statistics.products(coefficients), rtol=1e-5, atol=1e-6)


def test_half_the_size_is_bicubic_with_antialiasing(photo):
  """Even and odd sides; inside the image also what Pillow gives."""
  grey = slow_statistics.grey_of(photo)
  found = scene_statistics.halved(jnp.asarray(grey, jnp.float32))
  assert found.shape == (45, 51)
  np.testing.assert_allclose(found, slow_statistics.half(grey), atol=1e-3)
  even = grey[:, :100]
  pillow = Image.fromarray(even.astype(np.float32)).resize((50, 45), Image.Resampling.BICUBIC)
  found = scene_statistics.halved(jnp.asarray(even, jnp.float32))
  np.testing.assert_allclose(found[2:-2, 2:-2], np.asarray(pillow)[2:-2, 2:-2], atol=1e-3)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_shapes_of_known_distributions_are_found(shape):
  """Of 200,000 samples; both fits agree where both sides are alike."""
  samples = stats.gennorm.rvs(shape, scale=1.7, size=200_000, random_state=0)
  found, variance = jax.jit(scene_statistics.fit_gaussian)(jnp.asarray(samples, jnp.float32))
  assert found == pytest.approx(shape, rel=0.03) and variance == pytest.approx(np.mean(samples**2), rel=1e-4)
  found, left, right = jax.jit(scene_statistics.fit_asymmetric_gaussian)(jnp.asarray(samples, jnp.float32))
  assert found == pytest.approx(shape, rel=0.03) and left == pytest.approx(float(right), rel=0.03)


def test_both_sides_of_an_asymmetric_distribution_are_found():
  """Halves of Laplacians of scale 1 and 3, one thrice as likely as the other so that the density has no step."""
  rng = np.random.default_rng(0)
  size = rng.exponential(size=400_000)
  samples = np.where(rng.uniform(size=size.shape) < 0.25, -size, 3 * size)
  shape, left, right = scene_statistics.fit_asymmetric_gaussian(jnp.asarray(samples, jnp.float32))
  assert (shape, left, right) == pytest.approx((1, 2**0.5, 3 * 2**0.5), rel=0.03)
  assert slow_statistics.aggd(samples) == pytest.approx((float(shape), float(left), float(right)), rel=2e-3)


def test_samples_without_a_side_or_without_any_contrast_have_finite_fits():
  """The limits of the definition, instead of a division by zero."""
  shape, left, right = scene_statistics.fit_asymmetric_gaussian(jnp.linspace(0.1, 1, 50))
  assert left == 0 and right > 0.5 and 0.2 <= shape <= 10
  zeros = jnp.zeros(50)
  np.testing.assert_allclose(scene_statistics.fit_asymmetric_gaussian(zeros), (0.2, 0, 0), rtol=1e-6)
  np.testing.assert_allclose(scene_statistics.fit_gaussian(zeros), (0.2, 0), rtol=1e-6)
  assert all(np.isnan(side) for side in scene_statistics.fit_asymmetric_gaussian(zeros.at[3].set(jnp.nan))[1:])


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_plane_without_contrast_has_none_to_the_last_digit(level):
  coefficients, deviation = scene_statistics.normalized(jnp.full((40, 40), float(level)), padding="edge")
  assert not coefficients.any() and not deviation.any()


def test_images_that_cannot_be_measured_are_refused():
  image = jnp.full((20, 30, 3), 0.5)
  for wrong, border, message in ((image[..., 0], 0, "one sRGB image"), (image, 3, "smaller than the 15"),
                                 (image, -1, "border of -1"), (image.at[3, 3, 0].set(jnp.nan), 0, "not finite"),
                                 (510 * image, 0, "got values from 255 to 255. Divide it by 255"),
                                 ((510 * image).astype(np.uint8), 0, "got uint8 from 255 to 255. Divide it by 255"),
                                 (image > 0, 0, "got bool"), (image + 0j, 0, "got complex64")):
    with pytest.raises(ValueError, match=message):
      scene_statistics.grey_levels(wrong, border=border, smallest_side=15)
  assert scene_statistics.grey_levels(image + 3, border=2, smallest_side=15).tolist() == [[255.0] * 26] * 16
