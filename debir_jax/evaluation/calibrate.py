"""The free number of a hand-made policy, set to what is best on training scenes: a fair chance for every baseline."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np

from debir_jax.evaluation.evaluate import Method
from debir_jax.evaluation.records import Record, by_method
from debir_jax.policies import Policy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """What every value of the number gave.

  Attributes:
    values: that were tried.
    l1: mean loss of each, `[m]`.
    best: the value with the lowest loss.
    at_the_end: whether that is the first or last value, so that the best one may lie beyond.
  """

  values: tuple[float, ...]
  l1: np.ndarray
  best: float
  at_the_end: bool


def calibrate(policy_of: Callable[[float], Policy], values: Sequence[float],
              evaluate: Callable[[list[Method]], list[Record]], restorer_variables: Any) -> Calibration:
  """Tries a policy with every value.

  Args:
    policy_of: makes the policy of a value.
    values: to try, in ascending order.
    evaluate: measures methods on training scenes, such as a partial `Evaluator.evaluate`.
    restorer_variables: of the restorer that all are measured with.

  Raises:
    ValueError: there are no values, or they do not ascend.
  """
  values = tuple(map(float, values))
  if not values or any(value >= following for value, following in zip(values, values[1:])):
    raise ValueError(f"values must ascend and be at least one, got {values}.")
  records = by_method(evaluate([Method(repr(value), policy_of(value), restorer_variables) for value in values]))
  l1 = np.array([np.mean([record.l1 for record in records[repr(value)]]) for value in values])
  index = int(np.argmin(l1))
  return Calibration(values=values, l1=l1, best=values[index], at_the_end=index in (0, len(values) - 1))
