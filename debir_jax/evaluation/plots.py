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
from debir_jax.evaluation.summary import MethodSummary
from debir_jax.types import SUBFRAME_RATE_HZ

_IMAGE_SIDE_INCHES = 1.75
_PANEL_INCHES = (2.9, 2.6)
_MAX_POINTS_UNSMOOTHED = 40


def comparison_sheet(path: str | os.PathLike, examples: Sequence[Example]) -> None:
  """One row per example: both previews, the burst with times and gains, the restored image with its PSNR, the target.

  All images go through the viewing ISP, so that colours and brightness compare.

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
    for axis, image, caption in zip(row, developed(images, example.colour), _captions(example)):
      axis.imshow(image, interpolation="nearest")
      axis.set(xticks=[], yticks=[])
      axis.set_xlabel(caption, fontsize=8, labelpad=3)
      axis.spines[:].set_visible(False)
    row[0].set_ylabel(f"{example.method}\nscene {example.scene_id}", fontsize=9)
  for axis, title in zip(axes[0], columns):
    axis.set_title(title, fontsize=9)
  _save(figure, path)


def side_by_side(example: Example) -> np.ndarray:
  """Base frame, restored image and target through the viewing ISP, `[H, 3 W, 3]` in [0, 1]."""
  images = np.stack([example.raw[0], example.restored, example.target])
  return np.concatenate(developed(images, example.colour), axis=1)


def exposure_scatter(path: str | os.PathLike, records: Iterable[Record], *, method: str = "DEBIR",
                     kind: str = "pearson") -> None:
  """Predicted exposure times of each frame against motion and against gain (Fig. 3 of the paper).

  A column per frame; above against motion, coloured by gain; below against gain, coloured by motion. Titles give the
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
    figure.colorbar(points, ax=list(row), pad=0.01, fraction=0.03).set_label(other, fontsize=9)
  count = len(set(scene_ids))
  figure.suptitle(f"{method}: predicted exposure times, {len(records)} shots of {count} scenes", fontsize=10)
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
  figure, axes = _figure(1, len(groups), (2.5 + len(groups) * _PANEL_INCHES[0], 0.9 + 0.26 * len(names)), sharey=True)
  for axis, (heading, summaries) in zip(axes[0], groups.items()):
    axis.errorbar([summary.difference for summary in summaries], names,
                  xerr=[summary.difference_error for summary in summaries], fmt="o", markersize=4, capsize=2)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_xlabel(f"PSNR less that of {reference}, dB", fontsize=9)
    axis.set_title(heading, fontsize=10)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
  axes[0, 0].invert_yaxis()
  _save(figure, path)


def method_sheet(path: str | os.PathLike, methods: Mapping[str, Sequence[Example]]) -> None:
  """One row per scene: the first frame of the first method, every method's result, and the target (Fig. 2).

  Args:
    path: of the PNG.
    methods: examples of the same shots by method.
  """
  rows = list(zip(*methods.values()))
  columns = ["first frame", *methods, "target"]
  figure, axes = _figure(len(rows), len(columns), (len(columns) * _IMAGE_SIDE_INCHES, len(rows) * 2.0 + 0.25))
  for row, examples in zip(axes, rows):
    first = examples[0]
    images = np.stack([first.raw[0], *[example.restored for example in examples], first.target])
    captions = [f"scene {first.scene_id}, gain {first.preview_gain:.0f}",
                *[f"{example.psnr:.2f} dB  {_times(example)}" for example in examples], ""]
    for axis, image, caption in zip(row, developed(images, first.colour), captions):
      axis.imshow(image, interpolation="nearest")
      axis.set(xticks=[], yticks=[])
      axis.set_xlabel(caption, fontsize=8, labelpad=3)
      axis.spines[:].set_visible(False)
  for axis, title in zip(axes[0], columns):
    axis.set_title(title, fontsize=9)
  _save(figure, path)


