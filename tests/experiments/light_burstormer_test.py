"""The light Burstormer beside the U-Net sees what the U-Net sees, and starts where it starts."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.restoration.aligned_unet import planes_of
from experiments import light_burstormer

_FRAMES = jax.random.uniform(jax.random.key(0), (4, 8, 8, 9)) + 0.1


def test_every_frame_has_its_own_planes_and_those_of_all():
  """In the order of the U-Net's planes, which hold them frame after frame."""
  planes, _ = jax.jit(planes_of)(_FRAMES)
  by_frame, _ = jax.jit(light_burstormer._planes_by_frame)(_FRAMES)
  for frame in range(4):
    np.testing.assert_array_equal(by_frame[frame, ..., :9], planes[..., 9 * frame:9 * frame + 9])
    np.testing.assert_array_equal(by_frame[frame, ..., 9:], planes[..., 36:])


def test_fresh_weights_add_nothing_to_the_wiener_filter():
  """The last layer is 0; what it is added to is the U-Net's skip."""
  variables = jax.jit(light_burstormer.AlignedBurstormer().init)(jax.random.key(0), _FRAMES)
  assert not jnp.any(variables["params"]["network"]["out_conv"]["kernel"])
  shape = jax.eval_shape(light_burstormer.AlignedBurstormer().apply, variables, _FRAMES).shape
  assert shape == (8, 8, 4)
