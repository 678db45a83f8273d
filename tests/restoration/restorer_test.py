"""What training asks of a restorer: its image, and what became of the collections beside its weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.restoration import Burstormer
from debir_jax.restoration.restorer import apply_in_training


class _Normalised(nn.Module):
  """The mean of the frames, normalised by the batch in training and by running statistics otherwise."""

  @nn.compact
  def __call__(self, frames, train=False):
    return nn.BatchNorm(use_running_average=not train, momentum=0.9)(frames[..., :4].mean(-4))


def _frames(side=8):
  return jax.random.uniform(jax.random.key(0), (3, 2, side, side, 4))


def test_a_restorer_without_statistics_is_called_as_in_use():
  """And has none afterwards."""
  restorer = Burstormer(num_features=8, blocks_per_level=0, fusion_blocks=0, deform_groups=1)
  variables = restorer.init(jax.random.key(1), _frames())
  restored, stats = jax.jit(lambda params: apply_in_training(restorer, params, {}, _frames()))(variables["params"])
  np.testing.assert_allclose(restored, jax.jit(restorer.apply)(variables, _frames()), atol=1e-6)
  assert stats == {}


def test_statistics_move_towards_those_of_the_batch():
  """The image is normalised by the batch; running statistics go a tenth of the way, as the momentum says."""
  frames, restorer = _frames(), _Normalised()
  variables = restorer.init(jax.random.key(1), frames)
  restored, stats = apply_in_training(restorer, variables["params"], {"batch_stats": variables["batch_stats"]}, frames)
  np.testing.assert_allclose(restored.mean((0, 1, 2)), 0, atol=1e-5)
  image = frames.mean(1)
  found, = stats["batch_stats"].values()
  np.testing.assert_allclose(found["mean"], 0.1 * image.mean((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(found["var"], 0.9 + 0.1 * image.var((0, 1, 2)), rtol=1e-5)
  used = restorer.apply({"params": variables["params"], **stats}, frames)
  assert jnp.abs(used - restored).max() > 0.1
