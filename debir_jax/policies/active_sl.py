"""Active S-L: exposure times of two images, chosen out of a set by a classifier.

Yang, Koskinen and Kämäräinen, "Active short-long exposure deblurring", ICPR 2022, predict the gains of a short and a
long image out of a set. As in DEBIR's Table 1 exposure times are predicted instead. Neither paper says more of the set
and the loss used there: here the set are all pairs (t_1 <= t_2) of multiples of the minimum exposure time within the
budget, and the classifier, BAENet's network, learns by cross entropy which of them the pre-trained restorer restores
best.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from debir_jax.policies.baenet import BAENet
from debir_jax.policies.fixed import CandidateSet, format_exposure_times
from debir_jax.types import BurstTiming


class ActiveSL(BAENet):
  """BAENet with a logit for each pair of `pair_set` instead of one for each frame.

  Attributes:
    num_pairs: of `pair_set`.
  """

  num_frames: int = 2
  num_pairs: int = 16

  @property
  def num_outputs(self) -> int:
    """Size of the last layer."""
    return self.num_pairs

  def exposure_times(self, logits: jax.Array, timing: BurstTiming) -> jax.Array:
    """The likeliest pair `[2]`, s, of logits `[num_pairs]`; no gradient passes through a choice."""
    return jnp.asarray(pair_set(timing).exposure_times, logits.dtype)[jnp.argmax(logits)]

  def label_loss(self, logits: jax.Array, label: jax.Array, timing: BurstTiming) -> jax.Array:
    """Cross entropy against the pair of the set that is nearest to `label [2]`, s."""
    distances = jnp.abs(jnp.asarray(pair_set(timing).exposure_times, logits.dtype) - label).sum(1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.argmin(distances))


def pair_set(timing: BurstTiming) -> CandidateSet:
  """All pairs t_1 <= t_2 of multiples of the minimum exposure time within the budget; 16 with the paper's timing.

  Raises:
    ValueError: for bursts that are no pairs.
  """
  if timing.num_frames != 2:
    raise ValueError(f"Active S-L chooses the exposure times of two frames, got a burst of {timing.num_frames}. Set "
                     "config.capture.num_frames=2, or use another network.")
  steps = range(1, int(timing.budget_s / timing.min_exposure_s * (1 + 1e-6)))
  fits = lambda pair: sum(pair) * timing.min_exposure_s <= timing.budget_s * (1 + 1e-6)
  pairs = [pair for pair in itertools.combinations_with_replacement(steps, 2) if fits(pair)]
  exposure_times = timing.min_exposure_s * np.array(pairs, np.float64)
  return CandidateSet(tuple(map(format_exposure_times, exposure_times)), exposure_times)
