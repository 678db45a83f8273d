"""What a policy may look at: previews, gain and motion as they are, and refusal of what cannot be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.motion import MotionEstimator
from debir_jax.policies import AverageAE, BaeInputs, BAENet, BAENetPolicy, is_pytree, observe, uniform
from debir_jax.types import BurstTiming, CameraColor

COLOR = CameraColor(white_balance=jnp.array([2.0, 1.0, 1.7]), ccm=jnp.array(
    [[1.5, -0.4, -0.1], [-0.2, 1.4, -0.2], [0.0, -0.5, 1.5]]))


def _previews(seed=0, size=16):
  return jax.random.uniform(jax.random.key(seed), (2, size, size, 4), maxval=0.4)


def test_an_observation_is_the_previews_and_the_motion_between_them():
  """The leaves are what goes in, and what the estimator says of it."""
  previews, motion, timing = _previews(), MotionEstimator(full_scale_px_per_s=20.0), BurstTiming.paper()
  observation = observe(previews, 600.0, COLOR, motion, timing)
  mean_flow_px, motion_magnitude = motion(previews, COLOR, timing)
  np.testing.assert_array_equal(observation.previews, previews)
  assert observation.preview_gain == 600 and observation.preview_gain.dtype == previews.dtype
  assert observation.mean_flow_px == mean_flow_px > 0 and observation.motion_magnitude == motion_magnitude > 0
  jax.tree.map(np.testing.assert_array_equal, observation.color, COLOR)


def test_plain_jitted_and_vmapped_observations_agree():
  """One scene at a time or a batch of them under jit: the same leaves."""
  see = lambda previews, gain: observe(previews, gain, COLOR, MotionEstimator(), BurstTiming.paper())
  previews, gains = jnp.stack([_previews(1), _previews(2)]), jnp.array([512.0, 800.0])
  batched = jax.jit(jax.vmap(see, in_axes=(0, 0)))(previews, gains)
  plain = jax.tree.map(lambda *x: jnp.stack(x), *map(see, previews, gains))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), batched, plain)


@pytest.mark.parametrize("change,message", (
    (lambda x: x[:1], r"\(1, 16, 16, 4\)"), (lambda x: x[..., :3], r"\(2, 16, 16, 3\)"),
    (lambda x: x[None], "use jax.vmap"), (lambda x: 1023 * x, "divide by white minus black"),
    (lambda x: x - 0.5, "from -0.5"), (lambda x: x.at[0, 0, 0, 0].set(jnp.nan), "from nan")))
def test_wrong_previews_are_refused(change, message):
  """One preview, RGB, a batch, raw counts, negative values, NaN: named with the remedy."""
  with pytest.raises(ValueError, match=message):
    observe(change(_previews().at[0, 0, 0, 1].set(0.0)), 600.0, COLOR, MotionEstimator(), BurstTiming.paper())


def test_a_gain_of_zero_is_refused():
  with pytest.raises(ValueError, match="preview_gain must be positive.*got 0.0"):
    observe(_previews(), 0.0, COLOR, MotionEstimator(), BurstTiming.paper())


def test_policies_with_arrays_are_pytrees_and_others_are_values():
  """So that an evaluation knows what may be an argument of a compiled program."""
  network = BAENetPolicy(module=BAENet(), variables={"params": jnp.zeros(2)}, inputs=BaeInputs(min_preview_gain=512.0))
  assert is_pytree(network)
  assert not is_pytree(uniform(8 / 1920)) and not is_pytree(AverageAE(reference_gain=600.0))
