"""Average auto-exposure: the mean brightness of the preview meets a target (Average AE of the paper's Table 1).

E' = E mu* / mean(I) is what cameras have always done. But here gains keep the brightness of every frame at that of the
preview, whatever its exposure time: brightness alone cannot choose a time. So the brightness is metered as if the
preview had been taken at a reference gain: a scene that needs a higher gain is darker, and gets longer times. The
quotient of target and reference gain is one free number; `evaluation.calibrate` sets it to what is best on training
scenes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.policies.policy import same_for_all_frames
from debir_jax.types import BurstTiming, Observation


@dataclasses.dataclass(frozen=True, kw_only=True)
class AverageAE:
  """A `Policy`: one exposure time for all frames, t = t_p mu* g_p / (g_ref mean(I)), within the limits.

  Attributes:
    reference_gain: g_ref, linear.
    target: mu*, mean of linear packed RAW; 0.18 is the convention of a mid grey.
  """

  reference_gain: float
  target: float = 0.18

  def __post_init__(self):
    if not (self.reference_gain > 0 and 0 < self.target < 1):
      raise ValueError(f"reference_gain must be positive and target between 0 and 1, got {self.reference_gain} and "
                       f"{self.target}.")

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene."""
    del key
    mean_intensity = jnp.mean(observation.previews[1]) * self.reference_gain / observation.preview_gain
    # A black preview asks for as long as can be.
    return same_for_all_frames(timing.preview_exposure_s * self.target / jnp.maximum(mean_intensity, 1e-9), timing)
