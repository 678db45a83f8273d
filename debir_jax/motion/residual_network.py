"""The two networks that choose among local residuals of a motion: from far, then closely, again and again.

A place's candidates are weighed by a softmax, whose logits are their ratios times a gain that the network chooses, plus
what it thinks of each. So fresh weights already follow the ratios.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def _polar(radii, directions):
  angles = 2 * np.pi * np.arange(directions) / directions
  circle = np.stack([np.cos(angles), np.sin(angles)], -1)
  return np.concatenate([np.zeros((1, 2)), *(radius * circle for radius in radii)])


_V_FAR = _polar((0.12, 0.25, 0.45, 0.75, 1.15, 1.7, 2.5, 3.6), 16)
_V_NEAR, _A_NEAR = _polar((0.06, 0.15, 0.35, 0.8), 8), _polar((0.08, 0.25), 4)[1:]
# `[k, 4]`: velocity, packed px per 10 ms, and acceleration, as in `burst_flow`.
FAR = np.pad(_V_FAR, ((0, 0), (0, 2))).astype(np.float32)
NEAR = np.concatenate([np.pad(_V_NEAR, ((0, 0), (0, 2))), np.pad(_A_NEAR, ((0, 0), (2, 0)))]).astype(np.float32)


class Chooser(nn.Module):
  """Maps ratios and further planes to a residual, the logarithm of its error, and features.

  Attributes:
    candidates: name of the set, "far" or "near".
    num_features: of the hidden layers.
    blocks: residual blocks.
  """

  candidates: str
  num_features: int = 32
  blocks: int = 2

  @nn.compact
  def __call__(self, ratios: jax.Array, planes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """
    Args:
      ratios: `[h, w, k, windows]`.
      planes: `[h, w, c]`.

    Returns:
      Residual `[h, w, 4]`, log error `[h, w, 1]`, features `[h, w, num_features]`.
    """
    candidates = jnp.asarray(dict(far=FAR, near=NEAR)[self.candidates])
    count, windows = ratios.shape[-2:]
    relative = ratios - ratios[..., :1, :]
    x = jnp.concatenate([relative.reshape(*ratios.shape[:-2], -1), ratios[..., 0, :], planes], -1)
    x = nn.gelu(nn.Dense(self.num_features + 16, name="in_dense")(x))
    x = nn.gelu(nn.Conv(self.num_features, (3, 3), name="in_conv")(x))
    for number in range(self.blocks):
      inner = nn.gelu(nn.Conv(self.num_features, (3, 3), name=f"conv{number}_0")(x))
      x = x + nn.Conv(self.num_features, (3, 3), name=f"conv{number}_1")(inner)
    zeros = nn.initializers.zeros
    gains = 8 * nn.softplus(nn.Dense(windows, name="gains", kernel_init=zeros)(x))
    logits = jnp.sum(gains[..., None, :] * relative, -1) + nn.Dense(count, name="logits", kernel_init=zeros)(x)
    correction = 0.1 * nn.Dense(4, name="correction", kernel_init=zeros)(x)
    residual = jnp.einsum("hwk,kc->hwc", nn.softmax(logits), candidates) + correction
    return residual, nn.Dense(1, name="log_error", kernel_init=zeros)(x), x
