"""Active S-L chooses among all pairs within the budget, and learns which of them is best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from debir_jax.config.networks import bae_of
from debir_jax.policies import LIGHT_BLOCKS, ActiveSL, BaeInputs, BAENetPolicy, init_baenet, pair_set
from debir_jax.training import runner
from debir_jax.types import BurstTiming, CameraColor, Observation

TIMING = BurstTiming.paper(2)


def test_pairs_are_all_ordered_multiples_of_the_minimum_within_the_budget():
  """The paper's budget for two frames is 64/1920 s."""
  expected = [(a, b) for a in range(8, 57, 8) for b in range(a, 57, 8) if a + b <= 64]
  pairs = pair_set(TIMING)
  np.testing.assert_allclose(1920 * pairs.exposure_times, expected)
  assert len(expected) == ActiveSL().num_pairs == 16 and pairs.names[1] == "{8,16}"


def test_the_likeliest_pair_is_chosen():
  module = ActiveSL(num_pairs=16)
  logits = jnp.zeros(16).at[5].set(1.0)
  np.testing.assert_allclose(1920 * module.exposure_times(logits, TIMING), (8, 48), rtol=1e-6)


@pytest.mark.parametrize("index", [0, 5, 15])
def test_the_loss_is_the_cross_entropy_of_the_labelled_pair(index):
  logits = jax.random.normal(jax.random.key(0), (16,))
  pair = jnp.asarray(pair_set(TIMING).exposure_times[index], jnp.float32)
  expected = np.log(np.exp(logits).sum()) - logits[index]
  np.testing.assert_allclose(ActiveSL(num_pairs=16).label_loss(logits, pair, TIMING), expected, rtol=1e-5)


def test_as_a_policy_it_gives_two_times_that_fit():
  module = ActiveSL(num_pairs=16, width=0.25, blocks=LIGHT_BLOCKS)
  policy = BAENetPolicy(module=module, variables=init_baenet(jax.random.key(0), module),
                        inputs=BaeInputs(min_preview_gain=512.0))
  observation = Observation(
      previews=jax.random.uniform(jax.random.key(1), (2, 16, 16, 4)), preview_gain=jnp.array(700.0),
      mean_flow_px=jnp.array(1.0), motion_magnitude=jnp.array(0.5), color=CameraColor.neutral())
  times = policy(jax.random.key(2), observation, TIMING)
  assert min(np.abs(pair_set(TIMING).exposure_times - times).sum(1)) < 1e-8


def test_four_frames_and_the_gradient_stage_are_refused(tmp_path):
  """Before anything is written."""
  config = quickstart.get_config("debug")
  config.bae.network = "active_sl"
  with pytest.raises(ValueError, match="two frames"):
    bae_of(config)
  with pytest.raises(ValueError, match="leave out stage2"):
    runner.run(config, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()
