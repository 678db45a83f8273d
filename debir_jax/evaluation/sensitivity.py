"""How a restored image, and its loss, answer to the exposure times: exact derivatives through the whole chain.

The chain is given as a function of exposure times `[n]` in s and a noise key, a `CaptureFn`: it takes the burst of a
scene and restores it. Derivatives are per second; divided by `SUBFRAME_RATE_HZ` they are per 1/1920 s.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

CaptureFn = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape:
  """A loss over the exposure times of two frames.

  Attributes:
    frames: which two, from 0.
    first, second: their exposure times, `[k]` and `[m]`, s.
    loss: `[m, k]`; NaN where all times together exceed the budget.
  """

  frames: tuple[int, int]
  first: np.ndarray
  second: np.ndarray
  loss: np.ndarray


def loss_gradients(loss_of: CaptureFn, exposure_times: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The loss and its gradient to every exposure time, for every noise draw.

  Args:
    loss_of: maps (exposure times `[n]`, key) to a loss.
    exposure_times: `[n]`, s.
    keys: `[D]`, one per draw.

  Returns:
    Losses `[D]` and gradients `[D, n]`, 1/s.
  """
  return jax.jit(lambda times, keys: jax.lax.map(lambda key: jax.value_and_grad(loss_of)(times, key), keys))(
      jnp.asarray(exposure_times), keys)


def image_derivatives(image_of: CaptureFn, exposure_times: jax.Array, key: jax.Array) -> jax.Array:
  """How every value of the restored image changes with every exposure time, `[n, h, w, 4]`, 1/s.

  Columns of the Jacobian, as the networks' own gradients have no forward mode: the pullback J^T u is linear in u, and
  its own pullback is J.
  """
  times = jnp.asarray(exposure_times)

  @jax.jit
  def along(times, direction):
    image, pullback = jax.vjp(lambda t: image_of(t, key), times)
    _, push = jax.vjp(lambda u: pullback(u)[0], jnp.zeros_like(image))
    return push(direction)[0]

  return jnp.stack([along(times, direction) for direction in jnp.eye(times.shape[0], dtype=times.dtype)])


def loss_landscape(loss_of: CaptureFn, exposure_times: jax.Array, keys: jax.Array, *, frames: tuple[int, int],
                   first: np.ndarray, second: np.ndarray, budget_s: float) -> Landscape:
  """The mean loss over noise draws on a grid of two frames' exposure times; the others stay.

  Args:
    loss_of: see `loss_gradients`.
    exposure_times: `[n]`, s, of the frames that stay.
    keys: `[D]`, the same draws everywhere.
    frames: the two frames, from 0.
    first, second: values of their exposure times, s.
    budget_s: beyond it there is no loss.

  Raises:
    ValueError: the two frames are the same, or not in the burst.
  """
  times, (i, j) = jnp.asarray(exposure_times), frames
  if i == j or not 0 <= min(i, j) <= max(i, j) < times.shape[0]:
    raise ValueError(f"frames must be two different ones of 0 to {times.shape[0] - 1}, got {frames}.")
  mean_loss = jax.jit(lambda times: jnp.mean(jax.lax.map(lambda key: loss_of(times, key), keys)))
  loss = np.full((len(second), len(first)), np.nan)
  for row, time_j in enumerate(second):
    for column, time_i in enumerate(first):
      here = times.at[i].set(time_i).at[j].set(time_j)
      if float(here.sum()) <= budget_s * (1 + 1e-6):
        loss[row, column] = mean_loss(here)
  return Landscape(frames=(i, j), first=np.asarray(first), second=np.asarray(second), loss=loss)
