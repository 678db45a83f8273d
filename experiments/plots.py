"""Pictures of the experiments: methods side by side, under several conditions, and what their times follow from.

Every function writes one PNG file and creates its folder, as those of `debir_jax.evaluation.plots` do.
"""

from collections.abc import Mapping, Sequence
import os

import numpy as np

from debir_jax.evaluation import Example, MethodSummary, Record, correlate
from debir_jax.evaluation.canvas import developed, figure_and_axes, save
from debir_jax.types import SUBFRAME_RATE_HZ

_IMAGE_SIDE_INCHES = 1.75
_PANEL_INCHES = (2.9, 2.6)


def method_sheet(path: str | os.PathLike, methods: Mapping[str, Sequence[Example]]) -> None:
  """One row per scene: the first frame of the first method, every method's result, and the target (Fig. 2).

  Args:
    path: of the PNG.
    methods: examples of the same captures by method.
  """
  rows = list(zip(*methods.values()))
  columns = ["first frame", *methods, "target"]
  figure, axes = figure_and_axes(len(rows), len(columns), (len(columns) * _IMAGE_SIDE_INCHES, len(rows) * 2.0 + 0.25))
  for row, examples in zip(axes, rows):
    first = examples[0]
    images = np.stack([first.raw[0], *[example.restored for example in examples], first.target])
    captions = [f"scene {first.scene_id}, gain {first.preview_gain:.0f}",
                *[f"{example.psnr:.2f} dB  {_times(example)}" for example in examples], ""]
    for axis, image, caption in zip(row, developed(images, first.color), captions):
      axis.imshow(image, interpolation="nearest")
      axis.set(xticks=[], yticks=[])
      axis.set_xlabel(caption, fontsize=8, labelpad=3)
      axis.spines[:].set_visible(False)
  for axis, title in zip(axes[0], columns):
    axis.set_title(title, fontsize=9)
  save(figure, path)


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
  figure, axes = figure_and_axes(1, count + 1, ((count + 1) * _PANEL_INCHES[0], _PANEL_INCHES[1]))
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
  save(figure, path)


def lines(path: str | os.PathLike, x: Sequence[float], panels: Mapping[str, Mapping[str, tuple]], *,
          x_label: str, log_x: bool = False, shaded: tuple[float, float] | None = None) -> None:
  """Values with their errors against a common variable, a line per name and a panel per heading.

  Args:
    path: of the PNG.
    x: `[k]`.
    panels: by heading (the label of its axis): by name: (values, errors), `[k]` each, errors may be None; a name has
      one color in all panels.
    x_label: what x is.
    log_x: whether its axis is logarithmic.
    shaded: a range of x to point out.
  """
  from matplotlib import ticker
  figure, axes = figure_and_axes(1, len(panels), (len(panels) * 4.2, 3.2))
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
  _legend_above(figure)
  save(figure, path)


def trade_off(path: str | os.PathLike, groups: Mapping[str, Sequence[MethodSummary]], *,
              frame_gap_s: float | None = None) -> None:
  """PSNR against the mean time of a burst in all; a line per group, errors are those of the paired difference.

  Args:
    path: of the PNG.
    groups: summaries with a common reference method, by name.
    frame_gap_s: also counts between the frames that are taken; None: exposure alone.
  """
  figure, axes = figure_and_axes(1, 1, (5.2, 3.6))
  seconds_of = lambda row: sum(row.exposure_times) + (row.num_frames - 1) * (frame_gap_s or 0.0)
  for name, summaries in groups.items():
    rows = sorted(summaries, key=seconds_of)
    totals = [SUBFRAME_RATE_HZ * seconds_of(row) for row in rows]
    axes[0, 0].errorbar(totals, [row.psnr for row in rows], yerr=[row.difference_error for row in rows], marker="o",
                        markersize=4, capsize=2, label=name)
  what = "exposure in all" if frame_gap_s is None else "capture with gaps"
  axes[0, 0].set(xlabel=f"{what}, 1/1920 s", ylabel="PSNR, dB ± standard error of the difference")
  axes[0, 0].grid(alpha=0.25)
  axes[0, 0].legend(fontsize=8)
  save(figure, path)


