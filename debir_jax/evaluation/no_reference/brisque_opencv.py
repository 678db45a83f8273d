"""BRISQUE's regression in the files of OpenCV's quality module: brisque_model_live.yml and brisque_range_live.yml.

They hold the authors' LIVE model; OpenCV reads its own YAML. Features are scaled to [-1, 1] by their ranges.
"""

import pathlib

import numpy as np

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