def times_at_gains(path: str | os.PathLike, records: Mapping[float, Sequence[Record]]) -> None:
  """Times of each frame against motion at the first gain, and histograms of t_1 at every gain (Fig. 3).

  Args:
    path: of the PNG.
    records: of one method, by gain.
  """
  first = next(iter(records.values()))
  times = np.array([record.exposure_times for record in first]) * SUBFRAME_RATE_HZ
  motion = np.array([record.motion_magnitude for record in first])
  count = times.shape[1]
  figure, axes = _figure(1, count + 1, ((count + 1) * _PANEL_INCHES[0], _PANEL_INCHES[1]))
  for frame, axis in enumerate(axes[0, :count]):
    axis.scatter(motion, times[:, frame], s=12, alpha=0.7)
    axis.set_title(f"t{frame + 1}:  r = {correlate(motion, times[:, frame], [r.scene_id for r in first])}", fontsize=9)
    axis.set_xlabel("motion magnitude", fontsize=9)
    axis.set_ylim(times.min() - 1, times.max() + 1)
  axes[0, 0].set_ylabel(f"1/1920 s, at gain {next(iter(records)):.0f}", fontsize=9)
  of_gain = {gain: [SUBFRAME_RATE_HZ * record.exposure_times[0] for record in rows] for gain, rows in records.items()}
  every = np.concatenate(list(of_gain.values()))
  bins = np.linspace(every.min() - 0.5, every.max() + 0.5, 17)
  for gain, values in of_gain.items():
    axes[0, -1].hist(values, bins, alpha=0.5, label=f"gain {gain:.0f}")
  axes[0, -1].set_xlabel("t1 in 1/1920 s", fontsize=9)
  axes[0, -1].legend(fontsize=8)
  for axis in axes[0]:
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
  _save(figure, path)


def lines(path: str | os.PathLike, x: Sequence[float], panels: Mapping[str, Mapping[str, tuple]], *,
          x_label: str, log_x: bool = False, shaded: tuple[float, float] | None = None) -> None:
  """Values with their errors against a common variable, a line per name and a panel per heading.

  Args:
    path: of the PNG.
    x: `[k]`.
    panels: by heading (the label of its axis): by name: (values, errors), `[k]` each, errors may be None; a name has
      one colour in all panels.
    x_label: what x is.
    log_x: whether its axis is logarithmic.
    shaded: a range of x to point out.
  """
  from matplotlib import ticker
  figure, axes = _figure(1, len(panels), (len(panels) * 4.2, 3.2))
  names = list(dict.fromkeys(name for series in panels.values() for name in series))
  for axis, (heading, series) in zip(axes[0], panels.items()):
    for name, (values, errors) in series.items():
      axis.errorbar(x, values, yerr=errors, marker="o", markersize=4, capsize=2, label=name,
                    color=f"C{names.index(name)}")
    if shaded:
      axis.axvspan(*shaded, color="tab:grey", alpha=0.15)
    if log_x:
      axis.set_xscale("log", base=2)
      axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_xlabel(x_label, fontsize=9)
    axis.set_ylabel(heading, fontsize=9)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
  axes[0, 0].legend(fontsize=8)
  _save(figure, path)


def trade_off(path: str | os.PathLike, groups: Mapping[str, Sequence[MethodSummary]], *,
              frame_gap_s: float | None = None) -> None:
  """PSNR against the mean time of a burst in all; a line per group, errors are those of the paired difference.

  Args:
    path: of the PNG.
    groups: summaries with a common reference method, by name.
    frame_gap_s: also counts between the frames that are taken; None: exposure alone.
  """
  figure, axes = _figure(1, 1, (5.2, 3.6))
  seconds_of = lambda row: sum(row.exposure_times) + (row.num_frames - 1) * (frame_gap_s or 0.0)
  for name, summaries in groups.items():
    rows = sorted(summaries, key=seconds_of)
    totals = [SUBFRAME_RATE_HZ * seconds_of(row) for row in rows]
    axes[0, 0].errorbar(totals, [row.psnr for row in rows], yerr=[row.difference_error for row in rows], marker="o",
                        markersize=4, capsize=2, label=name)
  what = "exposure in all" if frame_gap_s is None else "capture with gaps"
  axes[0, 0].set(xlabel=f"{what}, 1/1920 s", ylabel="PSNR, dB")
  axes[0, 0].grid(alpha=0.25)
  axes[0, 0].legend(fontsize=8)
  _save(figure, path)


