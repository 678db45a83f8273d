"""Statistics of natural scenes, as the metrics without a reference see an image: what NIQE and BRISQUE share.

Grey values, less their local mean and over their local deviation ("MSCN coefficients"), are close to Gaussian in good
photos; noise, blur and compression change the shape of their distribution and of that of products of neighbours. The
shapes are fitted by moments, at two scales.

Planes are `[h, w]`, grey values from 0 to 255 as both metrics were made for: a contrast of 1 grey level is a constant
in them. All arrays keep the dtype of the image. A batch is `jax.vmap`.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from scipy import special

from debir_jax.evaluation.value_range import check_unit_range

# MATLAB's rgb2gray: first row of the inverse of its matrix from YIQ to RGB.
LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)

# Mittal et al., TIP 2012: windows of 7x7 pixels, three deviations wide on each side, of unit sum.
_WINDOW_RADIUS_PX = 3
_WINDOW_SIGMA_PX = 7 / 6
_CONTRAST_STABILIZER = 1.0  # Grey levels.
_NO_CONTRAST = 1e-3  # Grey levels; one pixel that is off by one grey level gives ten times as much all around it.

_SHAPES = np.linspace(0.2, 10, 9801)  # Where both metrics look for the shape of a distribution.
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # Rows down, columns to the right: the four pairs of each pixel.


def grey_levels(image: jax.Array, *, border: int = 0, smallest_side: int = 1,
                luma: tuple[float, float, float] = LUMA) -> jax.Array:
  """sRGB `[h, w, 3]` in [0, 1] -> `[h, w]`, whole grey levels from 0 to 255, less the border.

  As MATLAB's rgb2gray gives them for an image of 8 bits: rounded to 8 bits before and after; or with other weights of
  R, G and B (`luma`).

  Raises:
    ValueError: for another shape, less than the smallest side, or, outside of `jit`, another range or numbers that are
      not finite.
  """
  if image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(f"Expected one sRGB image [h, w, 3], got {image.shape}; use jax.vmap for a batch.")
  height, width = (side - 2 * border for side in image.shape[:2])
  if border < 0 or min(height, width) < smallest_side:
    raise ValueError(f"An image of {image.shape[0]}x{image.shape[1]} pixels less a border of {border} is smaller than "
                     f"the {smallest_side} pixels a side that this metric needs.")
  check_unit_range(image=image)
  if not isinstance(image, jax.core.Tracer) and not np.isfinite(image).all():
    raise ValueError("The image holds numbers that are not finite; whatever restored it has diverged.")
  bytes_ = jnp.round(255 * jnp.clip(jnp.asarray(image)[border:border + height, border:border + width], 0, 1))
  return jnp.round(sum(weight * bytes_[..., channel] for channel, weight in enumerate(luma)))


def normalized(grey: jax.Array, *, padding: str) -> tuple[jax.Array, jax.Array]:
  """MSCN coefficients (x - mean) / (deviation + 1) and the local deviations, `[h, w]` each.

  Where there is no contrast at all, both are 0 exactly: rounding of the mean would give coefficients a sign.

  Args:
    grey: `[h, w]`, grey levels.
    padding: what is beyond the edge, see `jnp.pad`; "edge" for NIQE and OpenCV's BRISQUE, "constant" (black) for the
      authors' BRISQUE.
  """
  offsets = np.arange(-_WINDOW_RADIUS_PX, _WINDOW_RADIUS_PX + 1)
  weights = np.exp(-offsets**2 / (2 * _WINDOW_SIGMA_PX**2))
  weights = np.outer(weights, weights) / weights.sum()**2
  padded = jnp.pad(grey, _WINDOW_RADIUS_PX, mode=padding)
  rows, columns = np.indices(weights.shape)
  windows = rows.ravel(), columns.ravel(), jnp.asarray(weights.ravel(), grey.dtype)

  def weighted_sum(function):
    """Over the pixels of each window; a loop, as 49 planes side by side take seconds to compile."""
    add = lambda total, row, column, weight: total + weight * function(
        lax.dynamic_slice(padded, (row, column), grey.shape))
    return lax.scan(lambda total, window: (add(total, *window), None), jnp.zeros_like(grey), windows)[0]

  mean = weighted_sum(lambda shifted: shifted)
  # Of squared differences: the usual E[x²] - E[x]² of grey levels keeps three digits in float32.
  deviation = jnp.sqrt(weighted_sum(lambda shifted: jnp.square(shifted - mean)))
  is_flat = deviation < _NO_CONTRAST
  return jnp.where(is_flat, 0, (grey - mean) / (deviation + _CONTRAST_STABILIZER)), jnp.where(is_flat, 0, deviation)


def neighbour_products(coefficients: jax.Array) -> jax.Array:
  """Products of each coefficient with its left, upper and both upper diagonal neighbours, `[4, h, w]`.

  Planes go round, as in both releases: the first column's left neighbour is the last one.
  """
  return jnp.stack([coefficients * jnp.roll(coefficients, shift, (0, 1)) for shift in _NEIGHBOURS])


def fit_gaussian(samples: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Shape and variance of a generalized Gaussian of mean 0, by the ratio of its moments; (0.2, 0) for zeros.

  Returns:
    Scalars: the shape, from 0.2 to 10 (2: Gaussian, 1: Laplacian), and the variance.
  """
  variance, magnitude = jnp.mean(jnp.square(samples)), jnp.mean(jnp.abs(samples))
  ratio = _over(variance, jnp.square(magnitude), otherwise=jnp.inf)
  return _nearest_shape(-ratio, -1 / _moment_ratios()), variance


