"""Figures without a window, and the PNG files that they end in."""

import os
import pathlib
from typing import Any

_DOTS_PER_INCH = 130


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
