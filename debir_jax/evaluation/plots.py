"""Pictures of an evaluation as PNG files: images side by side, exposure times against their causes, training curves.

Every function writes one file and creates its folder. Matplotlib is imported inside and drawn on without a window, so
that nothing else needs it.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import os

import numpy as np

from debir_jax.evaluation.canvas import developed
from debir_jax.evaluation.canvas import figure_and_axes as _figure
from debir_jax.evaluation.canvas import save as _save
from debir_jax.evaluation.correlation import correlate
from debir_jax.evaluation.evaluate import Example
from debir_jax.evaluation.records import Record, by_method
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.evaluation.summary import MethodSummary
from debir_jax.types import SUBFRAME_RATE_HZ

_IMAGE_SIDE_INCHES = 1.75
_PANEL_INCHES = (2.9, 2.6)
_MAX_POINTS_UNSMOOTHED = 40
_NUM_COLORS = 10  # Of matplotlib, before they repeat.
_NUM_INTERVALS = 4  # Between ticks, at most: differences have many digits.


def comparison_sheet(path: str | os.PathLike, examples: Sequence[Example]) -> None:
  """One row per example: both previews, the burst with times and gains, the restored image with its PSNR, the target.

  All images go through the viewing ISP, so that colors and brightness compare.

  Args:
    path: of the PNG.
    examples: from `Evaluator.examples`; all of one size and burst length.
  """
  if not examples:
    raise ValueError("There are no examples to show; take some with Evaluator.examples.")
  shapes = {example.raw.shape for example in examples}
  if len(shapes) > 1:
    raise ValueError(f"Examples must share one size and burst length to stand in one sheet, got raw {shapes}.")
  num_frames, height, width, _ = shapes.pop()
  columns = ["earlier preview", "preview", *(f"frame {i + 1}" for i in range(num_frames)), "restored", "target"]
  size = len(columns) * _IMAGE_SIDE_INCHES, len(examples) * (_IMAGE_SIDE_INCHES * height / width + 0.14) + 0.25
  figure, axes = _figure(len(examples), len(columns), size)
  for row, example in zip(axes, examples):
    images = np.concatenate([example.previews, example.raw, example.restored[None], example.target[None]])
    for axis, image, caption in zip(row, developed(images, example.color), _captions(example)):
      axis.imshow(image, interpolation="nearest")
      axis.set(xticks=[], yticks=[])
      axis.set_xlabel(caption, fontsize=8, labelpad=3)
      axis.spines[:].set_visible(False)
    row[0].set_ylabel(f"{example.method}\nscene {example.scene_id}", fontsize=9)
  for axis, title in zip(axes[0], columns):
    axis.set_title(title, fontsize=9)
  _save(figure, path)


def side_by_side(example: Example) -> np.ndarray:
  """Reference frame, restored image and target through the viewing ISP, `[H, 3 W, 3]` in [0, 1]."""
  images = np.stack([example.raw[0], example.restored, example.target])
  return np.concatenate(developed(images, example.color), axis=1)


def exposure_scatter(path: str | os.PathLike, records: Iterable[Record], *, method: str = "DEBIR",
                     kind: str = "pearson") -> None:
  """Predicted exposure times of each frame against motion and against gain (Fig. 3 of the paper).

  A column per frame; above against motion, colored by gain; below against gain, colored by motion. Titles give the
  correlation and its 95 % interval, resampled over scenes.

  Args:
    path: of the PNG.
    records: from `Evaluator.evaluate`.
    method: whose times.
    kind: of correlation, see `correlate`.
  """
  records = [record for record in records if record.method == method]
  if not records:
    raise ValueError(f"There are no records of method {method!r} to plot.")
  records = by_method(records)[method]
  scene_ids = [record.scene_id for record in records]
  times = np.array([record.exposure_times for record in records]) * SUBFRAME_RATE_HZ
  variables = {"motion magnitude": np.array([record.motion_magnitude for record in records]),
               "preview gain": np.array([record.preview_gain for record in records])}
  num_frames = times.shape[1]
  figure, axes = _figure(2, num_frames, (num_frames * _PANEL_INCHES[0] + 0.8, 2 * _PANEL_INCHES[1]), sharey=True)
  for row, (name, other) in zip(axes, [tuple(variables), tuple(variables)[::-1]]):
    for frame, axis in enumerate(row):
      points = axis.scatter(variables[name], times[:, frame], c=variables[other], s=14, alpha=0.8, cmap="viridis")
      correlation = correlate(variables[name], times[:, frame], scene_ids, kind=kind)
      axis.set_title(f"frame {frame + 1}:  {'r' if kind == 'pearson' else 'rank r'} = {correlation}", fontsize=9)
      axis.set_xlabel(name, fontsize=9)
      axis.grid(alpha=0.25)
      axis.tick_params(labelsize=8)
    row[0].set_ylabel("exposure time in 1/1920 s", fontsize=9)
    row[0].set_ylim(times.min() - 1, times.max() + 1)  # Times that hardly differ look like it.
    bar = figure.colorbar(points, ax=list(row), pad=0.01, fraction=0.03)
    bar.set_label(other, fontsize=9)
    bar.ax.tick_params(labelsize=8)
  count = len(set(scene_ids))
  figure.suptitle(f"{method}: predicted exposure times, {len(records)} captures of {count} scenes", fontsize=10)
  _save(figure, path)


def training_curves(path: str | os.PathLike, logs: Sequence[str | os.PathLike]) -> None:
  """Loss and PSNR of each stage against its steps.

  Args:
    path: of the PNG.
    logs: a JSON-lines file per stage; each line holds `stage`, `step`, `loss` and, where the stage restores images,
      `psnr`. Long logs are drawn pale, with a running mean on top.
  """
  curves = [_read_log(log) for log in logs]
  if not curves:
    raise ValueError("There are no logs to plot.")
  figure, axes = _figure(2, len(curves), (len(curves) * _PANEL_INCHES[0], 2 * _PANEL_INCHES[1] * 0.8))
  for column, lines in zip(axes.T, curves):
    for axis, name, label in zip(column, ("loss", "psnr"), ("loss", "PSNR in dB")):
      steps, values = _curve(lines, name)
      if not steps.size:
        axis.set_axis_off()
        continue
      _draw_curve(axis, steps, values)
      axis.set_ylabel(label, fontsize=9)
      axis.set_xlabel("step", fontsize=9)
      axis.grid(alpha=0.25)
      axis.tick_params(labelsize=8)
    if np.all([line["loss"] > 0 for line in lines]):
      _use_log_scale(column[0])
    column[0].set_title(lines[0]["stage"], fontsize=10)
  _save(figure, path)


def differences(path: str | os.PathLike, groups: Mapping[str, Sequence[MethodSummary]], *, reference: str) -> None:
  """Paired difference in PSNR of each method to the reference, with one standard error; a panel per group.

  Args:
    path: of the PNG.
    groups: as for `format_table`.
    reference: the method that differences are taken to.
  """
  names = [summary.method for summary in next(iter(groups.values()))]
  figure, axes = _figure(1, len(groups), (2.5 + len(groups) * _PANEL_INCHES[0], 1.05 + 0.26 * len(names)), sharey=True)
  for axis, (heading, summaries) in zip(axes[0], groups.items()):
    axis.errorbar([summary.difference for summary in summaries], names,
                  xerr=[summary.difference_error for summary in summaries], fmt="o", markersize=4, capsize=2)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_xlabel(f"PSNR less that of {reference}, dB\n± one standard error", fontsize=9)
    axis.locator_params(axis="x", nbins=_NUM_INTERVALS)
    axis.set_title(heading, fontsize=10)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
  axes[0, 0].invert_yaxis()
  _save(figure, path)


def differences_by_condition(path: str | os.PathLike, records: Iterable[Record], *, reference: str = "DEBIR",
                             num_bins: int = 4) -> None:
  """PSNR of each method less that of the reference, against measured motion and gain: where a method pays.

  Captures are put into bins of equal numbers; a point is the mean of one, with one standard error over what scenes show
  (and over training seeds where there are several).

  Args:
    path: of the PNG.
    records: from `Evaluator.evaluate`.
    reference: the method that differences are taken to.
    num_bins: of each axis; fewer where there are fewer than two captures for each.

  Raises:
    ValueError: the reference is missing, or there is no other method.
  """
  of_methods = by_method(list(records))
  if reference not in of_methods or len(of_methods) < 2:
    raise ValueError(f"Differences to {reference!r} need its records and those of another method; there are "
                     f"{', '.join(map(repr, of_methods))}.")
  ours = of_methods.pop(reference)
  conditions = {"measured motion, of full scale": [record.motion_magnitude for record in ours],
                "preview gain": [record.preview_gain for record in ours]}
  figure, axes = _figure(1, len(conditions), (2 * _PANEL_INCHES[0] + 2.4, 1.3 * _PANEL_INCHES[1]), sharey=True)
  for axis, (name, values) in zip(axes[0], conditions.items()):
    order = np.argsort(values, kind="stable")
    bins = np.array_split(order, max(1, min(num_bins, len(order) // 2)))
    for place, (method, others) in enumerate(of_methods.items()):
      points = [_difference([ours[index] for index in chosen], [others[index] for index in chosen]) for chosen in bins]
      means, errors = np.transpose(points)
      axis.errorbar([np.mean(np.asarray(values)[chosen]) for chosen in bins], means, yerr=np.nan_to_num(errors),
                    marker="o", markersize=3, linewidth=1, capsize=2, label=method, color=f"C{place % _NUM_COLORS}",
                    linestyle="--" if place >= _NUM_COLORS else "-")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xlabel(name, fontsize=9)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
  axes[0, 0].set_ylabel(f"PSNR less that of {reference}, dB", fontsize=9)
  figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
  figure.suptitle(f"{len(ours)} captures, {len(bins)} bins of equal numbers, ± one standard error", fontsize=10)
  _save(figure, path)


def _difference(ours: Sequence[Record], others: Sequence[Record]) -> tuple[float, float]:
  """Mean of the others' PSNR less ours, and its standard error."""
  units = Units([record.group or f"scene {record.scene_id}" for record in ours],
                [record.training_seed or 0 for record in ours])
  return mean_and_error(np.array([other.psnr - own.psnr for own, other in zip(ours, others)]), units)


