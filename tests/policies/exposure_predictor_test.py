"""What training knows of every network that predicts exposure times: its methods keep their laws in each variant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import (
  ActiveSL,
  BAENet,
  BurstSizeBAENet,
  DigitalGimbal,
  ExposurePredictor,
  predict_exposure_times,
)
from debir_jax.types import BurstTiming

TIMING = BurstTiming.paper()
PLAIN = pytest.mark.parametrize("make", (BAENet, DigitalGimbal))


def _logits(num, seed=0):
  return jax.random.normal(jax.random.key(seed), (num,))


@PLAIN
@pytest.mark.parametrize("slack_floor", [False, True])
@pytest.mark.parametrize("num_frames", [2, 4])
def test_logits_mean_what_the_bounded_softmax_makes_of_them(make, slack_floor, num_frames):
  """In the form that the network was made with; the one size that there is are all frames."""
  timing, logits = BurstTiming.paper(num_frames), _logits(num_frames + 1)
  module = make(num_frames=num_frames, slack_floor=slack_floor)
  expected = predict_exposure_times(logits, timing, slack_floor=slack_floor)
  np.testing.assert_array_equal(module.exposure_times(logits, timing), expected)
  np.testing.assert_array_equal(module.exposure_times_of_sizes(logits, timing), expected[None])


@PLAIN
def test_the_label_loss_is_the_mean_distance_in_seconds(make):
  """Eq. 12, by hand; 0 at the label."""
  module, logits = make(), _logits(5)
  times = module.exposure_times(logits, TIMING)
  label = times + jnp.array([3.0, -1.0, 0.0, 2.0]) / 1920
  np.testing.assert_allclose(module.label_loss(logits, label, TIMING), 1.5 / 1920, rtol=1e-4)
  assert module.label_loss(logits, times, TIMING) == 0


def test_the_gradient_of_the_label_loss_is_that_of_the_times():
  """Of mean |t - label| along the sign of each difference: what the warm-up descends."""
  module, logits = BAENet(), _logits(5)
  label = module.exposure_times(logits, TIMING) + jnp.array([3.0, -1.0, 1.0, 2.0]) / 1920
  expected = jax.grad(lambda x: jnp.dot(module.exposure_times(x, TIMING), jnp.array([-1, 1, -1, -1]) / 4))(logits)
  found = jax.grad(lambda x: module.label_loss(x, label, TIMING))(logits)
  np.testing.assert_allclose(found, expected, atol=1e-8)
  assert np.abs(expected).max() > 1e-4


def test_a_label_of_another_burst_length_is_refused():
  """Nothing is broadcast silently."""
  with pytest.raises(ValueError, match=r"\(4,\) and their label \(1,\) must have the same shape"):
    BAENet().label_loss(_logits(5), jnp.array([0.01]), TIMING)


@pytest.mark.parametrize("module, num_logits, timing", (
    (BAENet(), 5, TIMING), (DigitalGimbal(), 5, TIMING), (ActiveSL(), 16, BurstTiming.paper(2))),
    ids=("baenet", "digital_gimbal", "active_sl"))
def test_networks_for_one_size_expect_no_losses(module, num_logits, timing):
  """They add nothing to the loss, and have one row of times: those that they predict."""
  logits = _logits(num_logits)
  assert module.expectation_loss(logits, jnp.array([0.3])) == 0
  np.testing.assert_array_equal(module.exposure_times_of_sizes(logits, timing),
                                module.exposure_times(logits, timing)[None])


@pytest.mark.parametrize("module, num_logits, timing", (
    (BAENet(), 5, TIMING), (BAENet(uniform_exposure=True), 5, TIMING), (DigitalGimbal(), 5, TIMING),
    (ActiveSL(num_pairs=16), 16, BurstTiming.paper(2)),
    (BurstSizeBAENet(), BurstSizeBAENet().num_outputs, BurstTiming.paper(8))),
    ids=("baenet", "uniform_exposure", "digital_gimbal", "active_sl", "burst_size"))
def test_every_predictor_keeps_the_limits_under_jit_and_vmap(module, num_logits, timing):
  """n times of at least t_min (or 0, left out) that fit the budget; a batch gets what each scene gets alone."""
  assert isinstance(module, ExposurePredictor)
  logits = 3 * jax.random.normal(jax.random.key(1), (6, num_logits))
  times = np.asarray(jax.jit(jax.vmap(lambda x: module.exposure_times(x, timing)))(logits))
  assert times.shape == (6, timing.num_frames)
  np.testing.assert_allclose(times, [module.exposure_times(x, timing) for x in logits], rtol=1e-5, atol=1e-9)
  assert times[times > 0].min() >= timing.min_exposure_s * (1 - 1e-5)
  assert times.sum(1).max() <= timing.budget_s * (1 + 1e-5)