def differences_by_condition(path: str | os.PathLike, groups: Mapping[str, Sequence[MethodSummary]], *,
                             reference: str) -> None:
  """Paired difference in PSNR of each method to the reference, with one standard error; conditions below each other.

  Args:
    path: of the PNG.
    groups: summaries of the same methods by condition.
    reference: the method that differences are taken to.
  """
  figure, axes = _figure(1, 1, (5.6, 1.0 + 0.3 * len(groups)))
  names = [summary.method for summary in next(iter(groups.values())) if summary.method != reference]
  places = np.arange(len(groups))
  for index, name in enumerate(names):
    rows = [next(summary for summary in summaries if summary.method == name) for summaries in groups.values()]
    axes[0, 0].errorbar([row.difference for row in rows], places + 0.12 * (index - (len(names) - 1) / 2),
                        xerr=[row.difference_error for row in rows], fmt="o", markersize=4, capsize=2, label=name)
  axes[0, 0].axvline(0, color="grey", linewidth=0.8)
  axes[0, 0].set_yticks(places, list(groups))
  axes[0, 0].set_xlabel(f"PSNR less that of {reference}, dB", fontsize=9)
  axes[0, 0].grid(alpha=0.25)
  axes[0, 0].legend(fontsize=8)
  axes[0, 0].invert_yaxis()
  _save(figure, path)


def gradient_bars(path: str | os.PathLike, gradients: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
  """Gradients of a loss to the exposure times of all frames, with one standard deviation over noise draws.

  Args:
    path: of the PNG.
    gradients: by heading: `mean` and `deviation` per 1/1920 s, and `times` in 1/1920 s; a panel each.
  """
  figure, axes = _figure(1, len(gradients), (len(gradients) * _PANEL_INCHES[0], _PANEL_INCHES[1]), sharey=True)
  for axis, (heading, row) in zip(axes[0], gradients.items()):
    labels = [f"t{index + 1}\n{time:.1f}" for index, time in enumerate(row["times"])]
    axis.bar(labels, row["mean"], yerr=row["deviation"], capsize=3, color="tab:blue", alpha=0.7)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_title(f"speed {heading}", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, axis="y")
  axes[0, 0].set_ylabel("dLoss/dt per 1/1920 s", fontsize=9)
  _save(figure, path)


def landscape(path: str | os.PathLike, first: np.ndarray, second: np.ndarray, loss: np.ndarray, descent: np.ndarray,
              predicted: np.ndarray) -> None:
  """A loss over two exposure times, a path of descent through it and a prediction.

  Args:
    path: of the PNG.
    first, second: exposure times, `[k]` and `[m]`, 1/1920 s.
    loss: `[m, k]`, NaN where there is none.
    descent: `[steps, 2]`, 1/1920 s; may be empty.
    predicted: `[2]`, 1/1920 s.
  """
  figure, axes = _figure(1, 1, (4.6, 3.8))
  axis = axes[0, 0]
  contours = axis.contourf(first, second, np.ma.masked_invalid(loss), levels=20, cmap="viridis")
  figure.colorbar(contours, ax=axis).set_label("mean loss", fontsize=9)
  if len(descent):
    steps = np.asarray(descent)
    axis.plot(steps[:, 0], steps[:, 1], "w.-", markersize=3, linewidth=1, label="descent")
  axis.plot(*predicted, "r*", markersize=12, label="BAENet")
  axis.set(xlabel="t1 in 1/1920 s", ylabel="t2 in 1/1920 s")
  axis.legend(fontsize=8, loc="upper right", facecolor="darkgrey")
  _save(figure, path)


def derivative_maps(path: str | os.PathLike, images: Mapping[str, np.ndarray], maps: np.ndarray,
                    exposure_times: Sequence[float]) -> None:
  """Images, and how strongly each pixel changes with each exposure time, on one scale.

  Args:
    path: of the PNG.
    images: `[H, W, 3]` in [0, 1] by title.
    maps: `[n, h, w]`, absolute change per 1/1920 s, white = 1.
    exposure_times: `[n]`, 1/1920 s.
  """
  count = len(images) + len(maps)
  figure, axes = _figure(1, count, (count * _IMAGE_SIDE_INCHES + 0.8, _IMAGE_SIDE_INCHES + 0.4))
  for axis, (title, image) in zip(axes[0], images.items()):
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9)
  for index, (axis, values) in enumerate(zip(axes[0, len(images):], maps)):
    shown = axis.imshow(values, vmin=0, vmax=max(float(np.quantile(maps, 0.995)), 1e-12), cmap="magma")
    axis.set_title(f"|dI/dt{index + 1}|, t{index + 1} = {exposure_times[index]:.1f}", fontsize=9)
  for axis in axes[0]:
    axis.set(xticks=[], yticks=[])
  figure.colorbar(shown, ax=list(axes[0]), fraction=0.02, pad=0.01).set_label("per 1/1920 s", fontsize=8)
  _save(figure, path)


def _times(example: Example) -> str:
  return "{" + ",".join(f"{time * SUBFRAME_RATE_HZ:.0f}" for time in example.exposure_times) + "}"


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
