"""What a policy is, what it may look at, and how that is laid out for a network.

A policy decides exposure times before the burst is taken, from two previews, their gain and the motion between them
(paper, Sec. 4.1). It works on one scene; the caller uses `jax.vmap` for more.
"""

from typing import Any, Protocol
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging import binned_srgb, halved_srgb, linear_srgb
from debir_jax.motion import FlowEstimator, mean_flow_magnitude
from debir_jax.types import BurstTiming, CameraColor, Observation

# The authors' release maps 10 px of the half-size preview to motion magnitude 1, with 41 subframes of 1/1920 s from the
# start of one preview to the start of the next. Kept as a speed, it holds for any timing: 13.4 px with the paper's 55.
FULL_SCALE_PX_PER_S = 10 / (41 / 1920)

_DEVELOP = {"binned": binned_srgb, "halved": halved_srgb}

_PREVIEW_PLANES = {"packed": 4, "linear_srgb": 3}


class Policy(Protocol):
  """Chooses the exposure times of a burst from what is known before it is taken."""

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene; traceable. `key` is for policies that draw at random."""


def observe(previews: jax.Array, preview_gain: jax.Array, colour: CameraColor, flow_estimator: FlowEstimator,
            timing: BurstTiming, *, flow_variables: Any = None,
            full_scale_px_per_s: float = FULL_SCALE_PX_PER_S) -> Observation:
  """Returns all that a policy may know: the previews, their gain, and how much moved between them.

  Both previews are developed to sRGB at half the mosaic's size; the motion is the mean length of the optical flow
  from the earlier to the later one, m_p that length over the full scale, clipped to [0, 1]. No gradient flows through
  the flow.

  Args:
    previews: `[2, h, w, 4]`, packed RAW in [0, 1]; index 0 is the earlier one.
    preview_gain: g_p of both, linear.
    colour: how to develop them.
    flow_estimator: see `FlowEstimator`; the same one in training and use.
    timing: gives the time from the start of one preview to the start of the next.
    flow_variables: the weights of the estimator; None for {}.
    full_scale_px_per_s: speed at which m_p reaches 1, in pixels of the half-size preview per second.

  Raises:
    ValueError: for wrong shapes, previews outside [0, 1] or not finite, a gain or full scale that is not positive
      (values are checked outside `jit` only), or an estimator that asks for an unknown kind of preview.
  """
  _check_previews(previews, preview_gain)
  if not full_scale_px_per_s > 0:
    raise ValueError(f"full_scale_px_per_s must be positive, got {full_scale_px_per_s}.")
  earlier, later = develop_previews(previews, colour, flow_estimator)
  flow = flow_estimator.apply({} if flow_variables is None else flow_variables, earlier, later)
  mean_flow_px = jax.lax.stop_gradient(mean_flow_magnitude(flow))
  full_scale_px = full_scale_px_per_s * (timing.preview_exposure_s + timing.preview_gap_s)
  return Observation(
      previews=previews, preview_gain=jnp.asarray(preview_gain, previews.dtype), mean_flow_px=mean_flow_px,
      motion_magnitude=jnp.clip(mean_flow_px / full_scale_px, 0, 1), white_balance=colour.white_balance, ccm=colour.ccm)


def develop_previews(previews: jax.Array, colour: CameraColor, flow_estimator: FlowEstimator) -> jax.Array:
  """The previews as sRGB `[2, h, w, 3]` in [0, 1], the way the estimator wants them."""
  if flow_estimator.preview_size not in _DEVELOP:
    raise ValueError(f"The flow estimator asks for preview_size={flow_estimator.preview_size!r}; "
                     f"use one of {', '.join(map(repr, _DEVELOP))}.")
  return _DEVELOP[flow_estimator.preview_size](previews, colour.white_balance, colour.ccm)


def network_planes(observation: Observation, *, min_preview_gain: float, preview: str = "packed",
                   use_preview: bool = True, use_gain: bool = True, use_motion: bool = True) -> jax.Array:
  """Returns what BAENet sees: planes of the later preview, a plane of gain and a plane of motion.

  * `preview="packed"`: `[h, w, 6]`, packed RAW (4 planes), gain, motion: the paper.
  * `preview="linear_srgb"`: `[2h, 2w, 5]`, demosaiced linear sRGB (3 planes), motion, gain: the authors' release.

  The gain plane is g_p / g_min - 1, so that the range [g_min, 2 g_min] of the paper's setting maps to [0, 1]; it is
  clipped there. The motion plane is m_p. An input that is switched off leaves its planes out (paper, Table 3), and
  the others keep their order and size.

  Args:
    observation: of one scene.
    min_preview_gain: g_min, linear, the lower end of the range that the network is trained for.
    preview: "packed" or "linear_srgb".

  Raises:
    ValueError: if everything is switched off, `min_preview_gain` is not positive or `preview` is unknown.

  Warns:
    UserWarning: if the gain lies outside [g_min, 2 g_min] (outside `jit` only).
  """
  if not (use_preview or use_gain or use_motion):
    raise ValueError("All inputs of the network are switched off; use at least one of preview, gain and motion.")
  if not min_preview_gain > 0:
    raise ValueError(f"min_preview_gain must be positive, got {min_preview_gain}.")
  _check_preview(preview)
  image = observation.previews[1]  # I_p
  if preview == "linear_srgb":
    image = linear_srgb(image, observation.white_balance, observation.ccm)
  plane = lambda value: jnp.broadcast_to(value, (*image.shape[:2], 1)).astype(image.dtype)
  scalars = []
  if use_gain:
    _warn_outside(observation.preview_gain, min_preview_gain)
    scalars.append(plane(jnp.clip(observation.preview_gain / min_preview_gain - 1, 0, 1)))
  if use_motion:
    scalars.append(plane(observation.motion_magnitude))
  if preview == "linear_srgb":
    scalars.reverse()  # The release's order.
  return jnp.concatenate([image] * use_preview + scalars, axis=-1)


def num_planes(*, preview: str = "packed", use_preview: bool = True, use_gain: bool = True,
               use_motion: bool = True) -> int:
  """Number of channels that `network_planes` returns."""
  _check_preview(preview)
  return _PREVIEW_PLANES[preview] * use_preview + use_gain + use_motion


def is_pytree(policy: Policy) -> bool:
  """Whether a policy's arrays can be arguments of a compiled program; otherwise it is a hashable function."""
  return not jax.tree_util.all_leaves([policy])


