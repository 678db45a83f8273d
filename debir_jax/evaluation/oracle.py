"""The oracle of `policies/oracle.py` among the methods of an evaluation: a search for every capture."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.pipeline import Chain, capture_under, restore, restorer_inputs
from debir_jax.policies import search_exposure_times
from debir_jax.simulator import CaptureConditions, target_of
from debir_jax.types import Scene

_SEARCH_TAG = 1_000_003  # Folded into the burst's key: the search draws other noise than what it is measured on.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Oracle:
  """Finds the exposure times of captures whose scenes it sees; for `Method(..., uses_ground_truth=True)`.

  It knows scene, gain and camera, not the noise: the loss is the mean L1 of several bursts with noise of their own.

  Attributes:
    chain: that the times are meant for.
    candidates: where the search begins, `[m, n]`, s.
    num_draws: bursts per evaluation of the loss.
    num_steps, learning_rate: see `search_exposure_times`.
  """

  chain: Chain
  candidates: np.ndarray
  num_draws: int = 4
  num_steps: int = 40
  learning_rate: float = 0.1

  def __call__(self, scenes: Scene, conditions: CaptureConditions, restorer_variables: Any) -> jax.Array:
    """Exposure times `[B, n]` in s of a batch of captures; seconds for each."""
    static = (self.chain.restorer, self.chain.restorer_inputs, self.chain.setup.timing, self.num_draws, self.num_steps)
    return _search(static, restorer_variables, jnp.asarray(self.candidates, jnp.float32), self.learning_rate, scenes,
                   conditions, self.chain.motion_of(scenes))


@functools.partial(jax.jit, static_argnums=0)
def _search(static, variables, candidates, learning_rate, scenes, conditions, motion):
  restorer, inputs, timing, num_draws, num_steps = static

  def search(capture_of):
    radiance, conditions, motion = capture_of
    target = target_of(radiance, timing)
    search_key = jax.random.fold_in(conditions.burst_key, _SEARCH_TAG)

    def loss_of(times):
      def frames_of(draw):
        redrawn = dataclasses.replace(conditions, burst_key=jax.random.fold_in(search_key, draw))
        return restorer_inputs(capture_under(redrawn, radiance, times, timing, motion=motion), inputs)

      restored = restore(restorer, variables, jax.vmap(frames_of)(jnp.arange(num_draws)))
      return jnp.mean(jnp.abs(restored - target))

    return search_exposure_times(loss_of, candidates, timing, num_steps=num_steps,
                                 learning_rate=learning_rate).exposure_times

  return jax.lax.map(search, (scenes.radiance, conditions, motion))
