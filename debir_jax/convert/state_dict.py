"""What all importers of PyTorch state dicts share.

A state dict here is a mapping of names to numpy arrays (`{name: tensor.numpy() for name, tensor in ...}`), so nothing
in this package needs PyTorch but the reading of its files.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def conv_kernel(weight: np.ndarray) -> np.ndarray:
  """Convolution weights `[out, in, H, W]` as `[H, W, in, out]`; everything that has not four axes as it is."""
  return np.transpose(weight, (2, 3, 1, 0)) if np.ndim(weight) == 4 else np.asarray(weight)


def check_fits(weights: Mapping[str, np.ndarray], expected: Mapping[str, Any], names: Mapping[str, str]) -> None:
  """Compares imported weights with those that a network has.

  Args:
    weights: arrays by our paths, "align/down1/bias".
    expected: anything with a `shape`, by our paths.
    names: name in the state dict, by our paths.

  Raises:
    ValueError: listing by name what is missing, what is unknown and what has another shape.
  """
  missing = sorted(set(expected) - set(weights))
  unknown = sorted(names[path] for path in set(weights) - set(expected))
  misshapen = [f"{names[path]}: {weights[path].shape} instead of {expected[path].shape} (as {path})"
               for path in sorted(set(weights) & set(expected)) if weights[path].shape != expected[path].shape]
  problems = [f"{title}: {listed(items)}" for title, items in
              (("missing", missing), ("unknown", unknown), ("of another shape", misshapen)) if items]
  if problems:
    raise ValueError("The state dict does not fit the network that it describes. " + "; ".join(problems) + ".")


def listed(names: Iterable[str], most: int = 20) -> str:
  """Names in a row, the first so many."""
  names = list(names)
  return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
