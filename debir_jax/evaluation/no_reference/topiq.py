"""TOPIQ: how people would rate an image, guessed by a network (Chen et al., TIP 2024, arXiv 2308.03060).

An adapter to an installation of `pyiqa` (https://github.com/chaofengc/IQA-PyTorch), which has the network and loads its
weights from the internet at the first use. Its licence excludes commercial use, so it is no dependency of this package:
install it yourself if you may. It runs in PyTorch; on a CPU that is enough for a table.
"""

import dataclasses
from typing import Any

import numpy as np

from debir_jax.evaluation.value_range import check_unit_range

_NAME = "topiq_nr"


@dataclasses.dataclass(frozen=True)
class Topiq:
  """The metric, from `load_topiq`; neither a pytree nor for `jit`, as PyTorch does the work.

  Attributes:
    metric: of pyiqa; takes an RGB tensor `[1, 3, h, w]` in [0, 1].
  """

  metric: Any

  def __call__(self, image: np.ndarray, *, border: int = 0) -> float:
    """The rating of an image, from 0 to 1; higher is better.

    Args:
      image: sRGB `[h, w, 3]` in [0, 1], clamped to it.
      border: pixels cut off at each side before.

    Raises:
      ValueError: for another shape or range, numbers that are not finite, or a border that leaves nothing.
    """
    check_unit_range(image=image)
    import torch  # pyiqa brings it.
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or image.shape[-1] != 3 or border < 0 or min(image.shape[:2]) <= 2 * border:
      raise ValueError(f"Expected one sRGB image [h, w, 3] larger than a border of {border} at each side, got "
                       f"{image.shape}.")
    if not np.isfinite(image).all():
      raise ValueError("The image holds numbers that are not finite; whatever restored it has diverged.")
    inner = np.clip(image[border:image.shape[0] - border, border:image.shape[1] - border], 0, 1)
    with torch.no_grad():
      return float(self.metric(torch.from_numpy(np.ascontiguousarray(inner.transpose(2, 0, 1)))[None]))


def load_topiq(device: str = "cpu") -> Topiq:
  """The metric with pyiqa's weights.

  Args:
    device: of PyTorch.

  Raises:
    ImportError: pyiqa is not installed.
  """
  try:
    import pyiqa
  except ImportError as error:
    raise ImportError("TOPIQ needs pyiqa, whose licence excludes commercial use; it is not part of this package. If "
                      "you may use it: `pip install pyiqa`, in the Python environment that runs this command (PyTorch "
                      f"comes with it, CPUs are enough). [{error}]") from error
  return Topiq(pyiqa.create_metric(_NAME, device=device))
