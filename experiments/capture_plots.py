"""Pictures of captures: what each method's burst looks like and what becomes of it, with a detail magnified (Fig. 4).

Every function writes one PNG file and creates its folder, as those of `plots.py` do.
"""

from collections.abc import Mapping, Sequence
import os

import numpy as np
from scipy import ndimage

from debir_jax.evaluation.canvas import developed, figure_and_axes, save
from debir_jax.evaluation.evaluate import Example
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments.image_scores import HIGHER_IS_BETTER, ScoreSummary

_IMAGE_SIDE_INCHES = 1.5
_PANEL_INCHES = (2.9, 0.35)
_NUM_INTERVALS = 4  # Between ticks, at most: differences have many digits.
_DETAIL_SHARE = 4  # The magnified part has a fourth of the shorter side.
_BOX_COLOR = "yellow"


def burst_sheet(path: str | os.PathLike, examples: Sequence[Example]) -> None:
  """A row per method and scene: frames with times and gains, the restored image, a detail; below, the true image.

  Args:
    path: of the PNG.
    examples: scene by scene, from `Evaluator.examples`; all of one burst length.
  """
  if not examples:
    raise ValueError("There are no examples to show; take some with Evaluator.examples.")
  scenes: dict[int, list[Example]] = {}
  for example in examples:
    scenes.setdefault(example.scene_id, []).append(example)
  num_frames, num_rows = len(examples[0].raw), len(examples) + len(scenes)
  titles = [*(f"frame {index + 1}" for index in range(num_frames)), "restored", "detail"]
  size = len(titles) * _IMAGE_SIDE_INCHES, num_rows * (_IMAGE_SIDE_INCHES + 0.25) + 0.25
  figure, axes = figure_and_axes(num_rows, len(titles), size)
  rows = iter(axes)
  for scene_id, of_scene in scenes.items():
    truth, = developed(of_scene[0].target[None], of_scene[0].color)
    corner, side = _detail_of(truth)
    for example, row in zip(of_scene, rows):
      *frames, restored = developed(np.stack([*example.raw, example.restored]), example.color)
      for axis, image, time, gain in zip(row, frames, example.exposure_times, example.gains):
        _show(axis, image, f"{time * SUBFRAME_RATE_HZ:.1f}/1920 s, gain {gain:.0f}")
      _show_with_detail(row[-2:], restored, corner, side, f"{example.psnr:.2f} dB")
      row[0].set_ylabel(f"{example.method}\nscene {scene_id}", fontsize=9)
    row = next(rows)
    for axis in row[:-2]:
      axis.set_axis_off()
    _show_with_detail(row[-2:], truth, corner, side, "true image")
  for axis, title in zip(axes[0], titles):
    axis.set_title(title, fontsize=9)
  save(figure, path)


def capture_sheet(path: str | os.PathLike, captures: Mapping[str, Mapping[str, np.ndarray]]) -> None:
  """A row per capture: every method's image, and beside it the same detail magnified.

  Args:
    path: of the PNG.
    captures: images `[h, w, 3]` in [0, 1] by name and method; a capture's images have one size.
  """
  if not captures:
    raise ValueError("There are no captures to show.")
  methods = list(next(iter(captures.values())))
  side_inches = 2 * _IMAGE_SIDE_INCHES
  figure, axes = figure_and_axes(len(captures), 2 * len(methods),
                                 (2 * len(methods) * side_inches, len(captures) * side_inches + 0.25))
  for row, (name, images) in zip(axes, captures.items()):
    corner, side = _detail_of(np.mean(list(images.values()), axis=0))
    for index, method in enumerate(methods):
      _show_with_detail(row[2 * index:2 * index + 2], images[method], corner, side, "")
    row[0].set_ylabel(name, fontsize=9)
  for index, method in enumerate(methods):
    axes[0, 2 * index].set_title(method, fontsize=10)
    axes[0, 2 * index + 1].set_title("detail", fontsize=9)
  save(figure, path)


def score_differences(path: str | os.PathLike, summaries: Mapping[str, Sequence[ScoreSummary]], *,
                      reference: str) -> None:
  """Difference of each method to the reference by every metric, with its 95 % interval; a panel per metric.

  Args:
    path: of the PNG.
    summaries: by metric.
    reference: the method that differences are taken to.
  """
  height = 0.9 + _PANEL_INCHES[1] * max(map(len, summaries.values()))
  figure, axes = figure_and_axes(1, len(summaries), (1.5 + len(summaries) * _PANEL_INCHES[0], height))
  for axis, (metric, rows) in zip(axes[0], summaries.items()):
    differences = np.array([row.difference for row in rows])
    low, high = (np.array([getattr(row, name) for row in rows]) for name in ("difference_low", "difference_high"))
    axis.errorbar(differences, [row.method for row in rows], xerr=np.stack([differences - low, high - differences]),
                  fmt="o", markersize=4, capsize=2)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_xlabel(f"{metric} less that of {reference}\n[95 % interval]", fontsize=9)
    axis.locator_params(axis="x", nbins=_NUM_INTERVALS)
    axis.set_title(f"{metric}, {'higher' if HIGHER_IS_BETTER[metric] else 'lower'} is better", fontsize=10)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.invert_yaxis()
  save(figure, path)


def show_with_details(axes: np.ndarray, images: Sequence[np.ndarray], captions: Sequence[str]) -> None:
  """Images of one scene in the upper row of axes `[2, N]`, below them the detail with the strongest gradients of the
  last."""
  corner, side = _detail_of(images[-1])
  for column, image, caption in zip(axes.T, images, captions):
    _show_with_detail(column, image, corner, side, caption)


def _detail_of(image) -> tuple[tuple[int, int], int]:
  """Corner (row, column) and side of the square with the strongest gradients, a fourth of its side off the edges."""
  side = max(1, min(image.shape[:2]) // _DETAIL_SHARE)
  margin = side // 4
  gradients = np.hypot(*np.gradient(np.mean(image, -1)))
  means = ndimage.uniform_filter(gradients, side, mode="constant", origin=-(side // 2))
  inside = means[margin:image.shape[0] - side + 1 - margin, margin:image.shape[1] - side + 1 - margin]
  row, column = np.unravel_index(np.argmax(inside), inside.shape)
  return (int(row) + margin, int(column) + margin), side


def _show_with_detail(axes, image, corner, side, caption) -> None:
  from matplotlib.patches import Rectangle
  row, column = corner
  _show(axes[0], image, caption)
  axes[0].add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=_BOX_COLOR, linewidth=1))
  _show(axes[1], image[row:row + side, column:column + side], "")


def _show(axis, image, caption) -> None:
  axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
  axis.set(xticks=[], yticks=[])
  axis.set_xlabel(caption, fontsize=8, labelpad=3)
  axis.spines[:].set_visible(False)
