"""Means of what the steps tell, between two lines of the log."""

from typing import Any

from clu import metrics as clu_metrics
import flax
import jax
import numpy as np

from debir_jax.types import SUBFRAME_RATE_HZ


class MetricAccumulator:
  """Means of a step's scalars since the last reading, as a clu metric collection; times apart.

  Steps that were not applied count for nothing but the share of those that were.
  """

  def __init__(self):
    self._collection = self._type = None
    self.exposure_times = []

  def add(self, outputs: dict[str, Any]) -> None:
    """Adds a step's outputs without waiting for them."""
    scalars = {name: value for name, value in outputs.items() if name not in ("exposure_times", "scenes")}
    self.exposure_times.append(outputs["exposure_times"])
    if self._type is None:
      averages = {name: clu_metrics.Average.from_output(name) for name in (*scalars, "mean_exposure")}
      self._type = flax.struct.dataclass(type("StepMetrics", (clu_metrics.Collection,), {"__annotations__": averages}))
      self._single, self._merged = jax.jit(self._of_step), jax.jit(lambda one, other: one.merge(other))
    single = self._single(scalars, outputs["exposure_times"])
    self._collection = single if self._collection is None else self._merged(self._collection, single)

  def _of_step(self, scalars, times):
    applied = scalars["applied"]
    scalars = scalars | dict(mean_exposure=times.mean() * SUBFRAME_RATE_HZ)
    kept = {name: value[None] for name, value in scalars.items()}
    single = self._type.single_from_model_output(mask=applied[None] > 0, **kept)
    return single.replace(applied=type(single.applied).from_model_output(applied=applied[None]))

  def read(self) -> tuple[dict[str, float], np.ndarray]:
    """Means, and all exposure times `[m, n]` in s; starts anew."""
    means = {name: float(value) for name, value in self._collection.compute().items()}
    times = np.concatenate([np.asarray(times) for times in self.exposure_times])
    self._collection, self.exposure_times = None, []
    return means, times
