"""NIQE: how far an image's statistics are from those of good photos (Mittal, Soundararajan, Bovik, SPL 2013).

18 features at each of two scales of every block of 96x96 pixels; their mean and covariance against those of pristine
photos. Lower is better. Without a reference and without opinions of people; it knows noise and blur, not what is shown.

What is computed follows the authors' release, to which the published pristine model belongs (asymmetric fits also of
the coefficients themselves, scale parameters where the paper has variances; grey as MATLAB's rgb2gray). Differences:
blocks without any contrast are left out altogether, and flat pixels count as neither negative nor positive. BasicSR and
pyiqa take another grey (the Y of YCbCr, from 16 to 235), which gives other values.

The pristine model is a file of other people's and not part of this package: `load_niqe` reads the release's
modelparameters.mat or its widespread copy niqe_pris_params.npz. `fit_niqe` makes a model of any good photos instead;
its values compare with one another, but not with published ones.
"""

from collections.abc import Iterable
import dataclasses
import functools
import os

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from scipy import io

from debir_jax.evaluation.no_reference.scene_statistics import (
  fit_asymmetric_gaussian,
  gamma_ratio,
  grey_levels,
  halved,
  neighbour_products,
  normalized,
)
from debir_jax.runtime.files import check_downloaded, local_path

NUM_FEATURES = 36
BLOCK_SIDE_PX = 96
_SCALES = 2
_SHARPNESS_SHARE = 0.75  # Of the sharpest block of a photo; blocks below it do not count in a pristine model.
_NO_VARIATION = 1e-8  # Of the correlation of pristine features; directions below it are left out.
_NAMES = (("mu_prisparam", "cov_prisparam"), ("mu_pris_param", "cov_pris_param"))  # In .mat and in .npz.
_REMEDY = ("Give the release's modelparameters.mat, its copy niqe_pris_params.npz, or fit a model with "
           "debir_jax.evaluation.fit_niqe.")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Niqe:
  """The metric with its pristine model, from `load_niqe`, `fit_niqe` or `niqe_of`; a pytree.

  Attributes:
    mean, covariance: of the features of pristine photos, `[36]` and `[36, 36]`.
    whitening: `[36, k]`, for which whitening.T @ covariance @ whitening is the identity. Features vary by factors of a
      thousand and nearly depend on one another: made in float64, it lets float32 do for the rest.
  """

  mean: np.ndarray
  covariance: np.ndarray
  whitening: np.ndarray

  def __call__(self, image: jax.Array, *, border: int = 0) -> jax.Array:
    """The distance of an image from good photos, 0 or more; lower is better.

    The image is cut to whole blocks, from its upper left. An image without any contrast gets a finite, large number.

    Args:
      image: sRGB `[h, w, 3]` in [0, 1], clamped to it.
      border: pixels cut off at each side before.

    Raises:
      ValueError: for another shape, less than one block, or (outside of `jit`) another range or numbers that are not
        finite, for which the result inside of `jit` is NaN.
    """
    grey = grey_levels(image, border=border, smallest_side=BLOCK_SIDE_PX)
    return _distance(grey, jnp.asarray(self.mean, grey.dtype), jnp.asarray(self.whitening, grey.dtype))


def niqe_of(mean: np.ndarray, covariance: np.ndarray) -> Niqe:
  """The metric for a mean `[36]` and a covariance `[36, 36]` of pristine features."""
  mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
  scales = np.sqrt(np.diag(covariance))
  scales = np.where(scales > 0, scales, 1)
  variances, axes = np.linalg.eigh(covariance / np.outer(scales, scales))
  kept = variances > _NO_VARIATION
  whitening = axes[:, kept] / np.sqrt(variances[kept]) / scales[:, None]
  return Niqe(mean, covariance, whitening)


def fit_niqe(images: Iterable[jax.Array], *, stride: int = BLOCK_SIDE_PX) -> Niqe:
  """The metric with a pristine model of these photos.

  Of every photo the blocks count whose sharpness (mean local deviation) is above 0.75 of its sharpest block's.

  Args:
    images: good photos, sRGB `[h, w, 3]` in [0, 1], of any sizes from 96 px.
    stride: from one block to the next, px, even; with less than 96 blocks overlap, which makes more of few photos.

  Raises:
    ValueError: too few blocks for a covariance of 36 features, or what `Niqe.__call__` refuses.
  """
  if stride < 2 or stride % 2:
    raise ValueError(f"stride must be an even number of pixels, got {stride}: blocks are halved for the second scale.")
  chosen = [np.zeros((0, NUM_FEATURES))]
  for image in images:
    features, sharpness = _block_features(grey_levels(image, smallest_side=BLOCK_SIDE_PX), stride)
    chosen.append(np.asarray(features, np.float64)[np.asarray(sharpness) > _SHARPNESS_SHARE * np.max(sharpness)])
  chosen = np.concatenate(chosen)
  if len(chosen) <= NUM_FEATURES:
    raise ValueError(f"These {len(chosen)} sharp blocks of {BLOCK_SIDE_PX}x{BLOCK_SIDE_PX} px give no covariance of "
                     f"{NUM_FEATURES} features. Give more photos, larger ones, or a smaller stride.")
  return niqe_of(chosen.mean(0), np.cov(chosen.T))


