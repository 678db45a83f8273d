"""What a policy is, and what it may look at.

A policy decides exposure times before the burst is taken, from two previews, their gain and the motion between them
(paper, Sec. 4.1). It works on one scene; the caller uses `jax.vmap` for more.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.motion import MotionEstimator
from debir_jax.types import BurstTiming, CameraColor, Observation


class Policy(Protocol):
  """Chooses the exposure times of a burst from what is known before it is taken."""

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene; traceable. `key` is for policies that draw at random."""


def observe(previews: jax.Array, preview_gain: jax.Array, color: CameraColor, motion: MotionEstimator,
            timing: BurstTiming) -> Observation:
  """Returns all that a policy may know: the previews, their gain, and how much moved between them.

  Args:
    previews: `[2, h, w, 4]`, packed RAW in [0, 1]; index 0 is the earlier one.
    preview_gain: g_p of both, linear.
    color: how to develop them.
    motion: measures the motion; the same one in training and use.
    timing: when they were taken.

  Raises:
    ValueError: for wrong shapes, previews outside [0, 1] or not finite, or a gain that is not positive (values are
      checked outside `jit` only).
  """
  check_previews(previews, preview_gain)
  mean_flow_px, motion_magnitude = motion(previews, color, timing)
  return Observation(previews=previews, preview_gain=jnp.asarray(preview_gain, previews.dtype),
                     mean_flow_px=mean_flow_px, motion_magnitude=motion_magnitude, color=color)


def check_previews(previews: jax.Array, preview_gain: jax.Array) -> None:
  """Raises a ValueError for what `observe` has no meaning for; values are checked outside `jit` only."""
  if previews.ndim != 4 or previews.shape[0] != 2 or previews.shape[-1] != 4:
    raise ValueError(f"previews must be packed RAW [2, h, w, 4], the earlier one first, got shape {previews.shape}; "
                     "use jax.vmap for a batch and debir_jax.imaging.pack for a mosaic.")
  if not isinstance(previews, jax.core.Tracer):
    lowest, highest = float(jnp.min(previews)), float(jnp.max(previews))
    if not (lowest >= 0 and highest <= 1):  # Written so that NaN fails.
      raise ValueError(f"previews must lie in [0, 1], got values from {lowest} to {highest}; subtract the black level, "
                       "divide by white minus black, and clip.")
  if not isinstance(preview_gain, jax.core.Tracer) and not np.all(np.asarray(preview_gain) > 0):
    raise ValueError(f"preview_gain must be positive (linear, ISO / base ISO), got {preview_gain}.")


def is_pytree(policy: Policy) -> bool:
  """Whether a policy's arrays can be arguments of a compiled program; otherwise it is a hashable function."""
  return not jax.tree_util.all_leaves([policy])


def same_for_all_frames(exposure_time: jax.Array, timing: BurstTiming) -> jax.Array:
  """`[n]` times a single exposure time in s, brought into [t_min, t_u / n]."""
  within = jnp.clip(exposure_time, timing.min_exposure_s, timing.budget_s / timing.num_frames)
  return jnp.broadcast_to(within, (timing.num_frames,))
