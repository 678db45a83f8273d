"""How much moved between two previews: a flow estimator, its weights, and the speed that counts as full motion."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.imaging import binned_srgb, half_resolution_srgb
from debir_jax.motion.flow import FlowEstimator, mean_flow_magnitude
from debir_jax.motion.lucas_kanade import LucasKanade
from debir_jax.types import BurstTiming, CameraColor

# The authors' release maps 10 px of the half-size preview to motion magnitude 1, with 41 subframes of 1/1920 s from the
# start of one preview to the start of the next. Kept as a speed, it holds for any timing: 13.4 px with the paper's 55.
FULL_SCALE_PX_PER_S = 10 / (41 / 1920)

_DEVELOP = {"binned": binned_srgb, "half_resolution": half_resolution_srgb}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionEstimator:
  """The motion magnitude m_p of Sec. 4.1. A pytree, whose leaves are the weights.

  Attributes:
    estimator: of the optical flow; hashable.
    variables: its weights; {} without any.
    full_scale_px_per_s: speed at which m_p reaches 1, in pixels of the half-size preview per second.
  """

  estimator: FlowEstimator = dataclasses.field(default=LucasKanade(), metadata=dict(static=True))
  variables: Any = dataclasses.field(default_factory=dict)
  full_scale_px_per_s: float = dataclasses.field(default=FULL_SCALE_PX_PER_S, metadata=dict(static=True))

  def __call__(self, previews: jax.Array, color: CameraColor, timing: BurstTiming) -> tuple[jax.Array, jax.Array]:
    """Mean length of the flow in px, and m_p: that length over the full scale, clipped to [0, 1].

    No gradient flows through the flow.

    Args:
      previews: `[2, h, w, 4]`, packed RAW in [0, 1]; index 0 is the earlier one.
      color: how to develop them.
      timing: gives the time from the start of one preview to the start of the next.

    Raises:
      ValueError: the full scale is not positive, or the estimator asks for an unknown rendering of the previews.
    """
    if not self.full_scale_px_per_s > 0:
      raise ValueError(f"full_scale_px_per_s must be positive, got {self.full_scale_px_per_s}.")
    flow = self.estimator.apply(self.variables, *develop_previews(previews, color, self.estimator))
    mean_flow_px = jax.lax.stop_gradient(mean_flow_magnitude(flow))
    full_scale_px = self.full_scale_px_per_s * (timing.preview_exposure_s + timing.preview_gap_s)
    return mean_flow_px, jnp.clip(mean_flow_px / full_scale_px, 0, 1)


def develop_previews(previews: jax.Array, color: CameraColor, estimator: FlowEstimator) -> jax.Array:
  """Previews `[2, h, w, 4]` as sRGB `[2, h, w, 3]` in [0, 1], the way the estimator wants them."""
  if estimator.preview_rendering not in _DEVELOP:
    raise ValueError(f"The flow estimator asks for preview_rendering={estimator.preview_rendering!r}; use one of "
                     f"{', '.join(map(repr, _DEVELOP))}.")
  return _DEVELOP[estimator.preview_rendering](previews, color)
