"""From records to a table: means, paired differences and their standard errors over scenes.

Scenes are what is drawn at random from the world, draws of a scene are not independent of each other. So draws are
averaged within a scene first, and every standard error is one over scenes.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np
from scipy import stats

from debir_jax.evaluation.candidates import CandidateScores, Headroom, mean_and_error
from debir_jax.evaluation.records import Record, by_method
from debir_jax.policies import format_exposure_times
from debir_jax.types import SUBFRAME_RATE_HZ

_NUM_RESAMPLES = 4000
_NOT_ALWAYS = ("lpips", "view_psnr", "view_ssim")  # Metrics that are compared where all records have them.
_PATCH_HEADER = ["PSNR in patches", "vs whole"]
_PATCH_NOTE = "\nvs whole: paired difference of PSNR in patches to that of the same whole images [95 % interval]."


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSummary:
  """A method in numbers; `*_error` is a standard error over scenes (NaN for a single scene).

  Attributes:
    method: its name.
    psnr, psnr_error: dB.
    ssim, ssim_error: at most 1.
    difference, difference_error: PSNR less that of the reference method on the same captures, dB; positive: better.
    difference_low, difference_high: its 95 % interval, by resampling of scenes; NaN for fewer than three.
    ssim_difference, ssim_difference_error: the same for SSIM.
    lpips, lpips_error, lpips_difference, lpips_difference_error: the same for LPIPS, where it was measured; negative
      differences are better.
    view_psnr, view_psnr_error, view_psnr_difference, view_psnr_difference_error, and for view_ssim: the same for the
      viewing images, where they were measured.
    patch_psnr, patch_psnr_error, patch_ssim, patch_ssim_error: restored in patches, where that was measured.
    patch_change, patch_change_error: PSNR in patches less that of the method's own whole images, dB; positive: patches
      are better.
    patch_change_low, patch_change_high: its 95 % interval.
    win_rate: fraction of the scenes on which it beats the reference method by PSNR; a tie counts half.
    exposure_times: mean of each frame, `[n]`, s; 0 in it where the frame was left out.
    num_frames: mean number of frames that were taken.
    num_scenes, num_draws: measured on.
  """

  method: str
  psnr: float
  psnr_error: float
  ssim: float
  ssim_error: float
  difference: float
  difference_error: float
  difference_low: float
  difference_high: float
  ssim_difference: float
  ssim_difference_error: float
  win_rate: float
  exposure_times: tuple[float, ...]
  num_frames: float
  num_scenes: int
  num_draws: int
  lpips: float | None = None
  lpips_error: float | None = None
  lpips_difference: float | None = None
  lpips_difference_error: float | None = None
  view_psnr: float | None = None
  view_psnr_error: float | None = None
  view_psnr_difference: float | None = None
  view_psnr_difference_error: float | None = None
  view_ssim: float | None = None
  view_ssim_error: float | None = None
  view_ssim_difference: float | None = None
  view_ssim_difference_error: float | None = None
  patch_psnr: float | None = None
  patch_psnr_error: float | None = None
  patch_ssim: float | None = None
  patch_ssim_error: float | None = None
  patch_change: float | None = None
  patch_change_error: float | None = None
  patch_change_low: float | None = None
  patch_change_high: float | None = None


def summarize(records: Sequence[Record], *, reference: str = "DEBIR") -> list[MethodSummary]:
  """One summary per method, in the order in which they first appear.

  Raises:
    ValueError: the reference method is missing, methods were measured on different captures, or scenes have different
      numbers of draws.
  """
  groups = by_method(records)
  if reference not in groups:
    raise ValueError(f"There is no method {reference!r} to compare with; there are {', '.join(map(repr, groups))}.")
  return [_summarize(method, group, groups[reference]) for method, group in groups.items()]


def scene_means(records: Sequence[Record], metric: str) -> np.ndarray:
  """Mean over draws of a field of one method's records, per scene `[S]` or `[S, n]`, in order of scene ids."""
  scene_ids = np.array([record.scene_id for record in records])
  values = np.array([getattr(record, metric) for record in records], np.float64)
  unique, counts = np.unique(scene_ids, return_counts=True)
  if counts.min() != counts.max():
    raise ValueError(f"Scenes have between {counts.min()} and {counts.max()} draws; the set is incomplete. Evaluate "
                     "all scenes with the same number of draws.")
  return np.array([values[scene_ids == scene_id].mean(axis=0) for scene_id in unique])


