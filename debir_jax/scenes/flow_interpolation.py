"""Frames between frames by optical flow in both directions: the built-in interpolator, without weights.

Notation: I0, I1 the frames, F01, F10 the flows between them, t the time in (0, 1). Frames are `[H, W, 3]`, flows and
vectors `[H, W, 2]` (x, y) in px per interval between the frames. Everything moves along straight lines at constant
speed within the interval.

1. The flow U of what is at every pixel at time t: each pixel of I0 carries F01 to where it is at t, each of I1 carries
   -F10 there. Where several arrive, those weigh most whose way there and back ends where it began: what is about to be
   covered finds no way back. Where none arrive, U is filled in smoothly.
2. I0 is read at p - tU, I1 at p + (1 - t)U, along cubic splines. A frame counts as far as its own flow agrees with U
   at the place where it is read: where it does not, something else is seen there, which covers what is looked for.

Jiang et al., "Super SloMo", CVPR 2018, https://arxiv.org/abs/1712.00080, has the projected flows of `projected_flow`;
Xu et al., "Quadratic Video Interpolation", NeurIPS 2019, https://arxiv.org/abs/1911.00627, reverses flows by carrying
them forward, as 1. does.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.imaging.resample import gaussian_blur, warp
from debir_jax.motion import FlowEstimator, SharpFlow

_LEAST_WEIGHT = 1e-3  # Of what is certainly wrong: where nothing better is known it counts.
_FILL_WEIGHT = 1e-3  # Of what is around: beside flows of the least weight it counts too, as these are rarely right.
_TOLERANCE_PX2, _TOLERANCE_SHARE = 0.5, 0.01  # Of squared disagreements of flows: so much, and of their squared length.
_CONTRAST = 0.04  # Differences of colors that speak against a match, of white.
_FILL_SIGMAS_PX = (2.0, 8.0, 32.0)  # Reach of what holes in a flow are filled from.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchedPair:
  """Two frames and what is known of the motion between them.

  Attributes:
    frames: I0 and I1, `[2, H, W, 3]`.
    flows: F01 and F10, `[2, H, W, 2]`.
    weights: how much each vector is trusted, `[2, H, W]` in (0, 1].
  """

  frames: jax.Array
  flows: jax.Array
  weights: jax.Array


def projected_flow(pair: MatchedPair, time: jax.Array) -> jax.Array:
  """U as Super-SloMo has it, from the flows at the same pixel: right where they change slowly from place to place."""
  forward, backward = pair.flows
  return (1 - time) * forward - time * backward


def carried_flow(pair: MatchedPair, time: jax.Array) -> jax.Array:
  """U as the flows arrive at time t, see 1. above."""
  forward, backward = pair.flows
  sums = (_splat(forward, time * forward, (1 - time) * pair.weights[0]) +
          _splat(-backward, (1 - time) * backward, time * pair.weights[1]))
  return _filled(sums[..., :2], sums[..., 2:])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowInterpolator:
  """Motion-compensated frames with occlusions; an `Interpolator`.

  Attributes:
    estimator: of the flow; static under `jit`.
    variables: its weights; {} without any.
    flow_at: U of a pair at a time, `carried_flow` or `projected_flow`.
  """

  estimator: FlowEstimator = dataclasses.field(default=SharpFlow(), metadata=dict(static=True))
  variables: Any = dataclasses.field(default_factory=dict)
  flow_at: Callable[[MatchedPair, jax.Array], jax.Array] = dataclasses.field(
      default=carried_flow, metadata=dict(static=True))

  name = "flow"

  def prepare(self, first: jax.Array, second: jax.Array) -> MatchedPair:
    """The flows in both directions, and how far they can be trusted."""
    frames = jnp.stack([first, second])
    flows = jax.lax.map(lambda pair: self.estimator.apply(self.variables, *pair), (frames, frames[::-1]))
    weights = jax.vmap(_trust)(frames, frames[::-1], flows, flows[::-1])
    return MatchedPair(frames=frames, flows=flows, weights=weights)

  def frame_at(self, pair: MatchedPair, time: jax.Array) -> jax.Array:
    """Both frames moved to the time, each where it is seen."""
    flow = self.flow_at(pair, time)
    readings = [_reading(pair.frames[0], pair.flows[0], flow, -time),
                _reading(pair.frames[1], -pair.flows[1], flow, 1 - time)]
    (first, first_seen), (second, second_seen) = readings
    first_weight, second_weight = (1 - time) * first_seen, time * second_seen
    return (first_weight * first + second_weight * second) / (first_weight + second_weight)


def _trust(frame, other, flow, back) -> jax.Array:
  """Weights `[H, W]` of a flow from `frame` to `other`: of its return, and of the colors at both ends."""
  matched, inside = warp(other, flow)
  difference = jnp.mean(jnp.abs(matched - frame), axis=-1)
  return jnp.maximum(_agreement(flow, -back, flow) * jnp.exp(-difference / _CONTRAST) * inside, _LEAST_WEIGHT)


def _agreement(flow, other, displacement) -> jax.Array:
  """1 where `flow` is the same as `other` is at p + displacement(p), towards 0 where it is not, `[H, W]`.

  The mean over the four pixels around that place, each compared by itself: a mean of two that move differently would
  agree with neither.
  """
  height, width = flow.shape[:2]
  left, upper = (jnp.floor(displacement[..., axis]) for axis in (0, 1))
  shares_right, shares_down = displacement[..., 0] - left, displacement[..., 1] - upper
  column, row = jnp.arange(width) + left.astype(jnp.int32), jnp.arange(height)[:, None] + upper.astype(jnp.int32)
  squared = lambda vectors: jnp.sum(vectors**2, axis=-1)
  agreement = 0.0
  for down, share_down in enumerate((1 - shares_down, shares_down)):
    for right, share_right in enumerate((1 - shares_right, shares_right)):
      near = other[jnp.clip(row + down, 0, height - 1), jnp.clip(column + right, 0, width - 1)]
      tolerance = _TOLERANCE_PX2 + _TOLERANCE_SHARE * (squared(flow) + squared(near))
      agreement += share_down * share_right * jnp.exp(-squared(flow - near) / tolerance)
  return agreement


def _reading(frame, own_flow, flow, duration) -> tuple[jax.Array, jax.Array]:
  """`frame` read where `flow` leads within `duration`, and how far that is seen there, `[H, W, 1]` in (0, 1]."""
  color, inside = warp(frame, duration * flow, cubic=True)
  return color, jnp.maximum(_agreement(flow, own_flow, duration * flow) * inside, _LEAST_WEIGHT)[..., None]


def _splat(vectors, displacement, weights) -> jax.Array:
  """Weighted vectors and weights `[H, W, 3]`, summed where each pixel of `weights` `[H, W]` is carried to; bilinear."""
  height, width = weights.shape
  x = jnp.arange(width, dtype=displacement.dtype) + displacement[..., 0]
  y = jnp.arange(height, dtype=displacement.dtype)[:, None] + displacement[..., 1]
  left, upper = jnp.floor(x), jnp.floor(y)
  values = jnp.concatenate([vectors, jnp.ones_like(vectors[..., :1])], axis=-1) * weights[..., None]
  sums = jnp.zeros_like(values)
  for row in (upper, upper + 1):
    for column in (left, left + 1):
      share = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
      inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)  # Negative indices would wrap around.
      index = jnp.where(inside, row * width + column, height * width).astype(jnp.int32)
      sums = sums.reshape(-1, 3).at[index.reshape(-1)].add((share[..., None] * values).reshape(-1, 3),
                                                           mode="drop").reshape(values.shape)
  return sums


def _filled(sums, weights) -> jax.Array:
  """Means `[H, W, 2]`; where hardly anything arrived, of what did nearby, and farther away if need be."""
  for sigma_px in _FILL_SIGMAS_PX:
    around = gaussian_blur(jnp.concatenate([sums, weights], axis=-1), sigma_px)
    sums, weights = sums + _FILL_WEIGHT * around[..., :2], weights + _FILL_WEIGHT * around[..., 2:]
  return sums / jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)
