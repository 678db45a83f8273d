"""A motion as well as it is known in use: the exact one plus an error of its velocity, drawn at random.

The search of `burst_flow` finds the way until any frame to about a tenth of its length, less well the longer the
frames are, and now and then not at all. Its own gradient is none: to it, a longer burst, in which motion is found less
well, is only less noisy. With this error in the place of the search, the gradient to the exposure times sees how
misalignment grows, and a restorer learns what frames look like that do not stand in their place.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.types import SampledMotion


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class UncertainMotion:
  """A motion and what is wrong about its velocity.

  Attributes:
    motion: with a method `at`, see `Burst.motion`.
    velocity_error_px_s: `[2]` (x, y), packed px/s.
  """

  motion: Any
  velocity_error_px_s: jax.Array

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[m, h, w, 2]` until times `[m]`, s after the instant that is restored; differentiable in them."""
    return self.motion.at(times_s) + jnp.asarray(times_s)[:, None, None, None] * self.velocity_error_px_s


def error_of_search(relative_error: float, exposure_times: jax.Array, shortest_s: float) -> jax.Array:
  """The relative error of a burst's motion: its mean exposure time to the power of 3/4, differentiable in the times.

  Fitted to what a restorer loses by the motion that is found instead of the exact one, with 0.075 at the shortest times
  (`experiments/pretraining/motion_error`). The same error at all times would let long exposures look better than they
  are in use.

  Args:
    relative_error: at the shortest exposure times.
    exposure_times: `[n]`, s; 0: a frame that is left out.
    shortest_s: the shortest exposure time, s.
  """
  mean_s = jnp.sum(exposure_times) / jnp.sum(exposure_times > 0)
  return relative_error * (mean_s / shortest_s) ** 0.75


def with_error(key: jax.Array, motion: SampledMotion, relative_error: float | jax.Array) -> UncertainMotion:
  """The motion with an error of its velocity: normal in both axes, its standard deviation relative to the mean speed.

  That is drawn anew for each motion, exponentially: most motions are found better than that, some not at all.

  Args:
    key: of the error.
    motion: exact; a scene at rest stays known exactly.
    relative_error: mean of the relative standard deviation. With 0.1 the median error is 7 % of the way and a fifth are
      above 20 %.
  """
  duration_s = (motion.flow_px.shape[0] - 1) * motion.interval_s
  speed = jnp.mean(jnp.linalg.norm(motion.flow_px[-1], axis=-1)) / duration_s
  size_key, error_key = jax.random.split(key)
  size = relative_error * speed * jax.random.exponential(size_key)
  return UncertainMotion(motion=motion, velocity_error_px_s=size * jax.random.normal(error_key, (2,)))