def format_table(groups: Mapping[str, Sequence[MethodSummary]], *, reference: str = "DEBIR",
                 markdown: bool = False, first: str = "method") -> str:
  """A table with a row per method and a set of columns per group.

  Args:
    groups: summaries of the same methods by heading, such as {"stage 1": ..., "fine-tuned": ...}; a single one may
      have the heading "".
    reference: the method that differences are taken to.
    markdown: a Markdown table instead of aligned plain text.
    first: heading of the first column.
  """
  tables = list(groups.values())
  methods = [summary.method for summary in tables[0]]
  for heading, summaries in groups.items():
    if [summary.method for summary in summaries] != methods:
      raise ValueError(f"Column {heading!r} must hold the methods {methods} in this order, got "
                       f"{[summary.method for summary in summaries]}.")
  header, rows = [first], [[method] for method in methods]
  for heading, summaries in groups.items():
    suffix = f", {heading}" if heading else ""
    has_lpips, has_patches = (any(getattr(summary, name) is not None for summary in summaries)
                              for name in ("lpips", "patch_psnr"))
    header += [f"PSNR{suffix}", "SSIM", *["LPIPS"] * has_lpips, f"vs {reference}", "wins", *_PATCH_HEADER * has_patches]
    for row, summary in zip(rows, summaries):
      row += _quality_cells(summary, is_reference=summary.method == reference, has_lpips=has_lpips)
      row += _patch_cells(summary) * has_patches
  # Usually both columns rest on the same exposure times: print them once.
  shown = {heading: times for heading, times in zip(groups, map(_time_cells, tables))}
  shown = shown if len({tuple(times) for times in shown.values()}) > 1 else {"": shown[next(iter(shown))]}
  for heading, times in shown.items():
    header.append("mean times (1/1920 s)" + (f", {heading}" if heading else ""))
    for row, cell in zip(rows, times):
      row.append(cell)
  note = _PATCH_NOTE if _PATCH_HEADER[0] in header else ""
  return f"{_layout(header, rows, markdown)}\n\n{_footnote(tables[0][0], reference)}{note}"


def format_headroom(result: Headroom, scores: CandidateScores, *, markdown: bool = False) -> str:
  """The candidates as a table, and in words what choosing per scene gains."""
  header = ["candidate (1/1920 s)", "in all", "PSNR", "best for"]
  rows = [[format_exposure_times(times), f"{times.sum() * SUBFRAME_RATE_HZ:.0f}", _plus_minus(quality, error, 2),
           f"{100 * fraction:.0f} % of scenes"]
          for times, quality, error, fraction in zip(scores.candidates, result.mean_psnr, result.psnr_error,
                                                     result.best_fraction)]
  fixed = format_exposure_times(scores.candidates[result.best_fixed])
  gains = [
      ("best per scene", result.per_scene, result.per_scene_error, "optimistic: chosen on the draws that measure it"),
      ("cross-validated", result.unbiased, result.unbiased_error, "chosen on half of the draws, measured on the rest"),
      ("best per capture", result.per_capture, result.per_capture_error, "bounds any policy that chooses among these")]
  lines = [f"Gain over the best fixed candidate {fixed} in dB, {_count(result.num_scenes, result.num_draws)}:"]
  lines += [f"  {name:<16}  {_plus_minus(gain, error, 3)}  ({meaning})" for name, gain, error, meaning in gains]
  text = "\n".join(lines)
  return f"{_layout(header, rows, markdown)}\n\n" + (f"```\n{text}\n```" if markdown else text)


