"""Digital Gimbal: exposure times that are learned, but the same for every scene.

Dahary, Jacoby and Bronstein, "Digital gimbal: End-to-end deep image stabilization with learnable exposure times", CVPR
2021. Their shares of the exposure time are a softmax of learned numbers above a minimum, learned with the restoration
network and fixed afterwards. As in the paper's Table 1 there is one number for every frame (and one for the slack);
they go through the same bounded softmax as BAENet's logits, and the same stages train them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.policies.exposure_predictor import ExposurePredictor


class DigitalGimbal(ExposurePredictor, nn.Module):
  """In BAENet's place: planes in, the same logits `[n + 1]` for all out.

  Attributes:
    num_frames: n.
    slack_floor: see `bounded_softmax`.
  """

  num_frames: int = 4
  slack_floor: bool = False

  @nn.compact
  def __call__(self, planes: jax.Array, train: bool, dropout_keys: jax.Array | None = None) -> jax.Array:
    """Planes `[B, h, w, c]`, of which only B matters -> logits `[B, n + 1]`; equal shares at first."""
    del train, dropout_keys
    logits = self.param("logits", nn.initializers.zeros_init(), (self.num_frames + 1,))
    return jnp.broadcast_to(logits, (planes.shape[0], self.num_frames + 1))
