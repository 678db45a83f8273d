"""The oracle of `policies/oracle.py` among the methods of an evaluation: a search for every shot."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.policies import search_exposure_times
from debir_jax.restoration import BurstPlanes, Restorer
from debir_jax.simulator import Shot, target_of
from debir_jax.types import BurstTiming, Scene

_SEARCH_TAG = 1_000_003  # Folded into the burst's key: the search draws other noise than what it is measured on.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Oracle:
  """Finds the exposure times of shots whose scenes it sees; for `Method(..., sees_scenes=True)`.

  It knows scene, gain and camera, not the noise: the loss is the mean L1 of several bursts with noise of their own.

  Attributes:
    restorer, burst_planes: see `Evaluator`; those that the times are meant for.
    timing: of the burst.
    candidates: where the search begins, `[m, n]`, s.
    num_draws: bursts per evaluation of the loss.
    num_steps, learning_rate: see `search_exposure_times`.
  """

  restorer: Restorer
  timing: BurstTiming
  candidates: np.ndarray
  burst_planes: BurstPlanes = BurstPlanes()
  num_draws: int = 4
  num_steps: int = 40
  learning_rate: float = 0.1

  def __call__(self, scenes: Scene, shots: Shot, restorer_params: Any) -> jax.Array:
    """Exposure times `[B, n]` in s of a batch of shots; seconds for each."""
    return _search(self.restorer, self.burst_planes, self.num_draws, self.num_steps, self.timing, restorer_params,
                   jnp.asarray(self.candidates, jnp.float32), self.learning_rate, scenes, shots)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search(restorer, burst_planes, num_draws, num_steps, timing, params, candidates, learning_rate, scenes, shots):
  def search(scene_and_shot):
    radiance, shot = scene_and_shot
    target = target_of(radiance, timing)
    search_key = jax.random.fold_in(shot.burst_key, _SEARCH_TAG)

    def loss_of(times):
      take = lambda draw: burst_planes.take(jax.random.fold_in(search_key, draw), radiance, times, shot, timing)
      restored = restorer.apply({"params": params}, jax.vmap(take)(jnp.arange(num_draws)))
      return jnp.mean(jnp.abs(restored - target))

    return search_exposure_times(loss_of, candidates, timing, num_steps=num_steps,
                                 learning_rate=learning_rate).exposure_times

  return jax.lax.map(search, (scenes.radiance, shots))