def _summarize(method, records, reference) -> MethodSummary:
  fields = {}
  metrics = [("psnr", "difference"), ("ssim", "ssim_difference")]
  metrics += [(name, f"{name}_difference") for name in _NOT_ALWAYS if _all_have(name, (*records, *reference))]
  for metric, difference in metrics:
    values = scene_means(records, metric)
    paired = values - scene_means(reference, metric)
    fields[metric], fields[f"{metric}_error"] = map(float, mean_and_error(values))
    fields[difference], fields[f"{difference}_error"] = map(float, mean_and_error(paired))
    if metric == "psnr":
      fields["win_rate"] = float(np.mean((paired > 0) + (paired == 0) / 2))
      fields["difference_low"], fields["difference_high"] = interval_of_mean(paired)
  if _all_have("patch_psnr", records):
    fields |= _patch_fields(records)
  num_scenes = len({record.scene_id for record in records})
  times = scene_means(records, "exposure_times").mean(axis=0)
  num_frames = float(np.mean([np.count_nonzero(record.exposure_times) for record in records]))
  return MethodSummary(method=method, exposure_times=tuple(times.tolist()), num_frames=num_frames,
                       num_scenes=num_scenes, num_draws=len(records) // num_scenes, **fields)


def _patch_fields(records) -> dict[str, float]:
  fields = {}
  for metric in ("patch_psnr", "patch_ssim"):
    fields[metric], fields[f"{metric}_error"] = map(float, mean_and_error(scene_means(records, metric)))
  change = scene_means(records, "patch_psnr") - scene_means(records, "psnr")
  fields["patch_change"], fields["patch_change_error"] = map(float, mean_and_error(change))
  fields["patch_change_low"], fields["patch_change_high"] = interval_of_mean(change)
  return fields


def _all_have(metric, records) -> bool:
  return all(getattr(record, metric) is not None for record in records)


def interval_of_mean(values: np.ndarray, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean of independent values `[S]`; NaN for fewer than three."""
  if len(values) < 3:
    return float("nan"), float("nan")
  interval = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=_NUM_RESAMPLES, confidence_level=confidence,
                             method="percentile", rng=seed).confidence_interval
  return float(interval.low), float(interval.high)


def _quality_cells(summary, *, is_reference, has_lpips):
  difference = "" if is_reference else _with_interval(
      summary.difference, summary.difference_error, summary.difference_low, summary.difference_high)
  wins = "" if is_reference else f"{100 * summary.win_rate:.0f} %"
  distance = ["n/a" if summary.lpips is None else f"{summary.lpips:.4f}"] * has_lpips
  return [_plus_minus(summary.psnr, summary.psnr_error, 2), f"{summary.ssim:.4f}", *distance, difference, wins]


def _patch_cells(summary):
  if summary.patch_psnr is None:
    return ["n/a", "n/a"]
  return [_plus_minus(summary.patch_psnr, summary.patch_psnr_error, 2), _with_interval(
      summary.patch_change, summary.patch_change_error, summary.patch_change_low, summary.patch_change_high)]


def _time_cells(summaries):
  """Mean times without frames that are never taken, and how many are taken where that varies or is not all."""
  cells = []
  for summary in summaries:
    times = " ".join(f"{time * SUBFRAME_RATE_HZ:.1f}" for time in summary.exposure_times if time)
    some = summary.num_frames < len(summary.exposure_times)
    cells.append(f"{times} ({summary.num_frames:.3g} frames)" if some else times)
  return cells


def _footnote(summary, reference):
  return (f"{_count(summary.num_scenes, summary.num_draws)}, the same for all methods. PSNR in dB, ± one standard "
          f"error over scenes.\nvs {reference}: paired difference in PSNR [95 % interval]; wins: share of the scenes "
          f"with a higher PSNR than {reference}.")


def _count(num_scenes, num_draws):
  return f"{num_scenes} scene{'s' * (num_scenes != 1)} with {num_draws} noise draw{'s' * (num_draws != 1)} each"


def _with_interval(value, error, low, high):
  text = _plus_minus(value, error, 3, signed=True)
  return f"{text} [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else text


def _plus_minus(value, error, digits, *, signed=False):
  if not np.isfinite(value):
    return "n/a"
  text = f"{value:{'+' if signed else ''}.{digits}f}"
  return f"{text} ± {error:.{digits}f}" if np.isfinite(error) else text


def _layout(header, rows, markdown):
  widths = [max(map(len, column)) for column in zip(header, *rows)]
  lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in [header, *rows]]
  rule = ["-" * width for width in widths]
  if markdown:
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])
  return "\n".join("  ".join(line).rstrip() for line in [lines[0], rule, *lines[1:]])
