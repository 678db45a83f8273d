"""How close a restored image is to its reference: PSNR and SSIM in JAX; LPIPS, which has weights, is in `lpips.py`.

Images are `[h, w, c]`, signals relative to white = 1, usually packed RAW (c = 4). Every metric clamps both images to
[0, 1] and cuts `border` pixels off each side first; images of another range, such as 0 to 255, are refused outside of
`jit`. A batch is `jax.vmap`.

The authors' release measures packed RAW with `border=10` and `mse_floor=1e-6`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.lpips import lpips
from debir_jax.evaluation.value_range import check_unit_range

__all__ = ["lpips", "psnr", "ssim"]

# Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
_WINDOW_SIGMA_PX = 1.5
_WINDOW_RADIUS_PX = 5
_WINDOW_SIDE_PX = 2 * _WINDOW_RADIUS_PX + 1
_LUMINANCE_STABILIZER = 0.01**2
_CONTRAST_STABILIZER = 0.03**2


def psnr(image: jax.Array, reference: jax.Array, *, border: int = 0, mse_floor: float = 0.0) -> jax.Array:
  """Peak signal-to-noise ratio in dB, -10 log10(mean squared error + mse_floor); infinite for equal images.

  Args:
    image: `[h, w, c]`, clamped to [0, 1].
    reference: `[h, w, c]`, clamped to [0, 1].
    border: pixels left out at each side.
    mse_floor: added to the mean squared error; the release uses 1e-6, which caps the result at 60 dB.

  Returns:
    Scalar, dB.

  Raises:
    ValueError: shapes differ, the border leaves nothing, or (outside of `jit`) an image is of another range.
  """
  check_unit_range(image=image, reference=reference)
  image, reference = _clamp_and_crop(image, reference, border, smallest_side=1)
  return -10 * jnp.log10(jnp.mean((image - reference)**2) + mse_floor)


def ssim(image: jax.Array, reference: jax.Array, *, border: int = 0) -> jax.Array:
  """Structural similarity: mean over channels and over all windows that lie inside the image, at most 1.

  Gaussian windows of 11x11 pixels with a standard deviation of 1.5, population covariance, data range 1. Equals
  `skimage.metrics.structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
  data_range=1, channel_axis=-1)`, which also leaves out the 5 pixels where a window would reach over the edge.

  Args:
    image: `[h, w, c]`, clamped to [0, 1].
    reference: `[h, w, c]`, clamped to [0, 1].
    border: pixels left out at each side before windows are placed.

  Returns:
    Scalar.

  Raises:
    ValueError: shapes differ, the window does not fit into what the border leaves, or (outside of `jit`) an image is of
      another range.
  """
  check_unit_range(image=image, reference=reference)
  return _ssim(image, reference, border=border)


@functools.partial(jax.jit, static_argnames="border")  # Some sixty small operations: slow one by one.
def _ssim(image, reference, *, border):
  x, y = _clamp_and_crop(image, reference, border, smallest_side=_WINDOW_SIDE_PX)
  difference = x - y
  moments = _window_means(jnp.concatenate([x, y, x * x + y * y, difference * difference], axis=-1))
  mean_x, mean_y, mean_squares, mean_squared_difference = jnp.split(moments, 4, axis=-1)
  mean_difference = mean_x - mean_y
  squared_means = mean_x**2 + mean_y**2
  variances = mean_squares - squared_means
  variance_of_difference = mean_squared_difference - mean_difference**2  # = variances - 2 covariance
  # Both factors as 1 - something small: the textbook's quotients lose 1e-4 to rounding in float32 where x is flat.
  luminance = 1 - mean_difference**2 / (squared_means + _LUMINANCE_STABILIZER)
  structure = 1 - variance_of_difference / (variances + _CONTRAST_STABILIZER)
  return jnp.mean(luminance * structure)


def _window_means(image):
  """Gaussian means of all windows inside `[h, w, c]` -> `[h - 10, w - 10, c]`.

  Sums of shifted images: XLA on CPU fuses them, while its convolutions of many thin channels are slow.
  """
  offsets = np.arange(-_WINDOW_RADIUS_PX, _WINDOW_RADIUS_PX + 1)
  weights = np.exp(-offsets**2 / (2 * _WINDOW_SIGMA_PX**2))
  weights = [float(weight) for weight in weights / weights.sum()]
  for axis in (0, 1):
    length = image.shape[axis] - 2 * _WINDOW_RADIUS_PX
    image = sum(weight * jax.lax.slice_in_dim(image, shift, shift + length, axis=axis)
                for shift, weight in enumerate(weights))
  return image


def _clamp_and_crop(image, reference, border, *, smallest_side):
  """Both images as every metric sees them."""
  if image.ndim != 3 or image.shape != reference.shape:
    raise ValueError(f"Expected two images of one shape [h, w, c], got {image.shape} and {reference.shape}; use "
                     "jax.vmap for a batch.")
  if border < 0:
    raise ValueError(f"border must not be negative, got {border}.")
  height, width = (side - 2 * border for side in image.shape[:2])
  if min(height, width) < smallest_side:
    raise ValueError(f"An image of {image.shape[0]}x{image.shape[1]} pixels less a border of {border} is smaller than "
                     f"the {smallest_side}x{smallest_side} pixels that this metric needs. Use a larger crop or a "
                     "smaller border.")
  crop = lambda x: jnp.clip(x[border:border + height, border:border + width], 0, 1)
  return crop(image), crop(reference)
