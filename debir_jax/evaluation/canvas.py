"""Images through the viewing ISP, figures without a window, and the PNG files that they end in."""

import os
import pathlib
from typing import Any

import jax
import numpy as np

from debir_jax.imaging import view
from debir_jax.types import CameraColor

_DOTS_PER_INCH = 130

_view_all = jax.jit(jax.vmap(view, in_axes=(0, None)))


def developed(images: np.ndarray, color: CameraColor) -> np.ndarray:
  """Viewing images `[N, 2 h, 2 w, 3]`, sRGB, of packed RAW `[N, h, w, 4]`."""
  return np.asarray(_view_all(images, color))


def figure_and_axes(num_rows: int, num_columns: int, size_inches: tuple[float, float], **options: Any) -> tuple:
  """A figure that belongs to no window and no global state, and its axes `[num_rows, num_columns]`."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=size_inches, layout="constrained")
  return figure, figure.subplots(num_rows, num_columns, squeeze=False, **options)


def save(figure: Any, path: str | os.PathLike) -> None:
  """Writes a figure as PNG; creates its folder."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=_DOTS_PER_INCH, format="png")
