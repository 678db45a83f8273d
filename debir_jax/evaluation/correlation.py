"""Correlation of predicted exposure times with motion and gain, with an interval that knows about scenes (Fig. 3)."""

import dataclasses

import numpy as np

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
  """Correlation over all shots, with a bootstrap interval over scenes.

  Draws of a scene share its motion and content, so scenes are resampled with all their draws: treating shots as
  independent would make the interval too narrow.

  Args:
    x, y, scene_ids: `[num_shots]`.
    kind: "pearson" (linear) or "spearman" (of ranks).
    confidence: of the interval.
    seed: of the resampling.
  """
  x, y, scene_ids = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(scene_ids)
  if kind not in ("pearson", "spearman"):
    raise ValueError(f"kind must be 'pearson' or 'spearman', got {kind!r}.")
  if not x.shape == y.shape == scene_ids.shape or x.ndim != 1 or not x.size:
    raise ValueError(f"x, y and scene_ids must be [num_shots] each, got {x.shape}, {y.shape}, {scene_ids.shape}.")
  transform = _ranks if kind == "spearman" else lambda values: values
  coefficient = lambda shots: _pearson(transform(x[shots]), transform(y[shots]))
  scenes = [np.flatnonzero(scene_ids == scene_id) for scene_id in np.unique(scene_ids)]
  value = float("nan") if _is_flat(x) or _is_flat(y) else coefficient(np.arange(x.size))
  if np.isnan(value) or len(scenes) < 3:
    return Correlation(value, np.nan, np.nan, len(scenes))
  picks = np.random.default_rng(seed).integers(len(scenes), size=(_NUM_RESAMPLES, len(scenes)))
  resampled = [coefficient(np.concatenate([scenes[scene] for scene in pick])) for pick in picks]
  tail = (1 - confidence) / 2
  # A resample without variation has no coefficient and says nothing.
  low, high = np.nanquantile(resampled, [tail, 1 - tail])
  return Correlation(value, float(low), float(high), len(scenes))


def _pearson(x, y):
  if np.ptp(x) == 0 or np.ptp(y) == 0:
    return float("nan")
  x, y = x - x.mean(), y - y.mean()
  return float(np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))


def _is_flat(values):
  """Whether values vary by no more than float32 rounding, which would otherwise correlate with something."""
  return np.ptp(values) <= 1e-6 * np.abs(values).max()


def _ranks(values):
  """Ranks from 1; ties share their mean rank."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  last = np.cumsum(counts)
  return (last - (counts - 1) / 2)[inverse]
