"""Where a tile of the reference lies in other frames, when these lie far apart."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from debir_jax.camera.coarse_motion import find_coarse_motion, no_motion, reduced_gray
from tests.camera.frames import frame


def scene(height, width):
  """Smooth random detail of all sizes, `[height, width]`."""
  rng = np.random.default_rng(1)
  layers = [ndimage.gaussian_filter(rng.standard_normal((height, width)), sigma) * sigma for sigma in (2, 5, 12, 30)]
  image = sum(layers)
  return 0.1 + 0.6 * (image - image.min()) / np.ptp(image)


def seen(image, top, left, height=160, width=200, noise=0.0):
  """A frame of a part of the scene."""
  planes = np.repeat(image[top:top + height, left:left + width, None], 4, -1)
  planes = planes + noise * np.random.default_rng(top + left).standard_normal(planes.shape)
  return frame().with_packed(planes, None)


@pytest.mark.parametrize("shift", [(0, 0), (14, -9), (-25, 30)])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_large_shifts_are_found(shift, noise):
  """To a px, also in noise: what the reference shows at p is at p + shift in the other frame."""
  image = scene(300, 340)
  reference, other = seen(image, 60, 60, noise=noise), seen(image, 60 - shift[1], 60 - shift[0], noise=noise)
  found = find_coarse_motion([reference, other], [1.0, 1.0])
  assert found.shifts(50, 60, 64, 64)[1] == pytest.approx(shift, abs=1.0)
  assert np.all(found.shifts(0, 0, 160, 200)[0] == 0)
  assert found.largest_px == pytest.approx(np.hypot(*shift), abs=6.0)


def test_frames_of_other_brightness_are_compared_at_one():
  """A darker frame with its factor."""
  image = scene(300, 340)
  other = seen(image, 70, 48)
  darker = other.with_packed(other.packed() / 4, None)
  found = find_coarse_motion([seen(image, 60, 60), darker], [1.0, 4.0])
  assert found.shifts(40, 60, 64, 64)[1] == pytest.approx((12, -10), abs=1.0)


def test_frames_without_detail_do_not_move():
  """Noise is followed by no more than a fraction of a px."""
  rng = np.random.default_rng(0)
  walls = [frame().with_packed(0.3 + 0.05 * rng.standard_normal((64, 64, 4)), None) for _ in range(2)]
  assert find_coarse_motion(walls, [1.0, 1.0]).largest_px < 0.5
  assert no_motion(2).largest_px == 0 and np.all(no_motion(2).shifts(100, 200, 64, 64) == 0)


def test_reduction_is_a_mean_over_squares(monkeypatch):
  """In strips as in one; remainders at the border are dropped."""
  from debir_jax.camera import coarse_motion
  whole = frame(height=60, width=100)
  expected = whole.packed()[:28, :48].mean(-1).reshape(7, 4, 12, 4).mean((1, 3))
  np.testing.assert_allclose(reduced_gray(whole, 4), expected, rtol=1e-5)
  monkeypatch.setattr(coarse_motion, "_ROWS", 8)
  np.testing.assert_allclose(reduced_gray(whole, 4), expected, rtol=1e-5)
  assert dataclasses.replace(no_motion(1), factor=4).shifts(1000, 0, 4, 4).shape == (1, 2)
