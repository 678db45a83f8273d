"""What an optical flow estimator is, and the one number that exposure metering takes from it.

A flow `[H, W, 2]` holds (x, y) in pixels: the content of `image1` at p stands at p + flow(p) in `image2`.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp


class FlowEstimator(Protocol):
  """Optical flow between two images, with its weights in the caller's hands.

  Estimators are not interchangeable under one trained BAENet (their motion magnitudes differ by .03 to .08 on
  average): train and infer with the same one.

  Attributes:
    name: what a checkpoint records about the estimator that its motion magnitudes came from.
    preview_rendering: how a RAW preview is developed for it, both at half the mosaic's size: "binned", each packed RGGB
      cell is one pixel (`debir_jax.imaging.binned_srgb`); "half_resolution", demosaiced, then 2x2 means
      (`half_resolution_srgb`).
  """

  name: str
  preview_rendering: str

  def apply(self, variables: Any, image1: jax.Array, image2: jax.Array, **options) -> jax.Array:
    """Flow `[H, W, 2]` in px of two sRGB images `[H, W, 3]` in [0, 1]; `variables` are the weights, {} without any."""


def mean_flow_magnitude(flow: jax.Array) -> jax.Array:
  """Mean length in px of the vectors of a flow `[H, W, 2]`; its gradient is finite where the flow is 0."""
  squared = jnp.sum(flow**2, axis=-1)
  moving = squared > 0
  # sqrt has no derivative at 0, and 0 * inf would turn the gradient of a whole image into NaN.
  return jnp.mean(jnp.where(moving, jnp.sqrt(jnp.where(moving, squared, 1.0)), 0.0))
