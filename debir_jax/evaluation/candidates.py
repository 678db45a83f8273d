"""What fixed choices of exposure times are worth: pseudo-ground-truth (Sec. 5.3) and the headroom of any policy.

Arrays are `[S, D, m]`: scenes, draws of each, candidates. All candidates of a capture share its gain and noise draws.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from debir_jax.evaluation.statistics import Units, mean_and_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateScores:
  """Every candidate measured on every capture.

  Attributes:
    candidates: exposure times `[m, n]`, s.
    scene_ids: `[S]`.
    preview_gain: `[S, D]`, linear.
    psnr: `[S, D, m]`, dB.
    l1: `[S, D, m]`, the loss of Eq. 11 and 13.
    groups: which photo or clip each scene shows, `[S]`; None where nobody said.
  """

  candidates: np.ndarray
  scene_ids: np.ndarray
  preview_gain: np.ndarray
  psnr: np.ndarray
  l1: np.ndarray
  groups: tuple[str, ...] | None = None


def merge_scores(parts: Sequence[dict[str, Any]]) -> CandidateScores:
  """The scores of which `dataclasses.asdict` gave these parts, also through JSON, in order of scene ids."""
  merged = {name: np.concatenate([np.asarray(part[name]) for part in parts])
            for name in ("scene_ids", "preview_gain", "psnr", "l1")}
  order = np.argsort(merged["scene_ids"], kind="stable")
  return CandidateScores(candidates=np.asarray(parts[0]["candidates"]),
                         **{name: values[order] for name, values in merged.items()})


def pseudo_ground_truth(scores: CandidateScores, *, average_draws: bool = False,
                        metric: str = "l1") -> tuple[np.ndarray, np.ndarray]:
  """The best candidate of every capture: the labels of the warm-up (Sec. 5.3).

  Best is by default the lowest L1, because L1 to the same target is what the main step goes on to minimise (Eq. 13).
  The authors' release takes the highest PSNR, which the worst pixels lead, those of motion: its labels are shorter.

  A label belongs to one capture, with its gain and noise, as in the paper: train on the captures
  `Evaluator.conditions(scene_ids, draw)` that were scored. Averaging over draws would tell BAENet that the gain does
  not matter.

  Args:
    scores: from `Evaluator.score_candidates`.
    average_draws: one label per scene, the best in the mean over its draws, given to all of them.
    metric: "l1" or "psnr".

  Returns:
    Indices of the best candidates `[S, D]` and their exposure times `[S, D, n]`, s.
  """
  sign = dict(l1=1, psnr=-1)[metric]
  worse = sign * _checked(getattr(scores, metric), metric)
  if average_draws:
    worse = np.broadcast_to(worse.mean(axis=1, keepdims=True), worse.shape)
  best = np.argmin(worse, axis=-1)
  return best, scores.candidates[best]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headroom:
  """What adapting the exposure to the scene can gain over the best fixed exposure.

  All gains are in dB of PSNR, means over scenes; `*_error` is their standard error over groups of scenes, see
  `statistics.py` (NaN for one group).

  Attributes:
    mean_psnr, psnr_error: of each candidate, `[m]`, dB, draws averaged within a scene.
    best_fixed: the candidate that is best in the mean over all captures.
    best_per_scene: the best candidate of each scene, `[S]`, in the mean over its draws.
    best_fraction: fraction of the scenes for which each candidate is best, `[m]`.
    per_scene, per_scene_error: gain of the best candidate per scene. Optimistic, because it is chosen on the draws it
      is measured on; never negative.
    per_capture, per_capture_error: gain of the best candidate per capture: an upper bound of what any policy that
      chooses among the candidates gains on these captures. It adapts to the gain too, and to the noise, which nobody
      can know.
    unbiased, unbiased_error: gain where both choices, fixed and per scene, are made on one half of the draws and
      measured on the other half, both ways round. What knowing the scene but not the gain is worth; it can be negative.
      NaN for a single draw.
    num_scenes, num_draws, num_groups: measured on; groups are None where nobody said.
  """

  mean_psnr: np.ndarray
  psnr_error: np.ndarray
  best_fixed: int
  best_per_scene: np.ndarray
  best_fraction: np.ndarray
  per_scene: float
  per_scene_error: float
  per_capture: float
  per_capture_error: float
  unbiased: float
  unbiased_error: float
  num_scenes: int
  num_draws: int
  num_groups: int | None


def headroom(psnr: np.ndarray, groups: Sequence[str] | None = None) -> Headroom:
  """How much better than the best fixed candidate it is to choose per scene; see `Headroom`.

  Near zero means that the scenes or the restorer are wrong: no policy could then show anything.

  Args:
    psnr: `[S, D, m]`, dB; from `CandidateScores`, as the groups.
    groups: which photo or clip each scene shows, `[S]`; None: nobody knows, each counts as one.
  """
  psnr = _checked(psnr, "psnr")
  units = Units.independent(len(psnr)) if groups is None else Units(groups, [0] * len(psnr))
  of_scene = psnr.mean(axis=1)
  best_fixed = int(np.argmax(of_scene.mean(axis=0)))
  best_per_scene = np.argmax(of_scene, axis=1)
  mean_psnr, psnr_error = mean_and_error(of_scene, units)
  per_scene, per_scene_error = mean_and_error(of_scene.max(axis=1) - of_scene[:, best_fixed], units)
  per_capture, per_capture_error = mean_and_error(
      (psnr.max(axis=2) - psnr[..., best_fixed]).mean(axis=1), units)
  unbiased, unbiased_error = mean_and_error(_cross_validated_gains(psnr), units)
  num_scenes, num_draws, num_candidates = psnr.shape
  return Headroom(
      mean_psnr=mean_psnr, psnr_error=psnr_error, best_fixed=best_fixed, best_per_scene=best_per_scene,
      best_fraction=np.bincount(best_per_scene, minlength=num_candidates) / num_scenes, per_scene=per_scene,
      per_scene_error=per_scene_error, per_capture=per_capture, per_capture_error=per_capture_error, unbiased=unbiased,
      unbiased_error=unbiased_error, num_scenes=num_scenes, num_draws=num_draws,
      num_groups=None if groups is None else units.num_groups)


def _cross_validated_gains(psnr):
  """Gain of each scene `[S]`, chosen on one half of the draws and measured on the other, mean of both ways round."""
  half = psnr.shape[1] // 2
  if half == 0:
    return np.full(psnr.shape[0], np.nan)
  halves = psnr[:, :half].mean(axis=1), psnr[:, half:].mean(axis=1)
  return np.mean([_gains_on(measured, chosen_on) for chosen_on, measured in (halves, halves[::-1])], axis=0)


def _gains_on(measured, chosen_on):
  per_scene = np.take_along_axis(measured, np.argmax(chosen_on, axis=1)[:, None], axis=1)[:, 0]
  return per_scene - measured[:, np.argmax(chosen_on.mean(axis=0))]


def _checked(values, name):
  values = np.asarray(values, np.float64)
  if values.ndim != 3 or 0 in values.shape or not np.all(np.isfinite(values)):
    raise ValueError(f"{name} must be finite numbers [scenes, draws, candidates], at least one of each, got shape "
                     f"{values.shape} with {np.sum(~np.isfinite(values))} values that are not finite.")
  return values
