"""The Digital Gimbal: learned exposure times that are the same for every scene."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.policies import BaeInputs, BAENetPolicy, DigitalGimbal, init_baenet
from debir_jax.types import BurstTiming, CameraColor, Observation

KEY, TIMING = jax.random.key(0), BurstTiming.paper()


def _observations(num=3, size=16):
  """A batch of scenes."""
  keys = jax.random.split(jax.random.key(1), 3)
  return Observation(
      previews=jax.random.uniform(keys[0], (num, 2, size, size, 4)), mean_flow_px=jnp.zeros(num),
      preview_gain=jax.random.uniform(keys[1], (num,), minval=512.0, maxval=1024.0),
      motion_magnitude=jax.random.uniform(keys[2], (num,)),
      color=CameraColor(white_balance=jnp.ones((num, 3)), ccm=jnp.broadcast_to(jnp.eye(3), (num, 3, 3))))


@jax.jit
def _predict(policy, observations):
  return jax.vmap(lambda scene: policy(KEY, scene, TIMING))(observations)


def _policy(variables, **options):
  return BAENetPolicy(module=DigitalGimbal(num_frames=4, **options), variables=variables,
                      inputs=BaeInputs(min_preview_gain=512.0))


def test_the_digital_gimbal_gives_all_scenes_the_same_times():
  """Equal shares of the budget at first, slack included; learned numbers change them, scenes do not."""
  times = np.asarray(_predict(_policy(init_baenet(KEY, DigitalGimbal(num_frames=4))), _observations()))
  np.testing.assert_allclose(1920 * times, 8 + 96 / 5, rtol=1e-5)
  learned = {"params": {"logits": jnp.array([1.0, 0.0, 0.0, 0.0, -9.0])}}
  times = np.asarray(_predict(_policy(learned), _observations()))
  assert np.ptp(times, axis=0).max() == 0 and times[0, 0] > times[0, 1]


def test_every_scene_of_a_batch_has_the_logits():
  """As many as there are planes, of whatever size."""
  logits = jnp.arange(5.0)
  found = DigitalGimbal(num_frames=4).apply({"params": {"logits": logits}}, jnp.zeros((3, 16, 8, 6)), train=True)
  np.testing.assert_array_equal(found, jnp.tile(logits, (3, 1)))


def test_the_slack_may_have_a_floor_too():
  """Five equal shares of 128, of which 4 belong to frames (Eq. 3 to the letter)."""
  times = _predict(_policy({"params": {"logits": jnp.zeros(5)}}, slack_floor=True), _observations())
  np.testing.assert_allclose(1920 * np.asarray(times), 128 / 5, rtol=1e-5)