def fit_asymmetric_gaussian(samples: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Shape and both deviations of an asymmetric generalized Gaussian whose mode is 0; (0.2, 0, 0) for zeros.

  Lasmar, Stitou, Berthoumieu, ICIP 2009, as in both releases.

  Returns:
    Scalars: the shape, from 0.2 to 10; root mean squares of the negative and of the positive samples, 0 where there
    are none.
  """
  root_mean_square = lambda chosen: jnp.sqrt(_over(
      jnp.sum(jnp.where(chosen, jnp.square(samples), 0)), jnp.sum(chosen, dtype=samples.dtype)))
  # Negated, so that what is not a number is in both, instead of in neither and gone.
  left, right = root_mean_square(~(samples >= 0)), root_mean_square(~(samples <= 0))
  ratio = _over(jnp.square(jnp.mean(jnp.abs(samples))), jnp.mean(jnp.square(samples)))
  # The release's (g³ + 1)(g + 1) / (g² + 1)² with g = left / right, without the division by a side that is empty.
  asymmetry = _over((left**3 + right**3) * (left + right), jnp.square(left**2 + right**2))
  return _nearest_shape(ratio * asymmetry, _moment_ratios()), left, right


def pair_features(products: jax.Array) -> jax.Array:
  """BRISQUE's four features of products of neighbours `[h, w]`: shape, mean and both variances, `[4]`."""
  shape, left, right = fit_asymmetric_gaussian(products)
  mean = (right - left) * gamma_ratio(shape, 2, 1) * jnp.sqrt(gamma_ratio(shape, 1, 3))
  return jnp.stack([shape, mean, left**2, right**2])


def gamma_ratio(shape: jax.Array, over: int, under: int) -> jax.Array:
  """Gamma(over / shape) / Gamma(under / shape)."""
  return jnp.exp(jax.scipy.special.gammaln(over / shape) - jax.scipy.special.gammaln(under / shape))


def halved(grey: jax.Array) -> jax.Array:
  """Every second pixel of both axes, after an antialiasing bicubic filter: MATLAB's `imresize(grey, 0.5)`.

  `[h, w]` -> `[ceil(h / 2), ceil(w / 2)]`, mirrored at the edges.
  """
  distances = np.arange(-3.5, 4) / 2  # Of eight pixels to the new one, in new pixels.
  near = 1.5 * np.abs(distances)**3 - 2.5 * distances**2 + 1
  far = -0.5 * np.abs(distances)**3 + 2.5 * distances**2 - 4 * np.abs(distances) + 2
  weights = np.where(np.abs(distances) <= 1, near, far)
  for axis in (0, 1):
    length = grey.shape[axis]
    padding = [(0, 0), (0, 0)]
    padding[axis] = (3, 3 + length % 2)
    padded = jnp.pad(grey, padding, mode="symmetric")
    last = 2 * ((length - 1) // 2) + 1
    grey = sum(float(weight) * lax.slice_in_dim(padded, tap, tap + last, 2, axis)
               for tap, weight in enumerate(weights / weights.sum()))
  return grey


def _nearest_shape(ratio, ratios):
  """The shape whose ratio, among rising ones, is nearest."""
  midpoints = jnp.asarray((ratios[1:] + ratios[:-1]) / 2, ratio.dtype)
  return jnp.asarray(_SHAPES, ratio.dtype)[jnp.searchsorted(midpoints, ratio)]


@functools.cache
def _moment_ratios() -> np.ndarray:
  """E[|x|]² / E[x²] of generalized Gaussians of all shapes; rises with the shape."""
  first, second, third = (special.gammaln(order / _SHAPES) for order in (1, 2, 3))
  return np.exp(2 * second - first - third)


def _over(numerator, denominator, otherwise=0.0):
  """The quotient, or `otherwise` where the denominator is 0."""
  is_zero = denominator == 0
  return jnp.where(is_zero, otherwise, numerator / jnp.where(is_zero, 1, denominator))
