"""Means over scenes that are not independent of each other, with errors and intervals that say so.

Scenes cut from one photo or clip are a group: they share what makes restoring them hard. Where networks were trained
from several seeds, those of one seed share its luck. What varies at random are groups and seeds, not single scenes:
errors and intervals are over groups, and over seeds where there are several.
"""

from collections.abc import Hashable, Sequence
import dataclasses

import numpy as np
from scipy import stats

MIN_GROUPS = 10  # With fewer, an interval over groups is no evidence: it says little about other photos.
_NUM_RESAMPLES = 4000
_MIN_FOR_INTERVAL = 3


@dataclasses.dataclass(frozen=True)
class Units:
  """What each value of a sample belongs to.

  Attributes:
    groups: label of the group of each value, `[N]`.
    seeds: training seed of each value, `[N]`.
  """

  groups: Sequence[Hashable]
  seeds: Sequence[Hashable]

  @classmethod
  def independent(cls, count: int) -> "Units":
    """Every value is a group of its own, of one seed."""
    return cls(range(count), [0] * count)

  @property
  def num_groups(self) -> int:
    """Different groups."""
    return len(set(self.groups))

  @property
  def num_seeds(self) -> int:
    """Different seeds."""
    return len(set(self.seeds))


def mean_and_error(values: np.ndarray, units: Units | None = None):
  """Mean over the first axis and its standard error; NaN for a single group.

  With one seed the error is the cluster-robust one, sqrt(G/(G-1) sum_g (sum of the residuals of group g)^2) / N, which
  is std / sqrt(N) where every value is a group of its own. With several seeds it is the spread of the mean where groups
  and seeds are drawn again.

  Args:
    values: `[N, ...]`.
    units: what they belong to; None: every value is a group of its own.
  """
  values = np.asarray(values, np.float64)
  units = units or Units.independent(len(values))
  mean, num_groups = values.mean(axis=0), units.num_groups
  if num_groups < 2:
    return mean, np.full(values.shape[1:], np.nan)[()]
  if units.num_seeds > 1:
    columns = values.reshape(len(values), -1).T
    errors = np.array([_bootstrap(column, units).standard_error for column in columns])
    return mean, errors.reshape(values.shape[1:])[()]
  residuals = _sums(values - mean, units.groups)
  return mean, np.sqrt(num_groups / (num_groups - 1) * np.sum(residuals**2, axis=0)) / len(values)


def interval_of_mean(values: np.ndarray, units: Units | None = None, *, confidence: float = 0.95,
                     seed: int = 0) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean of `[N]` values, by drawing groups (and seeds) again.

  NaN for fewer than three groups.
  """
  units = units or Units.independent(len(values))
  if units.num_groups < _MIN_FOR_INTERVAL:
    return float("nan"), float("nan")
  interval = _bootstrap(np.asarray(values, np.float64), units, confidence, seed).confidence_interval
  return float(interval.low), float(interval.high)


def _bootstrap(values, units, confidence=0.95, seed=0):
  """Draws groups and seeds with replacement; the mean is over all values of those that are drawn."""
  (num_groups, group_of), (num_seeds, seed_of) = _numbered(units.groups), _numbered(units.seeds)
  sums, counts = np.zeros((2, num_groups, num_seeds))
  np.add.at(sums, (group_of, seed_of), values)
  np.add.at(counts, (group_of, seed_of), 1)

  def mean(group, seed=np.zeros(1, int), axis=-1):
    del axis
    cells = group[..., :, None], seed[..., None, :]
    return sums[cells].sum((-2, -1)) / counts[cells].sum((-2, -1))

  drawn = (np.arange(num_groups),) + ((np.arange(num_seeds),) if num_seeds > 1 else ())
  return stats.bootstrap(drawn, mean, vectorized=True, n_resamples=_NUM_RESAMPLES, confidence_level=confidence,
                         method="percentile", rng=seed)


def _sums(values, labels):
  """Sums of values `[N, ...]` with the same label, `[G, ...]`."""
  count, index = _numbered(labels)
  sums = np.zeros((count, *values.shape[1:]))
  np.add.at(sums, index, values)
  return sums


def _numbered(labels):
  """How many different labels there are, and the number of each one's, `[N]`."""
  different, index = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
  return len(different), index