def save_niqe(path: str | os.PathLike, metric: Niqe) -> None:
  """Writes the pristine model as .npz, under the names that `load_niqe` and others read."""
  np.savez(local_path(path, "path"), mu_pris_param=np.asarray(metric.mean)[None],
           cov_pris_param=np.asarray(metric.covariance))


def load_niqe(path: str | os.PathLike) -> Niqe:
  """The metric with the pristine model of a file: modelparameters.mat, or niqe_pris_params.npz.

  Raises:
    FileNotFoundError, ValueError: there is none, or it holds something else.
  """
  path = local_path(path, "path")
  if not path.is_file():
    raise FileNotFoundError(f"There is no pristine model of NIQE at {path}. {_REMEDY}")
  check_downloaded(path)
  arrays = _read(path)
  for mean, covariance in _NAMES:
    if mean in arrays and covariance in arrays:
      return niqe_of(*_checked(path, np.asarray(arrays[mean]), np.asarray(arrays[covariance])))
  found = ", ".join(name for name in arrays if not name.startswith("__")) or "nothing"
  raise ValueError(f"{path} holds {found}, not mu_prisparam and cov_prisparam. {_REMEDY}")


def _read(path) -> dict:
  try:
    if path.suffix.lower() == ".npz":
      with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
    return io.loadmat(path)
  except Exception as error:  # pylint: disable=broad-exception-caught  # Both raise whatever a damaged file provokes.
    raise ValueError(f"{path} is no readable .mat or .npz file ({error}). {_REMEDY}") from error


def _checked(path, mean, covariance):
  if mean.size != NUM_FEATURES or covariance.shape != (NUM_FEATURES, NUM_FEATURES):
    raise ValueError(f"{path} holds a mean {mean.shape} and a covariance {covariance.shape} instead of {NUM_FEATURES} "
                     f"numbers and {NUM_FEATURES}x{NUM_FEATURES}. {_REMEDY}")
  mean, covariance = np.asarray(mean.ravel(), np.float64), np.asarray(covariance, np.float64)
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise ValueError(f"{path} holds numbers that are not finite. {_REMEDY}")
  largest = np.abs(covariance).max()
  is_symmetric = np.allclose(covariance, covariance.T, atol=1e-6 * largest)
  if not largest > 0 or not is_symmetric or np.linalg.eigvalsh(covariance)[0] < -1e-6 * largest:
    raise ValueError(f"The covariance of {path} is none: it is zero, not symmetric, or has negative variances. "
                     f"{_REMEDY}")
  return mean, covariance


@jax.jit
def _distance(grey, pristine_mean, whitening):
  features, sharpness = _block_features(grey, BLOCK_SIDE_PX)
  has_contrast = sharpness != 0
  weights = jnp.where(jnp.any(has_contrast), has_contrast, True).astype(grey.dtype)[:, None]
  count = jnp.sum(weights)
  mean = jnp.sum(weights * features, 0) / count
  product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
  offset = product(mean - pristine_mean, whitening)
  deviations = weights * product(features - mean, whitening)
  covariance = product(deviations.T, deviations) / jnp.maximum(count - 1, 1)
  pooled = (jnp.eye(len(offset), dtype=grey.dtype) + covariance) / 2  # Of pristine and own features, in whitened axes.
  return jnp.sqrt(product(offset, jnp.linalg.solve(pooled, offset)))


@functools.partial(jax.jit, static_argnums=1)
def _block_features(grey, stride):
  """Features `[B, 36]` and sharpness `[B]` of all whole blocks; a block without contrast has features 0.2 or 0."""
  height, width = ((side - BLOCK_SIDE_PX) // stride * stride + BLOCK_SIDE_PX for side in grey.shape)
  grey, of_scales, sharpness = grey[:height, :width], [], None
  for scale in range(_SCALES):
    coefficients, deviation = normalized(grey, padding="edge")
    side, step = BLOCK_SIDE_PX >> scale, stride >> scale
    of_scales.append(jax.vmap(_features)(_blocks(coefficients, side, step)))
    if scale == 0:
      sharpness = jnp.mean(_blocks(deviation, side, step), (1, 2))
    grey = halved(grey)
  return jnp.concatenate(of_scales, -1), sharpness


def _blocks(plane, side, stride):
  """`[h, w]` -> `[B, side, side]`, row by row."""
  rows, columns = (jnp.arange(0, length - side + 1, stride) for length in plane.shape)
  starts = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
  return jax.vmap(lambda start: lax.dynamic_slice(plane, start, (side, side)))(starts)


def _features(coefficients):
  """The 18 features of a block at one scale."""
  planes = jnp.concatenate([coefficients[None], neighbour_products(coefficients)])
  shape, left, right = jax.vmap(fit_asymmetric_gaussian)(planes)
  scale = jnp.sqrt(gamma_ratio(shape, 1, 3))  # Of a generalized Gaussian of deviation 1.
  left, right = scale * left, scale * right
  means = (right - left) * gamma_ratio(shape, 2, 1)
  of_products = jnp.stack([shape, means, left, right], -1)[1:]
  return jnp.concatenate([shape[:1], (left[:1] + right[:1]) / 2, of_products.ravel()])
