"""BRISQUE: how people would rate an image, guessed from its statistics (Mittal, Moorthy, Bovik, TIP 2012).

18 features of the whole image (grey as MATLAB's rgb2gray) at each of two scales go through a support vector regression
that was trained on people's ratings of distorted images. 0: good, 100: bad; lower is better.

The regression is two files of other people's and not part of this package: `allmodel` and `allrange` of the authors'
release, in the text formats of LIBSVM; `load_brisque` reads them. The release goes through text between its programs
and rounds features to six digits there; here they are not rounded. OpenCV's two files are another metric, see
`brisque_opencv.py`.
"""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.no_reference.brisque_opencv import is_opencv, opencv_features, read_opencv
from debir_jax.evaluation.no_reference.scene_statistics import (
  fit_gaussian,
  grey_levels,
  halved,
  neighbour_products,
  normalized,
  pair_features,
)
from debir_jax.runtime.files import check_downloaded, local_path

NUM_FEATURES = 36
_SCALES = 2
_SMALLEST_SIDE_PX = 16
_KINDS = dict(svm_type=("epsilon_svr", "nu_svr"), kernel_type=("rbf",))
_REMEDY = "Give the files allmodel and allrange of the authors' release of BRISQUE."


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Brisque:
  """The metric with its regression; a pytree.

  Attributes:
    slopes, offsets: features times the one plus the other is what the regression takes, `[36]` each.
    support_vectors: `[k, 36]`.
    coefficients: of each support vector, `[k]`.
    gamma: of the kernel exp(-gamma |x - y|²).
    rho: subtracted at the end.
    opencv: features and limits are OpenCV's.
  """

  slopes: np.ndarray
  offsets: np.ndarray
  support_vectors: np.ndarray
  coefficients: np.ndarray
  gamma: np.ndarray
  rho: np.ndarray
  opencv: bool = dataclasses.field(default=False, metadata=dict(static=True))

  def __call__(self, image: jax.Array, *, border: int = 0) -> jax.Array:
    """The rating of an image; lower is better. Finite also for an image without any contrast.

    Args:
      image: sRGB `[h, w, 3]` in [0, 1], clamped to it.
      border: pixels cut off at each side before.

    Raises:
      ValueError: for another shape, sides below 16 pixels, or (outside of `jit`) another range or numbers that are not
        finite, for which the result inside of `jit` is NaN.
    """
    if self.opencv:
      rating = _rating(self, opencv_features(image, border=border, smallest_side=_SMALLEST_SIDE_PX))
      return jnp.where(jnp.isnan(rating), rating, jnp.clip(rating, 0, 100))
    return _rating(self, brisque_features(image, border=border))


def brisque_features(image: jax.Array, *, border: int = 0) -> jax.Array:
  """The 36 features of an image, before they are scaled; see `Brisque.__call__`."""
  return _features(grey_levels(image, border=border, smallest_side=_SMALLEST_SIDE_PX))


def load_brisque(model_path: str | os.PathLike, range_path: str | os.PathLike) -> Brisque:
  """The metric from a model of `svm-train` and a range file of `svm-scale`: the release's allmodel and allrange.

  OpenCV's brisque_model_live.yml and brisque_range_live.yml give OpenCV's metric, whose values are others.

  Raises:
    FileNotFoundError, ValueError: one is missing, or holds something else.
  """
  model, ranges = _lines(model_path, "model_path"), _lines(range_path, "range_path")
  if is_opencv(model[1]):
    return Brisque(*map(np.asarray, read_opencv(model[0], ranges[0], NUM_FEATURES)), opencv=True)
  slopes, offsets = _read_range(*ranges)
  gamma, rho, coefficients, support_vectors = _read_model(*model)
  return Brisque(*map(np.asarray, (slopes, offsets, support_vectors, coefficients, gamma, rho)))


def _lines(path, argument) -> tuple[pathlib.Path, list[str]]:
  path = local_path(path, argument)
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}. {_REMEDY}")
  check_downloaded(path)
  text = path.read_text(errors="replace")
  if not text.endswith("\n"):
    raise ValueError(f"{path} ends in the middle of a line: it is cut off. {_REMEDY}")
  return path, text.splitlines()


