"""The mean length of a flow."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.motion import mean_flow_magnitude


def test_mean_flow_magnitude_is_the_mean_length(x64):
  """(3, 4), (0, 0), (-5, 12), (0, -1) have the mean length (5 + 0 + 13 + 1) / 4."""
  flow = jnp.array([[[3.0, 4.0], [0.0, 0.0]], [[-5.0, 12.0], [0.0, -1.0]]])
  np.testing.assert_allclose(mean_flow_magnitude(flow), 19 / 4, rtol=1e-14)


def test_gradient_is_the_direction_of_motion_and_zero_without_motion(x64):
  """d mean / d flow = flow / |flow| / number of pixels, and 0 (not NaN) at a pixel without motion."""
  gradient = jax.grad(mean_flow_magnitude)(jnp.array([[[3.0, 4.0], [0.0, 0.0]]]))
  np.testing.assert_allclose(gradient, [[[0.3, 0.4], [0, 0]]], rtol=1e-14)
