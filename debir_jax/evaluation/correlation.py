"""Correlation of predicted exposure times with motion and gain, with an interval that knows about scenes (Fig. 3)."""

import dataclasses

import numpy as np
from scipy import stats

_NUM_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Correlation:
  """A correlation coefficient and its interval; NaN where a variable does not vary.

  Attributes:
    value: in [-1, 1].
    low, high: bounds of the confidence interval; NaN for fewer than 3 scenes.
    num_scenes: that it rests on.
  """

  value: float
  low: float
  high: float
  num_scenes: int

  def __str__(self):
    if np.isnan(self.value):
      return "n/a"
    return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def correlate(x: np.ndarray, y: np.ndarray, scene_ids: np.ndarray, *, kind: str = "pearson", confidence: float = 0.95,
              seed: int = 0) -> Correlation:
  """Correlation over all captures, with a bootstrap interval over scenes.

  Draws of a scene share its motion and content, so scenes are resampled with all their draws: treating captures as
  independent would make the interval too narrow.

  Args:
    x, y, scene_ids: `[num_captures]`.
    kind: "pearson" (linear) or "spearman" (of ranks).
    confidence: of the interval.
    seed: of the resampling.
  """
  x, y, scene_ids = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(scene_ids)
  if kind not in ("pearson", "spearman"):
    raise ValueError(f"kind must be 'pearson' or 'spearman', got {kind!r}.")
  if not x.shape == y.shape == scene_ids.shape or x.ndim != 1 or not x.size:
    raise ValueError(f"x, y and scene_ids must be [num_captures] each, got {x.shape}, {y.shape}, {scene_ids.shape}.")
  if _is_flat(x) or _is_flat(y):
    return Correlation(np.nan, np.nan, np.nan, len(np.unique(scene_ids)))
  ranked = stats.rankdata if kind == "spearman" else np.asarray
  coefficient = lambda captures: _pearson(ranked(x[captures]), ranked(y[captures]))
  scenes = [np.flatnonzero(scene_ids == scene_id) for scene_id in np.unique(scene_ids)]
  value = coefficient(np.arange(x.size))
  if np.isnan(value) or len(scenes) < 3:
    return Correlation(value, np.nan, np.nan, len(scenes))
  of_scenes = lambda picks: coefficient(np.concatenate([scenes[scene] for scene in picks]))
  resampled = stats.bootstrap((np.arange(len(scenes)),), of_scenes, n_resamples=_NUM_RESAMPLES, vectorized=False,
                              method="percentile", rng=seed).bootstrap_distribution
  tail = (1 - confidence) / 2
  # A resample without variation has no coefficient and says nothing.
  low, high = np.nanquantile(resampled, [tail, 1 - tail])
  return Correlation(value, float(low), float(high), len(scenes))


def _pearson(x, y):
  if np.ptp(x) == 0 or np.ptp(y) == 0:
    return float("nan")
  return float(np.corrcoef(x, y)[0, 1])


def _is_flat(values):
  """Whether values vary by no more than float32 rounding, which would otherwise correlate with something."""
  return np.ptp(values) <= 1e-6 * np.abs(values).max()
