"""From records to a table: means, paired differences and their standard errors.

Draws of a scene are not independent of each other, so they are averaged first. Nor are scenes of one photo: errors and
intervals are over groups of scenes, and over training seeds where there are several, see `statistics.py`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from debir_jax.evaluation.candidates import CandidateScores, Headroom
from debir_jax.evaluation.records import Record, by_method
from debir_jax.evaluation.statistics import MIN_GROUPS, Units, interval_of_mean, mean_and_error
from debir_jax.policies import format_exposure_times
from debir_jax.types import SUBFRAME_RATE_HZ

_NOT_ALWAYS = ("lpips", "view_psnr", "view_ssim")  # Metrics that are compared where all records have them.
_PATCH_HEADER = ["PSNR in patches", "vs whole"]
_PATCH_NOTE = "vs whole: paired difference of PSNR in patches to that of the same whole images [95 % interval]."


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSummary:
  """A method in numbers; `*_error` is a standard error over groups of scenes (NaN for one group).

  Attributes:
    method: its name.
    psnr, psnr_error: dB.
    ssim, ssim_error: at most 1.
    difference, difference_error: PSNR less that of the reference method on the same captures, dB; positive: better.
    difference_low, difference_high: its 95 % interval, by resampling of groups and seeds; NaN for fewer than three
      groups.
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
    num_scenes, num_draws, num_groups, num_seeds: measured on; groups are None where nobody said, every scene then
      counts as one.
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
  num_groups: int | None = None
  num_seeds: int = 1
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


def json_fields(summary: MethodSummary) -> dict[str, Any]:
  """Fields of a summary for JSON, which has no NaN: null stands for what is not known."""
  known = lambda value: None if isinstance(value, float) and not np.isfinite(value) else value
  return {name: known(value) for name, value in dataclasses.asdict(summary).items()}


def scene_means(records: Sequence[Record], metric: str) -> np.ndarray:
  """Mean over draws of a field of one method's records, per scene and training seed, `[S]` or `[S, n]`.

  In order of seed and scene, as `units_of` has them.
  """
  of_scenes = _of_scenes(records)
  counts = [len(draws) for draws in of_scenes.values()]
  if min(counts) != max(counts):
    raise ValueError(f"Scenes have between {min(counts)} and {max(counts)} draws; the set is incomplete. Evaluate "
                     "all scenes with the same number of draws.")
  return np.array([np.mean([getattr(record, metric) for record in draws], axis=0, dtype=np.float64)
                   for draws in of_scenes.values()])


def units_of(records: Sequence[Record]) -> Units:
  """What the values of `scene_means` belong to; a scene whose group nobody said is one of its own."""
  first = [draws[0] for draws in _of_scenes(records).values()]
  return Units([record.group or f"scene {record.scene_id}" for record in first],
               [record.training_seed or 0 for record in first])


def _of_scenes(records):
  """Records of the draws of a scene, by seed and scene."""
  found = {}
  for record in records:
    found.setdefault((record.training_seed or 0, record.scene_id), []).append(record)
  return dict(sorted(found.items()))


def warning_of(num_groups: int | None) -> list[str]:
  """What a table has to say of itself where it rests on too few photos; None: nobody knows on how many."""
  if num_groups is None:
    return ["Which scenes show the same photo was not recorded: errors and intervals are too small if some do."]
  if num_groups < MIN_GROUPS:
    return [f"This is no evidence: errors and intervals over {num_groups} photos or clips say little about others; "
            f"{MIN_GROUPS} are the least."]
  return []


def format_table(groups: Mapping[str, Sequence[MethodSummary]], *, reference: str = "DEBIR",
                 markdown: bool = False, first: str = "method") -> str:
  """A table with a row per method and a set of columns per group.

  Args:
    groups: summaries by heading, such as {"stage 1": ..., "fine-tuned": ...}; a single one may have the heading "".
      Where a method is missing its cells are empty.
    reference: the method that differences are taken to.
    markdown: a Markdown table instead of aligned plain text.
    first: heading of the first column.
  """
  methods = list(dict.fromkeys(summary.method for summaries in groups.values() for summary in summaries))
  header, rows = [first], [[method] for method in methods]
  for heading, summaries in groups.items():
    suffix = f", {heading}" if heading else ""
    has_lpips, has_patches = (any(getattr(summary, name) is not None for summary in summaries)
                              for name in ("lpips", "patch_psnr"))
    header += [f"PSNR{suffix}", "SSIM", *["LPIPS"] * has_lpips, f"vs {reference}", "wins", *_PATCH_HEADER * has_patches]
    known = {summary.method: summary for summary in summaries}
    for row in rows:
      row += _cells(known.get(row[0]), reference=reference, has_lpips=has_lpips, has_patches=has_patches)
  # Usually both columns rest on the same exposure times: print them once.
  shown = {heading: _time_cells(summaries) for heading, summaries in groups.items()}
  whole = next(iter(shown.values()))
  shown = {"": whole} if all(times.items() <= whole.items() for times in shown.values()) else shown
  for heading, times in shown.items():
    header.append("mean times (1/1920 s)" + (f", {heading}" if heading else ""))
    for row in rows:
      row.append(times.get(row[0], ""))
  notes = [_PATCH_NOTE] if _PATCH_HEADER[0] in header else []
  return f"{_layout(header, rows, markdown)}\n\n{_footnote(next(iter(groups.values()))[0], reference, notes)}"


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
  lines = [f"Gain over the best fixed candidate {fixed} in dB, {_count(result)}:"]
  lines += [f"  {name:<16}  {_plus_minus(gain, error, 3)}  ({meaning})" for name, gain, error, meaning in gains]
  text = "\n".join([*lines, *warning_of(result.num_groups)])
  return f"{_layout(header, rows, markdown)}\n\n" + (f"```\n{text}\n```" if markdown else text)


