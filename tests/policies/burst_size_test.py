"""One network for bursts of several sizes: the times of each size are those of a network of that size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from debir_jax.config.networks import bae_of
from debir_jax.policies import (
  LIGHT_BLOCKS,
  BaeInputs,
  BAENet,
  BAENetPolicy,
  BurstPenalty,
  BurstSizeBAENet,
  check_burst_sizes,
  init_baenet,
  predict_exposure_times,
)
from debir_jax.training import runner
from debir_jax.types import BurstTiming, CameraColor, Observation

SIZES, TIMING = (2, 4, 6, 8), BurstTiming.paper(8)
NETWORK = BurstSizeBAENet(width=0.25, blocks=LIGHT_BLOCKS, dropout_rate=0.0)


@pytest.mark.parametrize("slack_floor", [False, True])
@pytest.mark.parametrize("index, size", list(enumerate(SIZES)))
def test_every_size_has_times_of_its_own_within_its_own_budget(index, size, slack_floor):
  """Those that a network of that size would give for the same logits; what is left out has 0."""
  logits = 3 * jax.random.normal(jax.random.key(0), (NETWORK.num_outputs,))
  assert NETWORK.num_outputs == 4 + 3 + 5 + 7 + 9
  start = 4 + sum(smaller + 1 for smaller in SIZES[:index])
  expected = predict_exposure_times(logits[start:start + size + 1], BurstTiming.paper(size), slack_floor=slack_floor)
  times = NETWORK.clone(slack_floor=slack_floor).exposure_times_of_sizes(logits, TIMING)[index]
  np.testing.assert_allclose(times[:size], expected, rtol=1e-6)
  assert times.shape == (8,) and not np.any(times[size:])
  assert times[:size].min() * 1920 > 8 - 1e-4 and times.sum() * 1920 < 32 * size + 1e-3


def test_the_size_is_the_one_with_least_expected_loss_and_penalty_unless_it_is_given():
  """Expected losses in hundredths of white; a penalty per second counts gaps, one per frame only what is taken."""
  logits = jax.random.normal(jax.random.key(1), (NETWORK.num_outputs,)).at[:4].set(jnp.array([0.4, 0.1, 0.0, 0.05]))
  of_sizes = np.asarray(NETWORK.exposure_times_of_sizes(logits, TIMING))
  np.testing.assert_array_equal(NETWORK.exposure_times(logits, TIMING), of_sizes[2])
  np.testing.assert_array_equal(NETWORK.clone(burst_size=8).exposure_times(logits, TIMING), of_sizes[3])
  chosen = set()
  for exposure_time_penalty, frame_penalty in ((0.02, 0.0), (0.0, 0.0006), (0.5, 0.0), (0.0, 0.01), (0.01, 0.0001)):
    totals = [1e-2 * loss + exposure_time_penalty * (times.sum() + (size - 1) * 7 / 1920) + frame_penalty * size
             for loss, times, size in zip((0.4, 0.1, 0.0, 0.05), of_sizes, SIZES)]
    penalized = NETWORK.clone(penalties=BurstPenalty(exposure_time=exposure_time_penalty, frame=frame_penalty))
    np.testing.assert_array_equal(penalized.exposure_times(logits, TIMING), of_sizes[np.argmin(totals)])
    chosen.add(int(np.argmin(totals)))
  assert len(chosen) > 1


def test_expectations_are_right_at_the_mean_loss_up_to_a_constant():
  """Squared errors of noisy losses: their gradient vanishes at the mean, and only there."""
  losses = 0.02 + 0.003 * jax.random.normal(jax.random.key(2), (50, 4))
  logits = jnp.zeros(NETWORK.num_outputs).at[:4].set(100 * (losses.mean(0) + 0.7))
  total = lambda logits: jax.vmap(lambda losses: NETWORK.expectation_loss(logits, losses))(losses).mean()
  np.testing.assert_allclose(jax.grad(total)(logits), 0, atol=1e-6)
  off = 1e-3 * np.array([1.0, -1.0, 0.5, -0.5])  # Its mean is 0; 1e-3 in units of the loss.
  more = total(logits.at[:4].add(100 * off)) - total(logits)
  np.testing.assert_allclose(more, np.sum(off**2) / 0.02, rtol=1e-2)


def test_as_a_policy_it_leaves_frames_out():
  variables = init_baenet(jax.random.key(0), NETWORK)
  observation = Observation(
      previews=jax.random.uniform(jax.random.key(1), (2, 16, 16, 4)), preview_gain=jnp.array(700.0),
      mean_flow_px=jnp.array(1.0), motion_magnitude=jnp.array(0.5), color=CameraColor.neutral())
  for size in SIZES:
    policy = BAENetPolicy(module=NETWORK, variables=variables, inputs=BaeInputs(min_preview_gain=512.0))
    assert np.count_nonzero(policy.for_frames(size)(jax.random.key(2), observation, TIMING)) == size
  with pytest.raises(ValueError, match="bursts of 2, 4, 6, 8 frames, not of 3"):
    policy.for_frames(3)
  with pytest.raises(ValueError, match="bursts of 4 frames, not of 8"):
    BAENet().for_frames(8)


@pytest.mark.parametrize("sizes", [(2, 3, 8), (4, 2, 8), (2, 4), (0, 8), (2, 2, 8), ("2", 8)], ids=str)
def test_sizes_that_mean_nothing_are_refused(sizes):
  with pytest.raises(ValueError, match="ascending even numbers"):
    check_burst_sizes(sizes, 8)


@pytest.mark.parametrize("name, unit", [("exposure_time", "second"), ("frame", "frame")])
def test_a_penalty_is_a_number_that_is_not_negative(name, unit):
  """Else longer bursts would be rewarded; the message names the field."""
  for value in (-0.1, float("nan"), float("inf")):
    with pytest.raises(ValueError, match=f"stage2.{name}_penalty={value} must be .*not negative, loss per {unit}"):
      BurstPenalty(**{name: value})


def test_a_network_without_sizes_and_a_warm_up_are_refused(tmp_path):
  """Before anything is written."""
  config = quickstart.get_config("debug")
  config.bae.network = "burst_size"
  with pytest.raises(ValueError, match="capture.burst_sizes, which is empty"):
    bae_of(config)
  with pytest.raises(ValueError, match="no set of candidates"):
    runner.run(config, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()
