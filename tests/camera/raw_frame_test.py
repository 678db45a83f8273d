"""A frame holds what makes sense, and its colors are those of its matrix."""

import numpy as np
import pytest

from debir_jax.camera.raw_frame import camera_to_srgb, xyz_to_camera_of
from debir_jax.imaging import pack
from tests.camera.frames import XYZ_TO_CAMERA, frame


def test_packed_is_relative_to_white_after_black():
  """By channel; a part of it is that part of the whole."""
  whole = frame()
  black = np.array(whole.black_levels)
  expected = (np.asarray(pack(whole.mosaic.astype(np.float32))) - black) / (whole.white_level - black)
  np.testing.assert_allclose(whole.packed(), expected, atol=1e-6)
  np.testing.assert_array_equal(whole.packed(slice(3, 9), slice(5, 20)), whole.packed()[3:9, 5:20])


def test_color_matrices_keep_grey_and_have_an_inverse():
  """Rows sum to 1; the way back is that of DNG's matrix, up to the brightness of each row's white."""
  to_srgb = camera_to_srgb(XYZ_TO_CAMERA)
  np.testing.assert_allclose(to_srgb.sum(1), 1)
  np.testing.assert_allclose(camera_to_srgb(xyz_to_camera_of(to_srgb, np.array([2.0, 1.0, 1.5]))), to_srgb)


@pytest.mark.parametrize("wrong", [
    dict(mosaic=np.zeros((63, 96), np.uint16)), dict(mosaic=np.zeros((64, 96), np.float32)),
    dict(mosaic=np.zeros((4, 96), np.uint16)), dict(white_level=200.0), dict(white_level=70000.0),
    dict(white_balance=(0.0, 1.0, 1.0)), dict(exposure_time=-1.0), dict(exposure_time=0.0), dict(iso=float("nan"))])
def test_frames_that_make_no_sense_are_refused(wrong):
  """With the source's name."""
  with pytest.raises(ValueError, match="a test's frame"):
    frame(**wrong)


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_matrices_that_see_no_color_are_refused(matrix):
  """Zeros, copies of one row, no numbers."""
  with pytest.raises(ValueError, match="color matrix"):
    camera_to_srgb(matrix)
