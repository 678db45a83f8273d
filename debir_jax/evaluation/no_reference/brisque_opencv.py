"""BRISQUE as OpenCV's quality module has it: brisque_model_live.yml, brisque_range_live.yml, and features of its own.

Its regression is not the authors': as many support vectors of the same ratings (774), but other numbers (rho is -149.6
instead of -153.6), trained on features that OpenCV takes in its own way. The image is halved by a bicubic filter
without antialiasing; edge pixels go on beyond the edge; a pixel at the edge has no neighbour beyond it, instead of the
one at the opposite edge; and the shape of the coefficients themselves is that of an asymmetric distribution too. The
one's regression under the other's features is off by up to tens of points on photos.
"""

import pathlib

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.no_reference.scene_statistics import (
  fit_asymmetric_gaussian,
  grey_levels,
  normalized,
  pair_features,
)

_LUMA = (0.299, 0.587, 0.114)
_SHARPNESS = -0.75  # Of its cubic kernel.
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # Rows down, columns to the right.
_MOST_BYTES = 2**24
_KERNEL = ("EPS_SVR", "RBF")


def is_opencv(lines: list[str]) -> bool:
  """Whether a file begins as OpenCV's do."""
  return bool(lines) and lines[0].startswith("%YAML")


def read_opencv(model_path: pathlib.Path, range_path: pathlib.Path, num_features: int) -> tuple:
  """Slopes, offsets, support vectors, coefficients, gamma and rho, in the order of `Brisque`.

  Raises:
    ValueError: a file holds something else.
  """
  bounds = _read(range_path, lambda storage: storage.getNode("range").mat())
  return _read(model_path, lambda storage: _regression(storage, bounds, model_path, range_path, num_features))


def _regression(storage, bounds, model_path, range_path, num_features) -> tuple:
  model = storage.getNode("opencv_ml_svm")
  kernel = model.getNode("kernel")
  if model.empty() or (model.getNode("svmType").string(), kernel.getNode("type").string()) != _KERNEL:
    raise ValueError(f"{model_path} is no regression with a radial kernel, as BRISQUE's in OpenCV's YAML is.")
  if bounds is None or bounds.shape != (2, num_features) or not np.all(bounds[1] > bounds[0]):
    raise ValueError(f"{range_path} must hold the least and the largest value of {num_features} features.")
  vectors, decision = model.getNode("support_vectors"), model.getNode("decision_functions").at(0)
  rows = [_numbers(vectors.at(row)) for row in range(vectors.size())]
  coefficients = _numbers(decision.getNode("alpha"))
  if len(rows) != len(coefficients) or {len(row) for row in rows} != {num_features}:
    raise ValueError(f"{model_path} has {len(coefficients)} coefficients and {len(rows)} support vectors, or some of "
                     f"other than {num_features} features. Is it complete?")
  low, high = bounds.astype(np.float64)
  slopes = 2 / (high - low)
  gamma, rho = kernel.getNode("gamma").real(), decision.getNode("rho").real()
  return slopes, -1 - low * slopes, np.array(rows), np.array(coefficients), gamma, rho


def _numbers(node) -> list[float]:
  return [node.at(place).real() for place in range(node.size())]


def _read(path, read):
  """What a function reads of a file; what OpenCV says of a damaged one becomes an error that names it."""
  import cv2
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"{path} is too large for a file of BRISQUE.")
  try:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)  # Its nodes are only valid while it lives.
    return read(storage)
  except (cv2.error, SystemError) as error:  # OpenCV raises the second one from a constructor.
    raise ValueError(f"{path} is damaged: OpenCV cannot read its YAML.") from error


def opencv_features(image: jax.Array, *, border: int = 0, smallest_side: int = 1) -> jax.Array:
  """The 36 features of `QualityBRISQUE.computeFeatures` of an sRGB image `[h, w, 3]` in [0, 1]; raises as `grey_levels`
  does."""
  return _features(grey_levels(image, border=border, smallest_side=smallest_side, luma=_LUMA))


@jax.jit
def _features(grey):
  return jnp.concatenate([_of_scale(grey), _of_scale(_halved(grey))])


def _of_scale(grey):
  coefficients, _ = normalized(grey, padding="edge")
  shape, left, right = fit_asymmetric_gaussian(coefficients)
  of_pairs = [pair_features(coefficients * _neighbour(coefficients, *steps)) for steps in _NEIGHBOURS]
  return jnp.concatenate([jnp.stack([shape, (left**2 + right**2) / 2]), *of_pairs])


def _neighbour(plane, down, across):
  """Each pixel's neighbour, 0 beyond the edge."""
  height, width = plane.shape
  padded = jnp.pad(plane, 1)
  return lax.dynamic_slice(padded, (1 + down, 1 + across), (height, width))


def _halved(grey):
  """`cv2.resize` to half the sides, rounded down, by the cubic kernel of two pixels on either side."""
  for axis in (0, 1):
    length = grey.shape[axis]
    half = length // 2
    position = (np.arange(half) + 0.5) * (length / half) - 0.5
    first = np.floor(position).astype(int) - 1
    weights = _cubic(position - np.floor(position))
    weights = jnp.asarray(weights[..., None] if axis == 0 else weights[:, None], grey.dtype)
    tap = lambda number: jnp.take(grey, np.clip(first + number, 0, length - 1), axis)
    grey = sum(weight * tap(number) for number, weight in enumerate(weights))
  return grey


def _cubic(share: np.ndarray) -> np.ndarray:
  """Weights `[4, n]` of the pixels around places that lie so far behind the second of them."""
  near = lambda x: ((_SHARPNESS + 2) * x - (_SHARPNESS + 3)) * x**2 + 1
  far = lambda x: _SHARPNESS * (((x - 5) * x + 8) * x - 4)
  return np.stack([far(1 + share), near(share), near(1 - share), far(2 - share)])
