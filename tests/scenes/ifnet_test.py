"""IFNet's size, and what it does to frames of any size; `convert_ifnet_test` compares it with the published network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.scenes.ifnet import Rife, init_ifnet
from debir_jax.scenes.interpolate import interpolate_pair


@pytest.fixture(scope="module")
def shapes():
  return jax.eval_shape(init_ifnet, jax.random.key(0))


def test_number_of_parameters(shapes):
  """That of the published state dict without what only its training used."""
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 5_664_776


def test_without_weights_it_is_the_mean_of_both_frames(shapes):
  """Nothing moves and the mask is even, at any time and for any size of frames."""
  rife = Rife(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
  first, second = np.random.default_rng(0).uniform(size=(2, 30, 70, 3)).astype(np.float32)
  found = interpolate_pair(rife, first, second, 3)
  np.testing.assert_allclose(found, np.broadcast_to((first + second) / 2, found.shape), atol=1e-6)
  flow = jax.jit(lambda rife, *frames: rife.flow_at(rife.prepare(*frames), 0.5))(rife, first, second)
  np.testing.assert_array_equal(flow, np.zeros((30, 70, 2)))