def _captions(example: Example) -> list[str]:
  preview = f"gain {example.preview_gain:.0f}"
  frames = [f"{time * SUBFRAME_RATE_HZ:.1f}/1920 s, gain {gain:.0f}"
            for time, gain in zip(example.exposure_times, example.gains)]
  return [preview, preview, *frames, f"{example.psnr:.2f} dB", ""]


def _read_log(path) -> list[dict]:
  lines = []
  with open(path) as file:
    for number, line in enumerate(file, start=1):
      try:
        fields = json.loads(line)
        lines.append({**fields, "stage": str(fields["stage"]), "step": int(fields["step"]),
                      "loss": float(fields["loss"])})
      except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}:{number} is not a line of a training log with stage, step and loss ({error!r}): "
                         f"{line[:80]!r}") from error
  if not lines:
    raise ValueError(f"{path} is empty: the stage has not logged anything yet.")
  return lines


def _curve(lines, name):
  points = [(line["step"], line[name]) for line in lines if name in line]
  return np.array([step for step, _ in points]), np.array([value for _, value in points], np.float64)


def _draw_curve(axis, steps, values):
  width = values.size // (_MAX_POINTS_UNSMOOTHED // 2) if values.size > _MAX_POINTS_UNSMOOTHED else 1
  axis.plot(steps, values, color="tab:blue", alpha=0.3 if width > 1 else 1.0, linewidth=1)
  if width > 1:
    kernel = np.full(width, 1 / width)
    axis.plot(np.convolve(steps, kernel, "valid"), np.convolve(values, kernel, "valid"), color="tab:blue")


def _use_log_scale(axis):
  """Logarithmic, with plain numbers at 1, 2 and 5: a loss seldom falls by more than a decade."""
  from matplotlib import ticker
  axis.set_yscale("log")
  axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
  axis.yaxis.set_minor_formatter(ticker.NullFormatter())
