"""Pyramidal Lucas–Kanade optical flow in pure JAX: the default motion meter. No weights, no download.

From the coarsest level to the finest: warp the second image by the flow so far, solve the 2x2 least squares of the
remaining shift in a Gaussian window around every pixel, add it, repeat; then pass the flow on at twice the size.

Images are sRGB `[H, W, 3]` in [0, 1], flows `[H, W, 2]` hold (x, y) in px. Every Gaussian filter and every change of
size is a product with a small banded matrix per axis, a constant of the program: XLA on CPU runs single-channel
convolutions ten times slower. Iterations are a `fori_loop`, which keeps the program small and compilation short.

Lucas and Kanade, "An iterative image registration technique with an application to stereo vision", IJCAI 1981;
Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker", 2001.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.resample import along_both_axes, gaussian_blur, gaussian_rows, warp

_LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601 luma of gamma-compressed R, G, B.
_COARSEST_SIDE = 8  # px; a level with fewer pixels has nothing left to match.
_SMALLEST_SIDE = 4  # px; one pixel more than the reach of the central differences.
_MAX_STEP_PX = 1.0  # a step beyond the reach of the local linear model is not trusted.
_FLOW_SIGMA_PX = 1.0  # smoothing of the flow at each level.
_DECIMATION_SIGMA_PX = 1.0  # anti-aliasing before an image is halved, in px of the larger image.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LucasKanade:
  """Pyramidal Lucas–Kanade; a `FlowEstimator` without variables. Hashable, so static under `jit`.

  The defaults are those that measure the mean flow best on noisy low-light previews. Small images take fewer levels:
  the coarsest keeps at least 8 px a side.

  Attributes:
    num_levels: most pyramid levels, the full size included.
    num_iterations: steps per level, each of at most 1 px of that level.
    window_sigma_px: standard deviation of the Gaussian window, at every level.
    blur_sigma_px: standard deviation of the blur of the images before matching, at every level.
    damping: added to the diagonal of the 2x2 system (signal^2/px^2). Larger values report less motion for noise, and
      less motion where there is some.
    unrolled: iterations one after the other in the place of a loop, for exports that know no loops; the same numbers.
  """

  num_levels: int = 5
  num_iterations: int = 4
  window_sigma_px: float = 8.0
  blur_sigma_px: float = 2.0
  damping: float = 1e-4
  unrolled: bool = False

  name = "lucas_kanade"
  preview_rendering = "binned"

  def apply(self, variables: Any, image1: jax.Array, image2: jax.Array) -> jax.Array:
    """Flow `[H, W, 2]` in px from `image1` to `image2`, both sRGB `[H, W, 3]` in [0, 1]; differentiable.

    Raises:
      ValueError: if the images are not two of the same shape `[H, W, 3]` with sides of at least 4 px.
    """
    del variables  # There are none: {} by convention.
    check_images(image1, image2)
    levels = list(zip(pyramid(luminance(image1), self.num_levels), pyramid(luminance(image2), self.num_levels)))
    flow = jnp.zeros((*levels[-1][0].shape, 2), image1.dtype)
    for level1, level2 in reversed(levels):
      flow = self.refine(resize_flow(flow, level1.shape), level1, level2)
    return flow

  def refine(self, flow: jax.Array, level1: jax.Array, level2: jax.Array) -> jax.Array:
    """The flow after `num_iterations` steps at one level, whose images are `[H, W]`, smoothed."""
    template, image = (gaussian_blur(level, self.blur_sigma_px) for level in (level1, level2))
    template_gradient = _gradient(template)

    def step(flow):
      warped, inside = warp(image, flow)
      gradient = (template_gradient + _gradient(warped)) / 2  # Symmetric in both images: second-order accurate.
      return flow + _least_squares_step(gradient, template - warped, inside, self.window_sigma_px, self.damping)

    if self.unrolled:
      for _ in range(self.num_iterations):
        flow = step(flow)
    else:
      flow = jax.lax.fori_loop(0, self.num_iterations, lambda _, flow: step(flow), flow)
    return gaussian_blur(flow, _FLOW_SIGMA_PX)


def _least_squares_step(gradient, error, inside, window_sigma_px, damping) -> jax.Array:
  """The shift `[H, W, 2]` that best explains `error` by `gradient` in a window around each pixel."""
  gx, gy = gradient[..., 0], gradient[..., 1]
  products = jnp.stack([gx * gx, gx * gy, gy * gy, gx * error, gy * error, jnp.ones_like(gx)], axis=-1)
  xx, xy, yy, xe, ye, weight = jnp.moveaxis(gaussian_blur(inside[..., None] * products, window_sigma_px), -1, 0)
  # Means over the pixels that are inside. A window without any has all sums 0 and takes no step.
  damping = damping * jnp.maximum(weight, 1e-3)
  xx, yy = xx + damping, yy + damping
  determinant = xx * yy - xy * xy  # At least damping^2: the undamped matrix is positive semi-definite.
  step = jnp.stack([yy * xe - xy * ye, xx * ye - xy * xe], axis=-1) / determinant[..., None]
  return _limit_length(step, _MAX_STEP_PX)


def _limit_length(vectors: jax.Array, limit: float) -> jax.Array:
  """Vectors `[..., 2]` shortened to `limit` where they are longer."""
  squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(squared / limit**2, 1.0))


def _gradient(image: jax.Array) -> jax.Array:
  """Central differences (d/dx, d/dy) `[H, W, 2]` of `image` `[H, W]`, with repeated edges."""
  padded = jnp.pad(image, 1, mode="edge")
  return jnp.stack([padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]], axis=-1) / 2


def luminance(image: jax.Array) -> jax.Array:
  """Luma `[H, W]` of an sRGB image `[H, W, 3]`."""
  return jnp.matmul(image, jnp.asarray(_LUMINANCE, image.dtype), precision=jax.lax.Precision.HIGHEST)


def pyramid(image: jax.Array, num_levels: int) -> list[jax.Array]:
  """An image `[H, W]` or `[H, W, c]` and its halves, finest first, down to `num_levels` or 8 px a side."""
  levels = [image]
  while len(levels) < num_levels and min(levels[-1].shape[:2]) >= 2 * _COARSEST_SIDE:
    levels.append(along_both_axes(levels[-1], _decimation_matrix))
  return levels


def resize_flow(flow: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """A flow at another size, its vectors in px of that size."""
  if flow.shape[:2] == shape:
    return flow
  height, width = shape
  resized = jax.image.resize(flow, (height, width, 2), "linear")
  return resized * jnp.asarray([width / flow.shape[1], height / flow.shape[0]], flow.dtype)


@functools.lru_cache(maxsize=None)
def _decimation_matrix(length: int) -> np.ndarray:
  """Rows sit at the centres of pixel pairs, so that sizes and flows scale by the same factor."""
  new_length = (length + 1) // 2
  centers = (np.arange(new_length) + 0.5) * length / new_length - 0.5
  return gaussian_rows(centers, length, _DECIMATION_SIGMA_PX)


def check_images(image1: jax.Array, image2: jax.Array) -> None:
  """Raises ValueError unless both are `[H, W, 3]`, of one shape and large enough to be matched."""
  if image1.shape != image2.shape or image1.ndim != 3 or image1.shape[-1] != 3:
    raise ValueError(f"Expected two sRGB images of one shape [H, W, 3], got {image1.shape} and {image2.shape}; "
                     "use jax.vmap for a batch.")
  if min(image1.shape[:2]) < _SMALLEST_SIDE:
    raise ValueError(f"Images need at least {_SMALLEST_SIDE} px a side to be matched, got {image1.shape[:2]}; "
                     "use a larger crop.")
