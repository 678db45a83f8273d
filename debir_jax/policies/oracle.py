"""The oracle: the best exposure times of one scene, found by search, which no policy can know.

It sees the scene itself: it takes the burst and restores it, as often as it likes. First every candidate of a coarse
set is tried, then the exposure times descend along their exact gradient through simulator and restorer from the best of
them. What a policy loses against it is the policy's regret.

The loss that is searched has to be a mean over several noise draws, and what is found has to be measured on others:
a search on the very draws that it is measured on finds times for that noise, which is luck.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import optax

from debir_jax.policies.bounded_softmax import predict_exposure_times
from debir_jax.types import BurstTiming

_LEAST_SHARE = 1e-3  # Of the free budget, where a candidate is at the edge: there the softmax has no gradient.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class OracleResult:
  """What a search found.

  Attributes:
    exposure_times: the best ones met anywhere, `[n]`, s.
    loss: theirs.
    candidate_losses: of the coarse set, `[m]`.
    path: exposure times of every step of the descent, `[num_steps, n]`, s.
    path_losses: theirs, `[num_steps]`.
  """

  exposure_times: jax.Array
  loss: jax.Array
  candidate_losses: jax.Array
  path: jax.Array
  path_losses: jax.Array


def search_exposure_times(loss_of: Callable[[jax.Array], jax.Array], candidates: jax.Array, timing: BurstTiming, *,
                          num_steps: int = 40, learning_rate: float = 0.1) -> OracleResult:
  """Minimises a loss over the exposure times that `timing` allows; traceable.

  Args:
    loss_of: maps exposure times `[n]` in s to a differentiable loss: of the scene, through simulator and restorer.
    candidates: where to look first, `[m, n]`, s.
    timing: of the burst.
    num_steps: of the descent (Adam on the logits of the bounded softmax, Eq. 3, which keeps times within bounds); with
      none the best candidate is what is found.
    learning_rate: its first one, of cosine decay to 0; 0.1 changes a ratio of two times by up to 10 % a step.

  Raises:
    ValueError: the candidates have another number of frames, or steps are negative.
  """
  if candidates.ndim != 2 or candidates.shape[1] != timing.num_frames or num_steps < 0:
    raise ValueError(f"candidates must be exposure times [m, {timing.num_frames}] and num_steps at least 0, got shape "
                     f"{candidates.shape} and {num_steps}.")
  candidate_losses = jax.lax.map(loss_of, candidates)  # One after the other: a burst takes much memory.
  best = jnp.argmin(candidate_losses)
  if num_steps == 0:
    return OracleResult(exposure_times=candidates[best], loss=candidate_losses[best], candidate_losses=candidate_losses,
                        path=jnp.zeros((0, timing.num_frames)), path_losses=jnp.zeros(0))
  start = _logits_of(candidates[best], timing)
  optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

  def loss_of_logits(logits):
    times = predict_exposure_times(logits, timing)
    return loss_of(times), times

  def step(carry, _):
    logits, opt_state = carry
    (loss, times), gradient = jax.value_and_grad(loss_of_logits, has_aux=True)(logits)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return (logits + updates, opt_state), (loss, times)

  _, (path_losses, path) = jax.lax.scan(step, (start, optimizer.init(start)), length=num_steps)
  losses = jnp.concatenate([candidate_losses, path_losses])
  best = jnp.argmin(losses)
  return OracleResult(exposure_times=jnp.concatenate([candidates, path])[best], loss=losses[best],
                      candidate_losses=candidate_losses, path=path, path_losses=path_losses)


def _logits_of(exposure_times: jax.Array, timing: BurstTiming) -> jax.Array:
  """Logits `[n + 1]` that give these times, or nearly those where a time is the shortest or the budget is used up."""
  divisible_s = timing.budget_s - timing.num_frames * timing.exposure_offset_s
  shares = (exposure_times - timing.exposure_offset_s) / divisible_s - timing.min_share
  free = jnp.maximum(1 - timing.num_frames * timing.min_share, 1e-9)
  parts = jnp.append(shares, free - shares.sum()) / free
  return jnp.log(jnp.maximum(parts, _LEAST_SHARE))
