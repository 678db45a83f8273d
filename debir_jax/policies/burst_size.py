"""BAENet for bursts of several sizes: exposure times for each size, and which size to take.

The paper leaves joint prediction of exposure times and burst size to future work (Sec. 7). Here one network has a row
of logits for every size m, m exposure times and the slack, and one number for what the restored image will lose with
that size. What a burst costs beside, in time and in frames, is known once its exposure times are, so the size with the
lowest sum is taken, at whatever price. A burst of m frames is the first m of the largest burst; the others are left out
(exposure time 0) with their gaps, and its budget is m frames' part of the largest one's.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from debir_jax.policies.baenet import BAENet
from debir_jax.policies.bounded_softmax import predict_exposure_times
from debir_jax.simulator import capture_time, frame_mask
from debir_jax.types import BurstTiming

_LOSS_UNIT = 0.01  # Of an output, relative to white: losses of sizes differ by less than that.


@dataclasses.dataclass(frozen=True, kw_only=True)
class BurstPenalty:
  """What a burst adds to the loss of its restored image for the time and the frames that it takes.

  Attributes:
    exposure_time: per second of capture, gaps included, in units of the loss.
    frame: per frame that is taken.
  """

  exposure_time: float = 0.0
  frame: float = 0.0

  def __post_init__(self):
    for name, unit in (("exposure_time", "second"), ("frame", "frame")):
      if not 0 <= getattr(self, name) < math.inf:
        raise ValueError(f"config.stage2.{name}_penalty={getattr(self, name)} must be a number that is not negative, "
                         f"loss per {unit}.")

  def __call__(self, exposure_times: jax.Array, timing: BurstTiming) -> jax.Array:
    """Penalties `[...]` of bursts of these times `[..., n]`, s."""
    num_frames = jnp.sum(frame_mask(exposure_times), -1)
    return self.exposure_time * capture_time(exposure_times, timing) + self.frame * num_frames


class BurstSizeBAENet(BAENet):
  """BAENet with exposure times for bursts of several sizes, and a choice among the sizes.

  Attributes:
    num_frames: of the largest burst, n.
    burst_sizes: ascending even numbers up to n.
    burst_size: always take this one of them; None: the one whose expected loss and penalty are least together.
    penalties: of bursts, beside what their images lose.
  """

  num_frames: int = 8
  burst_sizes: tuple[int, ...] = (2, 4, 6, 8)
  burst_size: int | None = None
  penalties: BurstPenalty = BurstPenalty()

  @property
  def num_outputs(self) -> int:
    """Size of the last layer: an expected loss for each size, then the rows of logits for exposure times and slack."""
    return len(self.burst_sizes) + sum(size + 1 for size in self.burst_sizes)

  def expected_losses(self, logits: jax.Array) -> jax.Array:
    """`[..., num_outputs]` -> what each size is expected to lose, `[..., number of sizes]`, up to a common constant."""
    return _LOSS_UNIT * logits[..., :len(self.burst_sizes)]

  def expectation_loss(self, logits: jax.Array, losses: jax.Array) -> jax.Array:
    """Squared error of what one scene's sizes were expected to lose, against what they lost `[number of sizes]`.

    Its least value is at the mean loss for what the network sees, whatever the noise of single bursts. In units of the
    loss; a constant common to all sizes does not count.
    """
    error = self.expected_losses(logits) - losses
    return jnp.sum(jnp.square(error - jnp.mean(error))) / (2 * _LOSS_UNIT)

  def for_frames(self, num_frames: int) -> "BurstSizeBAENet":
    """See `ExposurePredictor.for_frames`."""
    if num_frames not in self.burst_sizes:
      raise ValueError(f"This network predicts exposure times for bursts of {', '.join(map(str, self.burst_sizes))} "
                       f"frames, not of {num_frames}.")
    return self.clone(burst_size=num_frames)

  def exposure_times_of_sizes(self, logits: jax.Array, timing: BurstTiming) -> jax.Array:
    """Exposure times of one scene for every size `[number of sizes, n]`, s, 0 where a frame is left out."""
    rows, start = [], len(self.burst_sizes)
    for size in self.burst_sizes:
      times = predict_exposure_times(
          logits[start:start + size + 1], timing.with_frames(size), slack_floor=self.slack_floor)
      rows.append(jnp.pad(times, (0, self.num_frames - size)))
      start += size + 1
    return jnp.stack(rows)

  def exposure_times(self, logits: jax.Array, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` of one scene, s, for the chosen size; no gradient passes through the choice."""
    times = self.exposure_times_of_sizes(logits, timing)
    if self.burst_size is None:
      return times[jnp.argmin(self.expected_losses(logits) + self.penalties(times, timing))]
    return times[self.burst_sizes.index(self.burst_size)]


def check_burst_sizes(burst_sizes: tuple[int, ...], num_frames: int) -> None:
  """Raises a ValueError unless sizes are ascending even numbers from 2 on, the last one of all frames."""
  fine = all(isinstance(size, int) and size >= 2 and size % 2 == 0 for size in burst_sizes)
  if not fine or list(burst_sizes) != sorted(set(burst_sizes)) or burst_sizes[-1] != num_frames:
    raise ValueError(f"Burst sizes must be ascending even numbers from 2 up to num_frames={num_frames}, which is the "
                     f"last one, got {burst_sizes}.")