def _summarize(method, records, reference) -> MethodSummary:
  fields, units = {}, units_of(records)
  metrics = [("psnr", "difference"), ("ssim", "ssim_difference")]
  metrics += [(name, f"{name}_difference") for name in _NOT_ALWAYS if _all_have(name, (*records, *reference))]
  for metric, difference in metrics:
    values = scene_means(records, metric)
    paired = values - scene_means(reference, metric)
    fields[metric], fields[f"{metric}_error"] = map(float, mean_and_error(values, units))
    fields[difference], fields[f"{difference}_error"] = map(float, mean_and_error(paired, units))
    if metric == "psnr":
      fields["win_rate"] = float(np.mean((paired > 0) + (paired == 0) / 2))
      fields["difference_low"], fields["difference_high"] = interval_of_mean(paired, units)
  if _all_have("patch_psnr", records):
    fields |= _patch_fields(records, units)
  num_scenes = len({record.scene_id for record in records})
  times = scene_means(records, "exposure_times").mean(axis=0)
  num_frames = float(np.mean([np.count_nonzero(record.exposure_times) for record in records]))
  return MethodSummary(method=method, exposure_times=tuple(times.tolist()), num_frames=num_frames,
                       num_scenes=num_scenes, num_draws=len(records) // len(units.groups),
                       num_groups=units.num_groups if _all_have("group", records) else None,
                       num_seeds=units.num_seeds, **fields)


def _patch_fields(records, units) -> dict[str, float]:
  fields = {}
  for metric in ("patch_psnr", "patch_ssim"):
    fields[metric], fields[f"{metric}_error"] = map(float, mean_and_error(scene_means(records, metric), units))
  change = scene_means(records, "patch_psnr") - scene_means(records, "psnr")
  fields["patch_change"], fields["patch_change_error"] = map(float, mean_and_error(change, units))
  fields["patch_change_low"], fields["patch_change_high"] = interval_of_mean(change, units)
  return fields


def _all_have(metric, records) -> bool:
  return all(getattr(record, metric) is not None for record in records)


def _cells(summary, *, reference, has_lpips, has_patches):
  """Of one method in one group of columns; empty where it was not measured there."""
  if summary is None:
    return [""] * (4 + has_lpips + len(_PATCH_HEADER) * has_patches)
  quality = _quality_cells(summary, is_reference=summary.method == reference, has_lpips=has_lpips)
  return quality + _patch_cells(summary) * has_patches


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
  """Mean times by method, without frames that are never taken, and how many are taken where that varies or is not all.
  """
  cells = {}
  for summary in summaries:
    times = " ".join(f"{time * SUBFRAME_RATE_HZ:.1f}" for time in summary.exposure_times if time)
    some = summary.num_frames < len(summary.exposure_times)
    cells[summary.method] = f"{times} ({summary.num_frames:.3g} frames)" if some else times
  return cells


def _footnote(summary, reference, notes):
  over = "scenes" if summary.num_groups is None else "photos or clips"
  over += " and training seeds" * (summary.num_seeds > 1)
  lines = [f"{_count(summary)}, the same for all methods. PSNR in dB, ± one standard error over {over}.",
           f"vs {reference}: paired difference in PSNR [95 % interval over {over}]; wins: share of the scenes with a "
           f"higher PSNR than {reference}.", *notes, *warning_of(summary.num_groups)]
  return "\n".join(lines)


def _count(measured):
  plural = lambda count, what: f"{count} {what}{'s' * (count != 1)}"
  groups = "" if measured.num_groups is None else f" of {measured.num_groups} photos or clips"
  seeds = getattr(measured, "num_seeds", 1)
  return (f"{plural(measured.num_scenes, 'scene')}{groups} with {plural(measured.num_draws, 'noise draw')} each"
          + f", networks of {seeds} training seeds" * (seeds > 1))


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
