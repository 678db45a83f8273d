"""Optical flow of clean frames with sharp edges: what moves apart keeps its own motion up to where it ends.

Lucas–Kanade finds one motion for all that its window sees, so at the edge of what moves, flows mix. Here, after every
level of its pyramid, each pixel also tries the flows found around it, and takes one where it matches the colors of the
second image better, in a small window. Good flows so spread to the edge of what they belong to, and over thin things.

Images are sRGB `[H, W, 3]` in [0, 1] with little noise, such as frames of a clip; flows `[H, W, 2]` hold (x, y) in px.

Barnes et al., "PatchMatch", SIGGRAPH 2009, spread matches to their neighbours in this way.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.imaging.resample import gaussian_blur, warp
from debir_jax.motion.lucas_kanade import LucasKanade, check_images, luminance, pyramid, resize_flow

# Frames are clean where previews are noisy: smaller windows than those of the motion meter.
CLEAN_LUCAS_KANADE = LucasKanade(num_levels=7, num_iterations=6, window_sigma_px=3.0, blur_sigma_px=0.7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharpFlow:
  """A `FlowEstimator` without variables. Hashable, so static under `jit`.

  Attributes:
    matcher: finds the flow of each level.
    distances_px: how far away flows are taken from, at every level, one distance after the other, in eight directions.
    window_sigma_px: standard deviation of the window in which colors are compared.
    largest_difference: of the colors of a pixel, summed; more does not count, as of what is covered.
  """

  matcher: LucasKanade = CLEAN_LUCAS_KANADE
  distances_px: tuple[int, ...] = (8, 4, 2, 1)
  window_sigma_px: float = 1.5
  largest_difference: float = 0.2

  name = "sharp_flow"
  preview_rendering = "binned"

  def apply(self, variables: Any, image1: jax.Array, image2: jax.Array) -> jax.Array:
    """Flow `[H, W, 2]` in px from `image1` to `image2`, both sRGB `[H, W, 3]` in [0, 1].

    Raises:
      ValueError: if the images are not two of the same shape `[H, W, 3]` with sides of at least 4 px.
    """
    del variables  # There are none: {} by convention.
    check_images(image1, image2)
    levels = list(zip(*(pyramid(image, self.matcher.num_levels) for image in (image1, image2))))
    flow = jnp.zeros((*levels[-1][0].shape[:2], 2), image1.dtype)
    for level1, level2 in reversed(levels):
      flow = self.matcher.refine(resize_flow(flow, level1.shape[:2]), luminance(level1), luminance(level2))
      flow = self._spread(flow, level1, level2)
    return flow

  def _spread(self, flow: jax.Array, level1: jax.Array, level2: jax.Array) -> jax.Array:
    """The flow of each pixel, or that of one around it which matches better."""
    steps = jnp.asarray([(distance * down, distance * right) for distance in self.distances_px
                         for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right])

    def take_better(index, best):
      flow, mismatch = best
      other = jnp.roll(flow, steps[index], (0, 1))  # From the other side at the edge: one more try, no harm.
      its_mismatch = self._mismatch(other, level1, level2)
      better = its_mismatch < mismatch
      return jnp.where(better[..., None], other, flow), jnp.where(better, its_mismatch, mismatch)

    return jax.lax.fori_loop(0, len(steps), take_better, (flow, self._mismatch(flow, level1, level2)))[0]

  def _mismatch(self, flow, level1, level2):
    warped, inside = warp(level2, flow)
    difference = jnp.sum(jnp.abs(warped - level1), axis=-1)
    difference = jnp.where(inside > 0, jnp.minimum(difference, self.largest_difference), self.largest_difference)
    return gaussian_blur(difference, self.window_sigma_px)