def same_for_all_frames(exposure_time: jax.Array, timing: BurstTiming) -> jax.Array:
  """`[n]` times a single exposure time in s, brought into [t_min, t_u / n]."""
  within = jnp.clip(exposure_time, timing.min_exposure_s, timing.budget_s / timing.num_frames)
  return jnp.broadcast_to(within, (timing.num_frames,))


def _check_preview(preview: str):
  if preview not in _PREVIEW_PLANES:
    raise ValueError(f"Unknown kind of preview {preview!r}; use one of {', '.join(map(repr, _PREVIEW_PLANES))}.")


def _check_previews(previews: jax.Array, preview_gain: jax.Array):
  if previews.ndim != 4 or previews.shape[0] != 2 or previews.shape[-1] != 4:
    raise ValueError(f"previews must be packed RAW [2, h, w, 4], the earlier one first, got shape {previews.shape}; "
                     "use jax.vmap for a batch and debir_jax.imaging.pack for a mosaic.")
  if _is_concrete(previews):
    lowest, highest = float(jnp.min(previews)), float(jnp.max(previews))
    if not (lowest >= 0 and highest <= 1):  # Written so that NaN fails.
      raise ValueError(f"previews must lie in [0, 1], got values from {lowest} to {highest}; subtract the black level, "
                       "divide by white minus black, and clip.")
  if _is_concrete(preview_gain) and not np.all(np.asarray(preview_gain) > 0):
    raise ValueError(f"preview_gain must be positive (linear, ISO / base ISO), got {preview_gain}.")


def _warn_outside(preview_gain: jax.Array, min_preview_gain: float):
  if not _is_concrete(preview_gain):
    return
  relative = np.asarray(preview_gain) / min_preview_gain
  if np.any(relative < 1 - 1e-5) or np.any(relative > 2 + 1e-5):
    warnings.warn(f"preview_gain={preview_gain} lies outside the range that the network is trained for, "
                  f"[{min_preview_gain}, {2 * min_preview_gain}]; its plane is clipped to [0, 1].", stacklevel=3)


def _is_concrete(value) -> bool:
  return not isinstance(value, jax.core.Tracer)
