"""Laws of reading between pixels."""

import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from debir_jax.imaging import resample


def test_warp_equals_scipy_and_knows_what_lies_outside(x64):
  """Bilinear reading with repeated edges equals scipy's; the mask is 0 exactly where the position leaves the image."""
  rng = np.random.default_rng(0)
  image, flow = rng.uniform(size=(9, 12)), 4 * rng.standard_normal((9, 12, 2))
  warped, inside = resample.warp(jnp.asarray(image), jnp.asarray(flow))
  y, x = np.mgrid[:9, :12] + np.moveaxis(flow[..., ::-1], -1, 0)
  np.testing.assert_allclose(warped, scipy.ndimage.map_coordinates(image, [y, x], order=1, mode="nearest"), atol=1e-12)
  np.testing.assert_array_equal(inside, (x >= 0) & (x <= 11) & (y >= 0) & (y <= 8))


def test_blur_equals_scipy_away_from_the_border_and_keeps_constants(x64):
  """Banded matrices are a Gaussian filter; their rows sum to 1, so a constant stays a constant up to the border."""
  image = np.random.default_rng(0).uniform(size=(40, 33))
  blurred = resample.gaussian_blur(jnp.asarray(image), 2.0)
  expected = scipy.ndimage.gaussian_filter(image, 2.0, radius=6)
  np.testing.assert_allclose(blurred[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-12)
  np.testing.assert_allclose(resample.gaussian_blur(jnp.ones((9, 5)), 8.0), 1, atol=1e-12)


def test_channels_are_read_like_images(x64):
  """A warp of `[H, W, c]` is that of every channel."""
  rng = np.random.default_rng(0)
  image, flow = jnp.asarray(rng.normal(size=(7, 6, 3))), jnp.asarray(rng.normal(size=(7, 6, 2)) * 2)
  warped, inside = resample.warp(image, flow)
  for channel in range(3):
    alone, alone_inside = resample.warp(image[..., channel], flow)
    np.testing.assert_array_equal(warped[..., channel], alone)
    np.testing.assert_array_equal(inside, alone_inside)


def test_cubic_reading_is_exact_for_quadratic_images(x64):
  """Inside, at any place; at pixels it is the pixel, and beyond the edge that is repeated."""
  y, x = np.mgrid[:9, :11].astype(float)
  image = lambda x, y: 0.3 * x**2 - 0.2 * y**2 + 0.1 * x * y + x - 2 * y
  rng = np.random.default_rng(0)
  places = rng.uniform(1, 9, 50), rng.uniform(1, 7, 50)
  read = resample.read_cubic_at(jnp.asarray(image(x, y)), *map(jnp.asarray, places))
  np.testing.assert_allclose(read, image(*places), atol=1e-12)
  texture = jnp.asarray(rng.uniform(size=(9, 11, 2)))
  np.testing.assert_allclose(resample.read_cubic_at(texture, jnp.asarray(x), jnp.asarray(y)), texture, atol=1e-12)
  np.testing.assert_allclose(resample.read_cubic_at(texture, jnp.asarray(-3.0), jnp.asarray(99.0)), texture[8, 0])


def test_cubic_reading_keeps_contrast():
  """Of a wave of 8 px half way between pixels: 0.9 % are lost where bilinear reading loses 8 %."""
  wave = jnp.cos(2 * jnp.pi * jnp.arange(64) / 8)[None, :] * jnp.ones((4, 1))
  flow = jnp.full((4, 64, 2), 0.5).at[..., 1].set(0)
  expected = jnp.cos(2 * jnp.pi * (jnp.arange(64) + 0.5) / 8)
  for cubic, least, most in ((False, 0.07, 0.085), (True, 0.007, 0.01)):
    read = resample.warp(wave, flow, cubic=cubic)[0][2, 4:60]
    assert least < 1 - jnp.vdot(read, expected[4:60]) / jnp.vdot(expected[4:60], expected[4:60]) < most
