"""Means of what the steps tell, between two lines of the log; of gradient norms quantiles too.

Gradients have spikes of many times their median, which the second moment of Adam remembers: a mean does not tell.
"""

from typing import Any

from clu import metrics as clu_metrics
import flax
import jax
import numpy as np

from debir_jax.types import SUBFRAME_RATE_HZ

_QUANTILES = dict(median=0.5, p90=0.9, max=1.0)
_NORMS = ("grad_norm", "bae_grad_norm")


class MetricAccumulator:
  """Means of a step's scalars since the last reading, as a clu metric collection; times and gradient norms apart.

  Steps that were not applied count for nothing but the share of those that were.
  """

  def __init__(self):
    self._collection = self._type = None
    self.exposure_times, self._norms = [], []

  def add(self, outputs: dict[str, Any]) -> None:
    """Adds a step's outputs without waiting for them."""
    scalars = {name: value for name, value in outputs.items() if name not in ("exposure_times", "scenes")}
    self.exposure_times.append(outputs["exposure_times"])
    self._norms.append({name: outputs[name] for name in ("applied", *_NORMS) if name in outputs})
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
    """Means with quantiles of gradient norms as "grad_norm_median" and so on; all exposure times `[m, n]` in s.

    Starts anew."""
    scalars = {name: float(value) for name, value in self._collection.compute().items()}
    times = np.concatenate([np.asarray(times) for times in self.exposure_times])
    scalars |= _norm_quantiles(jax.device_get(self._norms))
    self._collection, self.exposure_times, self._norms = None, [], []
    return scalars, times


def _norm_quantiles(steps):
  applied = [norms for norms in steps if norms["applied"] > 0]
  return {f"{norm}_{name}": float(np.quantile([norms[norm] for norms in applied], share))
          for norm in _NORMS if applied and norm in applied[0] for name, share in _QUANTILES.items()}
