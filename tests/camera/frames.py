"""Small frames that tests write, read and restore."""

import numpy as np

from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.raw_frame import LensSettings, RawFrame

XYZ_TO_CAMERA = np.array([[.6461, -.1164, -.0857], [-.3825, 1.1597, .2534], [-.0543, .1487, .5957]])


def frame(height=64, width=96, **changes) -> RawFrame:
  """A frame of smooth colors with noise, all of whose fields are set."""
  rng = np.random.default_rng(0)
  ramp = np.linspace(0.05, 0.8, width) * np.linspace(1, 0.5, height)[:, None]
  counts = 256 + np.clip(ramp + 0.01 * rng.standard_normal((height, width)), 0, 1) * (4095 - 256)
  fields = dict(
      mosaic=counts.astype(np.uint16), black_levels=(256.0, 257.0, 255.5, 256.0), white_level=4095.0,
      white_balance=(2.1, 1.0, 1.6), xyz_to_camera=XYZ_TO_CAMERA, exposure_time=1 / 120, iso=3200.0,
      noise=NoiseProfile(shot_noise=3e-5, read_variance=3e-8), camera="Make Model 1", source="a test's frame",
      lens=LensSettings(aperture=2.8, focal_length_mm=24.0, taken_at="2026:11:30 12:00:01"))
  return RawFrame(**(fields | changes))