def _read_range(path, lines) -> tuple[np.ndarray, np.ndarray]:
  """Slopes and offsets of a range file: "x", then "lower upper", then "index min max" for every feature."""
  start = next((number for number, line in enumerate(lines) if line.strip() == "x"), None)
  if start is None:
    raise ValueError(f"{path} is no range file of svm-scale: it has no line \"x\". {_REMEDY}")
  rows = [_numbers(path, number, line) for number, line in enumerate(lines[start + 1:], start + 2) if line.strip()]
  if not rows or len(rows[0]) != 2:
    raise ValueError(f"{path} must hold a line \"lower upper\" after its \"x\". {_REMEDY}")
  (lower, upper), *rows = rows
  bounds = {int(row[0]): row[1:] for row in rows if len(row) == 3}
  if len(bounds) != len(rows) or sorted(bounds) != list(range(1, NUM_FEATURES + 1)):
    raise ValueError(f"{path} must hold a line \"index min max\" for each of {NUM_FEATURES} features, but has those of "
                     f"{len(bounds)} in {len(rows)} lines. Is it complete? {_REMEDY}")
  low, high = np.array([bounds[index] for index in sorted(bounds)]).T
  if not np.all(high > low):
    raise ValueError(f"{path}: the largest value of a feature must be above its smallest, which it is not for feature "
                     f"{1 + int(np.argmin(high - low))}. {_REMEDY}")
  slopes = (upper - lower) / (high - low)
  return slopes, lower - low * slopes


def _read_model(path, lines) -> tuple[float, float, np.ndarray, np.ndarray]:
  """gamma, rho, coefficients and support vectors of a model: a header, "SV", then "coefficient index:value ..."."""
  start = next((number for number, line in enumerate(lines) if line.strip() == "SV"), None)
  header = dict((line.split(maxsplit=1) + [""])[:2] for line in lines[:start] if line.strip())
  if start is None or not {"gamma", "rho", "total_sv", *_KINDS} <= set(header):
    raise ValueError(f"{path} is no complete model of svm-train with svm_type, kernel_type, gamma, rho, total_sv and "
                     f"SV. {_REMEDY}")
  for field, known in _KINDS.items():
    if header[field].strip() not in known:
      raise ValueError(f"{path} has {field} {header[field].strip()}; BRISQUE's is {' or '.join(known)}. {_REMEDY}")
  (gamma,), (rho,), (total,) = (_numbers(path, field, header[field]) for field in ("gamma", "rho", "total_sv"))
  rows = [_support_vector(path, number, line) for number, line in enumerate(lines[start + 1:], start + 2)
          if line.strip()]
  if len(rows) != total or not rows:
    raise ValueError(f"{path} announces {total:g} support vectors and holds {len(rows)}. Is it complete? {_REMEDY}")
  rows = np.array(rows)
  if not rows[:, -1].any():
    raise ValueError(f"{path} has support vectors of fewer than {NUM_FEATURES} features: it belongs to something else "
                     f"than BRISQUE. {_REMEDY}")
  return gamma, rho, rows[:, 0], rows[:, 1:]


def _support_vector(path, number, line) -> np.ndarray:
  """`[1 + 36]`: the coefficient and the features, of which a file leaves out zeros."""
  first, *entries = line.split()
  row = np.zeros(1 + NUM_FEATURES)
  row[0], = _numbers(path, number, first)
  for entry in entries:
    index, value = _numbers(path, number, entry.replace(":", " "), count=2)
    if index not in range(1, NUM_FEATURES + 1):
      raise ValueError(f"{path}, line {number}: feature {index:g}, but BRISQUE has {NUM_FEATURES}. {_REMEDY}")
    row[int(index)] = value
  return row


def _numbers(path, where, text, count=None) -> tuple[float, ...]:
  try:
    numbers = tuple(map(float, text.split()))
  except ValueError:
    numbers = ()
  if not numbers or not np.isfinite(numbers).all() or len(numbers) != (count or len(numbers)):
    raise ValueError(f"{path}, {'line ' * isinstance(where, int)}{where}: expected numbers, got {text.strip()[:60]!r}. "
                     f"Is the file complete? {_REMEDY}")
  return numbers


@jax.jit
def _rating(metric, features):
  metric = jax.tree.map(lambda array: array.astype(features.dtype), metric)
  distances = jnp.sum(jnp.square(metric.support_vectors - features * metric.slopes - metric.offsets), -1)
  return jnp.sum(metric.coefficients * jnp.exp(-metric.gamma * distances)) - metric.rho


@jax.jit
def _features(grey):
  features = []
  for _ in range(_SCALES):
    coefficients, _ = normalized(grey, padding="constant")
    of_pairs = jax.vmap(pair_features)(neighbour_products(coefficients))
    features += [jnp.stack(fit_gaussian(coefficients)), of_pairs.ravel()]
    grey = halved(grey)
  return jnp.concatenate(features)
