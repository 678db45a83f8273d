"""Fixed exposures for some frames of a longer burst."""

import jax
import numpy as np

from debir_jax.policies import bracket
from debir_jax.types import BurstTiming
from experiments.frames import fixed_policies


def test_fixed_exposures_take_the_first_frames_and_leave_the_others_out():
  """Each frame has the same part of the budget, whatever the size; the timing of the longest burst takes them all."""
  timing = BurstTiming.paper(num_frames=8)
  for size in (2, 4, 6, 8):
    policies = fixed_policies(timing, size)
    assert list(policies) == ["bracketing", "uniform {16}", "uniform {24}", "uniform {32}"]
    for name, policy in policies.items():
      times = np.asarray(policy(jax.random.key(0), None, timing)) * 1920
      assert times.shape == (8,) and np.count_nonzero(times) == size == np.count_nonzero(times[:size])
      if name == "bracketing":
        expected = np.array(bracket(BurstTiming.paper(num_frames=size)).exposure_times) * 1920
        np.testing.assert_allclose(times[:size], expected, rtol=1e-5)
        np.testing.assert_allclose(times.sum(), 32 * size, rtol=1e-5)