def differences_by_condition(path: str | os.PathLike, groups: Mapping[str, Sequence[MethodSummary]], *,
                             reference: str) -> None:
  """Paired difference in PSNR of each method to the reference, with one standard error; conditions below each other.

  Args:
    path: of the PNG.
    groups: summaries of the same methods by condition.
    reference: the method that differences are taken to.
  """
  figure, axes = figure_and_axes(1, 1, (5.6, 1.0 + 0.3 * len(groups)))
  names = [summary.method for summary in next(iter(groups.values())) if summary.method != reference]
  places = np.arange(len(groups))
  for index, name in enumerate(names):
    rows = [next(summary for summary in summaries if summary.method == name) for summaries in groups.values()]
    axes[0, 0].errorbar([row.difference for row in rows], places + 0.12 * (index - (len(names) - 1) / 2),
                        xerr=[row.difference_error for row in rows], fmt="o", markersize=4, capsize=2, label=name)
  axes[0, 0].axvline(0, color="grey", linewidth=0.8)
  axes[0, 0].set_yticks(places, list(groups))
  axes[0, 0].set_xlabel(f"PSNR less that of {reference}, dB ± one standard error", fontsize=9)
  axes[0, 0].grid(alpha=0.25)
  axes[0, 0].legend(fontsize=8)
  axes[0, 0].invert_yaxis()
  save(figure, path)


def gradient_bars(path: str | os.PathLike, gradients: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
  """Gradients of a loss to the exposure times of all frames, with one standard deviation over noise draws.

  Args:
    path: of the PNG.
    gradients: by heading: `mean` and `deviation` per 1/1920 s, and `times` in 1/1920 s; a panel each.
  """
  figure, axes = figure_and_axes(1, len(gradients), (len(gradients) * _PANEL_INCHES[0], _PANEL_INCHES[1]), sharey=True)
  for axis, (heading, row) in zip(axes[0], gradients.items()):
    labels = [f"t{index + 1}\n{time:.1f}" for index, time in enumerate(row["times"])]
    axis.bar(labels, row["mean"], yerr=row["deviation"], capsize=3, color="tab:blue", alpha=0.7)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_title(f"speed {heading}", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, axis="y")
  axes[0, 0].set_ylabel("dLoss/dt per 1/1920 s", fontsize=9)
  save(figure, path)


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
  figure, axes = figure_and_axes(1, 1, (4.6, 3.8))
  axis = axes[0, 0]
  contours = axis.contourf(first, second, np.ma.masked_invalid(loss), levels=20, cmap="viridis")
  figure.colorbar(contours, ax=axis).set_label("mean loss", fontsize=9)
  if len(descent):
    steps = np.asarray(descent)
    axis.plot(steps[:, 0], steps[:, 1], "w.-", markersize=3, linewidth=1, label="descent")
  axis.plot(*predicted, "r*", markersize=12, label="BAENet")
  axis.set(xlabel="t1 in 1/1920 s", ylabel="t2 in 1/1920 s")
  axis.legend(fontsize=8, loc="upper right", facecolor="darkgrey")
  save(figure, path)


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
  figure, axes = figure_and_axes(1, count, (count * _IMAGE_SIDE_INCHES + 0.8, _IMAGE_SIDE_INCHES + 0.4))
  for axis, (title, image) in zip(axes[0], images.items()):
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9)
  for index, (axis, values) in enumerate(zip(axes[0, len(images):], maps)):
    shown = axis.imshow(values, vmin=0, vmax=max(float(np.quantile(maps, 0.995)), 1e-12), cmap="magma")
    axis.set_title(f"|dI/dt{index + 1}|, t{index + 1} = {exposure_times[index]:.1f}", fontsize=9)
  for axis in axes[0]:
    axis.set(xticks=[], yticks=[])
  figure.colorbar(shown, ax=list(axes[0]), fraction=0.02, pad=0.01).set_label("per 1/1920 s", fontsize=8)
  save(figure, path)


def _legend_above(figure) -> None:
  """Of all panels, each name once; above them, as inside it may hide errors."""
  found = {}
  for axis in figure.axes:
    for handle, name in zip(*axis.get_legend_handles_labels()):
      found.setdefault(name, handle)
  figure.legend(found.values(), found, loc="outside upper center", ncols=len(found), fontsize=8)


def _times(example: Example) -> str:
  return "{" + ",".join(f"{time * SUBFRAME_RATE_HZ:.0f}" for time in example.exposure_times) + "}"
