"""Motion metering in the manner of Night Sight (Liba et al. 2019): as long as the blur stays below some pixels.

Not one of the paper's methods, but what phones do: the exposure time of all frames follows from the measured speed.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.policies.policy import same_for_all_frames
from debir_jax.types import BurstTiming, Observation


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionMetering:
  """A `Policy`: one exposure time for all frames, t = b_max / v, within the limits; the longest one without motion.

  Attributes:
    max_blur_px: b_max, how far the scene may move during a frame, in px of the half-size preview (packed RAW).
  """

  max_blur_px: float

  def __post_init__(self):
    if not self.max_blur_px > 0:
      raise ValueError(f"max_blur_px must be positive, got {self.max_blur_px}.")

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene."""
    del key
    speed_px_per_s = observation.mean_flow_px / (timing.preview_exposure_s + timing.preview_gap_s)
    return same_for_all_frames(self.max_blur_px / jnp.maximum(speed_px_per_s, 1e-6), timing)
