"""Laws of the viewing pipelines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import bayer, isp
from debir_jax.imaging.color import linear_srgb_to_camera_rgb, linear_to_srgb, random_camera_color, srgb_to_linear
from debir_jax.types import CameraColor


@pytest.fixture(scope="module")
def color():
  return random_camera_color(jax.random.key(0))


def _unprocessed(srgb, color):
  return bayer.pack(bayer.mosaic(linear_srgb_to_camera_rgb(srgb_to_linear(srgb), color)))


def test_all_views_of_a_constant_photo_return_the_photo(color):
  """sRGB -> packed RAW -> sRGB is a no-op on a constant image, for each pipeline, plain, jitted and vmapped."""
  srgb = jnp.broadcast_to(jnp.array([0.6, 0.3, 0.45]), (8, 12, 3))
  packed = _unprocessed(srgb, color)
  for pipeline, expected in [(isp.view, srgb), (isp.binned_srgb, srgb[::2, ::2]),
                             (isp.half_resolution_srgb, srgb[::2, ::2])]:
    function = lambda raw, pipeline=pipeline: pipeline(raw, color)
    for result in (function(packed), jax.jit(function)(packed), jax.vmap(function)(packed[None])[0]):
      np.testing.assert_allclose(result, expected, atol=1e-5)


def test_view_of_a_smooth_photo_is_close_to_the_photo(color):
  """On a smooth image the round trip errs only by the demosaicking, below 0.005 inside (a pixel is a step of 0.015)."""
  y, x = np.mgrid[:64, :64] / 64
  srgb = jnp.asarray(np.stack([0.5 + 0.2 * np.sin(5 * x), 0.4 + 0.2 * y, 0.5 + 0.2 * np.cos(4 * (x + y))], -1),
                     jnp.float32)
  np.testing.assert_allclose(isp.view(_unprocessed(srgb, color), color)[2:-2, 2:-2], srgb[2:-2, 2:-2], atol=0.005)


def test_linear_srgb_is_the_view_without_its_gamma(color):
  """Clipped between the steps, so in [0, 1]; a saturated red stays saturated before the matrix mixes it."""
  packed = jax.random.uniform(jax.random.key(2), (8, 6, 4), maxval=0.9)
  linear = isp.linear_srgb(packed, color)
  np.testing.assert_allclose(linear_to_srgb(linear), isp.view(packed, color), atol=1e-6)
  mixed = CameraColor(white_balance=jnp.array([2.0, 1.0, 1.0]),
                      ccm=jnp.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
  saturated = isp.linear_srgb(jnp.full((4, 4, 4), 0.9), mixed)
  np.testing.assert_allclose(saturated, jnp.broadcast_to(jnp.array([0.95, 0.9, 0.9]), (8, 8, 3)), rtol=1e-6)


def test_binned_pixel_is_red_mean_green_blue():
  """With neutral color, a binned pixel is the gamma of R, (Gr + Gb) / 2, B of its cell."""
  packed = jnp.array([[[0.1, 0.2, 0.4, 0.5]]])
  result = isp.binned_srgb(packed, CameraColor.neutral())
  np.testing.assert_allclose(result[0, 0], linear_to_srgb(jnp.array([0.1, 0.3, 0.5])), atol=1e-6)


def test_views_stay_in_range(color):
  """Saturated and negative RAW values still give sRGB in [0, 1]."""
  packed = jax.random.uniform(jax.random.key(1), (6, 6, 4), minval=-1, maxval=3)
  for result in (isp.view(packed, color), isp.binned_srgb(packed, color)):
    assert result.min() >= 0 and result.max() <= 1


def test_wrong_channel_count_is_named(color):
  """A three-channel image is refused with its shape."""
  with pytest.raises(ValueError, match=r"\(4, 4, 3\)"):
    isp.binned_srgb(jnp.zeros((4, 4, 3)), color)
