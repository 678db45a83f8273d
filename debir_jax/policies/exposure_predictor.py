"""What everything that learns exposure times has in common: BAENet, its variants, and what takes its place."""

import jax
import jax.numpy as jnp

from debir_jax.policies.bounded_softmax import predict_exposure_times
from debir_jax.types import BurstTiming


class ExposurePredictor:
  """What the logits of a network mean, and how far they are from a label. A mixin of Flax modules.

  Training knows a network by these methods alone; a variant says here what is different about it.

  Attributes:
    num_frames: n.
    slack_floor: form of the bounded softmax, see `bounded_softmax`.
  """

  num_frames: int
  slack_floor: bool

  def exposure_times(self, logits: jax.Array, timing: BurstTiming) -> jax.Array:
    """What the logits of one scene mean: exposure times `[n]`, s."""
    return predict_exposure_times(logits, timing, slack_floor=self.slack_floor)

  def for_frames(self, num_frames: int) -> "ExposurePredictor":
    """The same network, held to bursts of so many frames.

    Raises:
      ValueError: it does not know such bursts.
    """
    if num_frames != self.num_frames:
      raise ValueError(f"This network predicts exposure times for bursts of {self.num_frames} frames, not of "
                       f"{num_frames}. Load weights for several burst sizes.")
    return self

  def exposure_times_of_sizes(self, logits: jax.Array, timing: BurstTiming) -> jax.Array:
    """Exposure times of one scene for every burst size that the network knows, `[number of sizes, n]`, s."""
    return self.exposure_times(logits, timing)[None]

  def label_loss(self, logits: jax.Array, label: jax.Array, timing: BurstTiming) -> jax.Array:
    """Distance from pseudo-ground-truth times `[n]`, s, of one scene: by default mean |t - t_pseudo-gt| (Eq. 12).

    In seconds. The unit matters: the main step goes on with the same Adam state. In seconds both losses have gradients
    of the same order; in units of 1/1920 s the second moments of the warm-up would hold back the main step for
    thousands of steps.
    """
    times = self.exposure_times(logits, timing)
    if times.shape != label.shape:
      raise ValueError(f"The exposure times {times.shape} and their label {label.shape} must have the same shape.")
    return jnp.mean(jnp.abs(times - label))

  def expectation_loss(self, logits: jax.Array, losses: jax.Array) -> jax.Array:
    """What is added to the loss where a network also predicts the losses of its burst sizes `[number of sizes]`."""
    del logits, losses
    return jnp.zeros(())
