"""From the outputs of BAENet to exposure times that are never too short and never exceed the budget (paper, Eq. 3).

A network gives n + 1 logits: one per frame and one for the slack, the part of the budget that is left unused.
`bounded_softmax` turns them into shares of the budget that sum to 1, `exposure_times_from_shares` turns the first n of
those into seconds.

A share may be large. With the paper's timing (n = 4, epsilon = 1/16, t_u = 128/1920 s) one frame can get up to
1 - 3/16 of the budget, 104/1920 s = 1/18.5 s, or 96/1920 s under Eq. 3 to the letter. Both are longer than the 1/30 s
of `timing.max_exposure_s`: in the paper t_max bounds only the random exposure times of stage 1 (Sec. 5.2), while BAENet
is bounded by epsilon and t_u alone (Sec. 4.1). So nothing is clipped here; a camera that cannot expose for so long
needs a smaller budget.
"""

import jax
import jax.numpy as jnp

from debir_jax.types import BurstTiming


def bounded_softmax(logits: jax.Array, min_share: float, *, slack_floor: bool = False) -> jax.Array:
  """Returns shares `[n + 1]` that sum to 1, the first n of them at least `min_share`.

  The mass that is not promised to anybody is divided by a softmax, then every bounded output gets its floor:

  * default: `(1 - n eps) softmax + eps` for the n frames and `(1 - n eps) softmax` for the slack. Frames lie in
    [eps, 1 - (n - 1) eps], the slack in [0, 1 - n eps], so the whole budget can be used.
  * `slack_floor`: `(1 - (n + 1) eps) softmax + eps` for all n + 1 outputs, so that each lies in [eps, 1 - n eps], the
    range that Eq. 3 prints. The slack never vanishes then: exposure times sum to at most t_u - t_min, and bursts that
    use the whole budget, {32}x4 or {8,24,40,56}, are out of reach.

  The bounds are reached in the limit of large differences between the logits.

  Args:
    logits: `[n + 1]`, any real numbers; the last one belongs to the slack.
    min_share: epsilon, the floor as a fraction of the budget; 0 <= epsilon <= 1/n, or 1/(n + 1) with `slack_floor`.
    slack_floor: whether the slack has the floor too.

  Returns:
    Shares `[n + 1]`; the last one is the slack.

  Raises:
    ValueError: if `logits` is not one vector, or the floors alone exceed the budget.
  """
  if logits.ndim != 1 or logits.shape[0] < 2:
    raise ValueError(f"logits must have shape [num_frames + 1], got {logits.shape}; use jax.vmap for a batch.")
  num_outputs = logits.shape[0]
  num_bounded = num_outputs if slack_floor else num_outputs - 1
  # Floors that fill the budget exactly are legal: then every frame gets its floor, whatever the logits.
  if not 0 <= min_share <= (1 + 1e-9) / num_bounded:
    raise ValueError(f"min_share must lie in [0, 1/{num_bounded}] so that {num_bounded} floors fit into the budget, "
                     f"got {min_share}; use a longer budget, a shorter minimum exposure time or fewer frames.")
  floor = min_share * (jnp.arange(num_outputs) < num_bounded)
  free_share = max(1 - num_bounded * min_share, 0.0)
  return free_share * jax.nn.softmax(logits) + floor.astype(logits.dtype)  # Eq. 3


def exposure_times_from_shares(shares: jax.Array, timing: BurstTiming) -> jax.Array:
  """Exposure times `[n]` in seconds of shares `[n + 1]`: t_i = t_off + (t_u - n t_off) share_i.

  t_off is `timing.exposure_offset_s`, the time that adds no entry to a window: 0 for the paper, so that
  t_i = t_u share_i (Eq. 3), and 7/1920 s for the authors' release, which divides 100/1920 s and adds 7/1920 s to each.
  Shares that sum to 1, slack included, give times that sum to at most t_u, and to exactly t_u when the slack is 0. The
  share `timing.min_share` gives exactly `timing.min_exposure_s`.

  Raises:
    ValueError: if the number of shares is not `timing.num_frames + 1`.
  """
  if shares.shape != (timing.num_frames + 1,):
    raise ValueError(f"shares must have shape [num_frames + 1] = [{timing.num_frames + 1}] for this timing, got "
                     f"{shares.shape}; use jax.vmap for a batch, or a network made for this burst length.")
  divisible_s = timing.budget_s - timing.num_frames * timing.exposure_offset_s
  return timing.exposure_offset_s + divisible_s * shares[:-1]


def predict_exposure_times(logits: jax.Array, timing: BurstTiming, *, slack_floor: bool = False) -> jax.Array:
  """Exposure times `[n]` in seconds of logits `[n + 1]`: the bounded softmax at this timing's floor (Eq. 3)."""
  shares = bounded_softmax(logits, timing.min_share, slack_floor=slack_floor)
  return exposure_times_from_shares(shares, timing)
