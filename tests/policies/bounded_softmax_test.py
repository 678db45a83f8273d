"""Laws of the bounded softmax and of the map from shares to exposure times (paper, Eq. 3)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import bounded_softmax, exposure_times_from_shares, predict_exposure_times
from debir_jax.types import BurstTiming

NUM_FRAMES = (2, 4, 6, 8)
BOTH_FORMS = pytest.mark.parametrize("slack_floor", (False, True), ids=("default", "slack_floor"))
BOTH_TIMINGS = pytest.mark.parametrize("preset", (BurstTiming.paper, BurstTiming.release), ids=("paper", "release"))


def _random_logits(num_frames, seed=0, num=200):
  return 20 * np.random.default_rng(seed).standard_normal((num, num_frames + 1))


@BOTH_FORMS
@BOTH_TIMINGS
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_shares_sum_to_one_and_stay_in_their_ranges(x64, preset, num_frames, slack_floor):
  """sum = 1; frames in [eps, 1-(n-1)eps], slack in [0, 1-n eps]; with a slack floor everything in [eps, 1-n eps]."""
  min_share = preset(num_frames).min_share
  shares = jax.jit(jax.vmap(lambda x: bounded_softmax(x, min_share, slack_floor=slack_floor)))(
      _random_logits(num_frames))
  slack_lo, frame_hi = (min_share, 1 - num_frames * min_share) if slack_floor else (0, 1 - (num_frames - 1) * min_share)
  np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-14)
  assert np.all(shares[:, :-1] >= min_share - 1e-15) and np.all(shares[:, :-1] <= frame_hi + 1e-15)
  assert np.all(shares[:, -1] >= slack_lo - 1e-15) and np.all(shares[:, -1] <= 1 - num_frames * min_share + 1e-15)


@BOTH_FORMS
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_every_bound_is_reached_in_the_limit(x64, num_frames, slack_floor):
  """A dominating logit takes its output to the upper bound and every other output to its floor."""
  min_share = BurstTiming.paper(num_frames).min_share
  floor = np.full(num_frames + 1, min_share)
  floor[-1] = min_share if slack_floor else 0
  for winner in range(num_frames + 1):
    expected = floor.copy()
    expected[winner] += 1 - floor.sum()
    shares = bounded_softmax(1e3 * jax.nn.one_hot(winner, num_frames + 1), min_share, slack_floor=slack_floor)
    np.testing.assert_allclose(shares, expected, atol=1e-14)


def test_shares_equal_a_plain_loop(x64):
  """(1 - n eps) softmax + eps on the frames and (1 - n eps) softmax on the slack, written out in numpy."""
  for logits in _random_logits(4, seed=1, num=5):
    weights = [np.exp(x - max(logits)) for x in logits]
    softmax = [w / sum(weights) for w in weights]
    expected = [(1 - 4 / 16) * s + 1 / 16 for s in softmax[:4]] + [(1 - 4 / 16) * softmax[4]]
    np.testing.assert_allclose(bounded_softmax(jnp.asarray(logits), 1 / 16), expected, rtol=1e-13)


@BOTH_FORMS
@BOTH_TIMINGS
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_times_respect_minimum_and_budget_and_reach_both(x64, preset, num_frames, slack_floor):
  """t_i >= t_min and sum t_i <= t_u (t_u - (t_min - t_off) with a slack floor), both reached in the limit."""
  timing = preset(num_frames)
  predict = jax.jit(jax.vmap(lambda x: predict_exposure_times(x, timing, slack_floor=slack_floor)))
  budget_s = timing.budget_s - (timing.min_exposure_s - timing.exposure_offset_s if slack_floor else 0)
  times = predict(_random_logits(num_frames))
  assert np.all(times >= timing.min_exposure_s - 1e-15)
  assert np.all(times.sum(axis=1) <= budget_s + 1e-15)
  no_slack, all_slack = predict(jnp.stack([jnp.zeros(num_frames + 1).at[-1].set(sign * 1e3) for sign in (-1, 1)]))
  np.testing.assert_allclose(no_slack, budget_s / num_frames, rtol=1e-13)
  np.testing.assert_allclose(all_slack, timing.min_exposure_s, rtol=1e-13)


def test_the_release_divides_100_subframes_and_adds_7_to_each_frame(x64):
  """t_i = (7 + 100 share_i) / 1920 s with epsilon = 1/100 in the release; t_i = 128/1920 share_i in the paper."""
  shares = jnp.array([0.1, 0.2, 0.3, 0.25, 0.15])
  release, paper = BurstTiming.release(), BurstTiming.paper()
  np.testing.assert_allclose(1920 * exposure_times_from_shares(shares, release), [17, 27, 37, 32], rtol=1e-13)
  np.testing.assert_allclose(1920 * exposure_times_from_shares(shares, paper), [12.8, 25.6, 38.4, 32], rtol=1e-13)
  np.testing.assert_allclose([release.min_share, paper.min_share], [1 / 100, 1 / 16], rtol=1e-13)


def test_one_frame_may_be_longer_than_the_limit_of_stage_1(x64):
  """The longest time is t_u - (n-1) t_min = 104/1920 s (96/1920 s to the letter of Eq. 3), above max_exposure_s."""
  timing, logits = BurstTiming.paper(), jnp.array([1e3, 0, 0, 0, 0])
  np.testing.assert_allclose(1920 * predict_exposure_times(logits, timing)[0], 104, rtol=1e-13)
  np.testing.assert_allclose(1920 * predict_exposure_times(logits, timing, slack_floor=True)[0], 96, rtol=1e-13)
  assert predict_exposure_times(logits, timing)[0] > timing.max_exposure_s


@BOTH_FORMS
@BOTH_TIMINGS
@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_gradient_equals_central_differences(x64, preset, num_frames, slack_floor):
  """d t_i / d logit_j agrees with central differences to 1e-7 relative, in reverse and in forward mode."""
  timing = preset(num_frames)
  predict = lambda x: predict_exposure_times(x, timing, slack_floor=slack_floor)
  logits, step = np.random.default_rng(2).standard_normal(num_frames + 1), 1e-5

  @jax.jit
  def derivatives(logits):
    steps = step * jnp.eye(num_frames + 1)
    numeric = (jax.vmap(predict)(logits + steps) - jax.vmap(predict)(logits - steps)).T / (2 * step)
    return numeric, jax.jacfwd(predict)(logits), jax.jacrev(predict)(logits)

  numeric, forward, reverse = derivatives(logits)
  np.testing.assert_allclose(forward, numeric, rtol=1e-7, atol=1e-12)
  np.testing.assert_allclose(reverse, numeric, rtol=1e-7, atol=1e-12)


@BOTH_FORMS
def test_plain_jitted_and_vmapped_agree(slack_floor):
  """One definition, three ways to call it, in float32."""
  timing, batch = BurstTiming.paper(), jnp.asarray(_random_logits(4, num=3), jnp.float32)
  predict = lambda x: predict_exposure_times(x, timing, slack_floor=slack_floor)
  plain = np.stack([predict(x) for x in batch])
  assert plain.dtype == np.float32
  np.testing.assert_allclose(np.stack([jax.jit(predict)(x) for x in batch]), plain, rtol=1e-6)
  np.testing.assert_allclose(jax.jit(jax.vmap(predict))(batch), plain, rtol=1e-6)


def test_huge_logits_give_finite_shares_and_gradients():
  """Differences of 1e30 between logits neither overflow nor give NaN, in float32."""
  logits = jnp.array([1e30, -1e30, 0, 1, 2], jnp.float32)
  assert np.all(np.isfinite(bounded_softmax(logits, 1 / 16)))
  assert np.all(np.isfinite(jax.jacrev(lambda x: bounded_softmax(x, 1 / 16))(logits)))


def test_floors_may_fill_the_whole_budget(x64):
  """n eps = 1 leaves nothing to choose: each frame gets 1/n whatever the logits."""
  timing = dataclasses.replace(BurstTiming.paper(), budget_s=32 / 1920)
  np.testing.assert_allclose(predict_exposure_times(jnp.array([9.0, 1, -3, 0, 5]), timing), 8 / 1920, rtol=1e-12)


def test_bad_input_says_what_to_do():
  """A batch, a wrong number of outputs, and floors that exceed the budget name the value seen and the remedy."""
  with pytest.raises(ValueError, match=r"\(3, 5\); use jax.vmap"):
    bounded_softmax(jnp.zeros((3, 5)), 1 / 16)
  with pytest.raises(ValueError, match="got 0.3; use a longer budget"):
    bounded_softmax(jnp.zeros(5), 0.3)
  with pytest.raises(ValueError, match="1/5"):
    bounded_softmax(jnp.zeros(5), 0.25, slack_floor=True)
  with pytest.raises(ValueError, match=r"\[5\] for this timing, got \(7,\)"):
    exposure_times_from_shares(jnp.zeros(7), BurstTiming.paper())
