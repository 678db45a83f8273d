"""The search finds the minimum over what the timing allows, and is never worse than its candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.policies import candidate_set, predict_exposure_times, search_exposure_times
from debir_jax.policies.oracle import _logits_of
from debir_jax.simulator import PoissonGaussianNoise, simulate_burst, target_of
from debir_jax.types import BurstTiming

TIMING = BurstTiming.paper()
CANDIDATES = jnp.asarray(candidate_set(TIMING).exposure_times, jnp.float32)


@pytest.mark.parametrize("best", [(12.0, 20.0, 30.0, 40.0), (20.0, 20.0, 20.0, 20.0), (60.0, 10.0, 12.0, 14.0)])
def test_a_quadratic_loss_is_minimised(best):
  """Inside the bounds the minimum is found to half a subframe, far from all candidates."""
  best = jnp.array(best) / 1920
  search = jax.jit(lambda best: search_exposure_times(
      lambda times: jnp.sum((1920 * (times - best)) ** 2), CANDIDATES, TIMING, num_steps=300))
  found = search(best)
  np.testing.assert_allclose(1920 * found.exposure_times, 1920 * best, atol=0.5)
  assert found.loss < found.candidate_losses.min() and found.path.shape == (300, 4)


def test_the_result_is_never_worse_than_the_best_candidate():
  """Also where the gradient points the wrong way: the best that was met anywhere is returned."""
  deceiving = lambda times: jnp.where(jnp.abs(1920 * times - 32).max() < 1e-3, -1.0, 0.0) + jax.lax.stop_gradient(
      jnp.sum(times)) - jnp.sum(times)
  found = search_exposure_times(deceiving, CANDIDATES, TIMING, num_steps=5)
  np.testing.assert_allclose(1920 * found.exposure_times, [32] * 4, rtol=1e-5)
  assert found.loss == found.candidate_losses.min()


def test_without_steps_the_best_candidate_is_found():
  """And nothing else is tried."""
  found = search_exposure_times(lambda times: jnp.sum((1920 * times - 21) ** 2), CANDIDATES, TIMING, num_steps=0)
  np.testing.assert_allclose(found.exposure_times, CANDIDATES[jnp.argmin(found.candidate_losses)])
  assert found.loss == found.candidate_losses.min() and found.path.shape == (0, 4) and found.path_losses.shape == (0,)


def test_times_stay_within_the_bounds():
  """A loss that wants everything at once: the budget is used up, no time is too short."""
  found = search_exposure_times(lambda times: -jnp.sum(times[:2]), CANDIDATES, TIMING, num_steps=200, learning_rate=0.5)
  times = np.asarray(found.path)
  assert times.min() >= TIMING.min_exposure_s * (1 - 1e-5) and times.sum(1).max() <= TIMING.budget_s * (1 + 1e-5)
  assert found.exposure_times[:2].sum() > 0.95 * (TIMING.budget_s - 2 * TIMING.min_exposure_s)


@pytest.mark.parametrize("preset", [BurstTiming.paper, BurstTiming.release])
def test_logits_of_times_give_these_times(preset):
  """Inverse of the bounded softmax inside the bounds; at their edge to a thousandth of the budget."""
  timing = preset()
  for times, atol in (((10, 20, 30, 40), 1e-3), ((8, 24, 40, 56), 0.5), ((32, 32, 32, 32), 0.5)):
    found = predict_exposure_times(_logits_of(jnp.array(times) / 1920, timing), timing)
    np.testing.assert_allclose(1920 * found, times, atol=atol)


def test_it_beats_a_fine_grid_through_the_simulator():
  """One time for the only frame that counts, a grating that moves: noise against blur, found as by brute force."""
  frames = jnp.arange(TIMING.num_subframes(TIMING.budget_s))[:, None, None, None]
  x = jnp.arange(32)[None, None, :, None]
  radiance = (0.3 + 0.2 * jnp.sin(0.6 * x - 0.03 * frames)) * jnp.ones((1, 8, 1, 4))
  keys = jax.random.split(jax.random.key(0), 8)

  def loss_of(times):
    take = lambda key: simulate_burst(key, radiance, times, 300.0, PoissonGaussianNoise(1e-5, 1e-9), TIMING)
    return jnp.mean(jnp.abs(jax.vmap(take)(keys)[:, 0] - target_of(radiance, TIMING)))

  found = jax.jit(lambda: search_exposure_times(loss_of, CANDIDATES, TIMING))()
  grid = jnp.arange(8.0, 100.0, 2.0) / 1920
  losses = jax.jit(lambda: jax.lax.map(lambda time: loss_of(jnp.full(4, 8 / 1920).at[0].set(time)), grid))()
  assert 0 < int(jnp.argmin(losses)) < len(grid) - 1
  assert float(found.loss) <= float(losses.min()) * 1.002


def test_candidates_of_another_burst_length_are_refused():
  """With both shapes."""
  with pytest.raises(ValueError, match=r"\[m, 4\].*\(5, 2\)"):
    search_exposure_times(jnp.sum, jnp.ones((5, 2)), TIMING)
