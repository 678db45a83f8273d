"""Exposure times that do not look at the scene: uniform, bracketing, the candidate set E, and random ones for stage 1.

The numbers of the paper, in 1/1920 s: bracketing {8, 24, 40, 56} (Sec. 6.1; from 8 up linearly, the budget in all, for
every n: Sec. 6.3); E = {8}x4, {16}x4, {24}x4, {32}x4, {8, 16, 24, 32} (Sec. 5.3); random times from 8 to 64 (Sec. 5.2).
All follow from `BurstTiming`, so that they hold for any burst length and budget.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming, Observation

_NUM_UNIFORM_CANDIDATES = 4


@dataclasses.dataclass(frozen=True)
class Fixed:
  """A `Policy` that always gives the same exposure times.

  Attributes:
    exposure_times: s; one number per frame, 0 where one is left out, or a single one for all frames of whatever burst.
  """

  exposure_times: tuple[float, ...]

  def __post_init__(self):
    object.__setattr__(self, "exposure_times", tuple(float(t) for t in np.ravel(self.exposure_times)))

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """The same `[n]` s for every scene.

    Raises:
      ValueError: if they are not n, shorter than the minimum, or longer than the budget in all.
    """
    del key, observation
    times = self.exposure_times
    if len(times) == 1:
      times *= timing.num_frames
    check_exposure_times(times, timing)
    return jnp.asarray(times)


def uniform(exposure_time: float) -> Fixed:
  """The policy that gives every frame the same exposure time in s."""
  return Fixed((exposure_time,))


def bracket(timing: BurstTiming) -> Fixed:
  """Exposure bracketing: from the minimum up in equal steps, so that the budget is used up.

  n = 2: {8, 56}, 4: {8, 24, 40, 56}, 6: {8, 17.6, ..., 56}, 8: {8, 14.857, ..., 56} / 1920 s with the paper's timing.
  """
  longest_s = 2 * timing.budget_s / timing.num_frames - timing.min_exposure_s
  return Fixed(tuple(np.linspace(timing.min_exposure_s, longest_s, timing.num_frames)))


class CandidateSet(NamedTuple):
  """Combinations of exposure times to choose from.

  Attributes:
    names: for printing, in 1/1920 s: "{8}x4", "{8,16,24,32}".
    exposure_times: `[num_candidates, n]`, s.
  """

  names: tuple[str, ...]
  exposure_times: np.ndarray


def candidate_set(timing: BurstTiming) -> CandidateSet:
  """The set E for any n: {8}xn, {16}xn, {24}xn, {32}xn, and n times evenly from 8 to 32, in 1/1920 s.

  In general from the minimum exposure time to the budget divided by n (paper, Sec. 5.3).
  """
  longest_s = timing.budget_s / timing.num_frames
  steps = np.linspace(timing.min_exposure_s, longest_s, _NUM_UNIFORM_CANDIDATES)
  uniform_times = np.repeat(steps[:, None], timing.num_frames, axis=1)
  ramp = np.linspace(timing.min_exposure_s, longest_s, timing.num_frames)
  exposure_times = np.concatenate([uniform_times, ramp[None]])
  return CandidateSet(tuple(map(format_exposure_times, exposure_times)), exposure_times)


def random_exposure_times(key: jax.Array, timing: BurstTiming, burst_sizes: Sequence[int] = ()) -> jax.Array:
  """Exposure times `[n]` s, each uniform in [t_min, t_max] on its own, as stage 1 draws them (paper, Sec. 5.2).

  Their sum may exceed the budget, which binds BAENet alone: a sequence must hold n t_max. With `burst_sizes` one of
  them is drawn too, and the frames behind so many are left out (0).
  """
  times = jax.random.uniform(
      key, (timing.num_frames,), minval=timing.min_exposure_s, maxval=timing.max_exposure_s)
  if not burst_sizes:
    return times
  size = jax.random.choice(jax.random.fold_in(key, 1), jnp.asarray(burst_sizes))
  return jnp.where(jnp.arange(timing.num_frames) < size, times, 0)


def check_exposure_times(exposure_times: Sequence[float], timing: BurstTiming):
  """Raises ValueError unless there are n exposure times, none below the minimum and within the budget in all.

  Frames behind the first one may be left out (0).
  """
  name = format_exposure_times(exposure_times)
  if len(exposure_times) != timing.num_frames:
    raise ValueError(f"{name} / 1920 s has {len(exposure_times)} exposure times for a burst of {timing.num_frames} "
                     "frames; give one per frame, or a single one for all.")
  taken = [exposure_times[0], *[time for time in exposure_times[1:] if time != 0]]
  if not min(taken) >= timing.min_exposure_s * (1 - 1e-6):
    raise ValueError(f"{name} / 1920 s goes below the minimum exposure time {timing.min_exposure_s:.6f} s; "
                     "exposure times are in seconds.")
  if not sum(exposure_times) <= timing.budget_s * (1 + 1e-6):
    raise ValueError(f"{name} / 1920 s adds up to {sum(exposure_times):.6f} s, more than the budget of "
                     f"{timing.budget_s:.6f} s; use shorter times or a longer budget.")


def format_exposure_times(exposure_times: Sequence[float]) -> str:
  """Exposure times in 1/1920 s for tables: "{8}x4" where all are equal, else "{8,24,40,56}"; no frames left out."""
  counts = [f"{SUBFRAME_RATE_HZ * t:.3g}" for t in exposure_times if t != 0]
  return f"{{{counts[0]}}}x{len(counts)}" if len(set(counts)) == 1 else f"{{{','.join(counts)}}}"
