"""Images read between their pixels: along a flow, and blurred. Axis order is (y, x), flows are (x, y) in px."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np


def warp(image: jax.Array, flow: jax.Array, *, cubic: bool = False) -> tuple[jax.Array, jax.Array]:
  """An image read at p + flow(p), and 1 where that lies inside, else 0; beyond the edge it is repeated.

  Args:
    image: `[H, W]` or `[H, W, c]`.
    flow: `[H, W, 2]`.
    cubic: read it by `read_cubic_at` instead of bilinearly.

  Returns:
    The warped image, and `[H, W]`.
  """
  height, width = image.shape[:2]
  x = jnp.arange(width, dtype=flow.dtype) + flow[..., 0]
  y = jnp.arange(height, dtype=flow.dtype)[:, None] + flow[..., 1]
  inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
  return (read_cubic_at if cubic else read_at)(image, x, y), inside.astype(image.dtype)


def read_at(image: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
  """Bilinear samples `[..., (c)]` of an image `[H, W, (c)]` at places `x`, `y` `[...]` in px; its edge is repeated."""
  height, width = image.shape[:2]
  x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
  # The left and upper neighbours; at most the last but one, so that the right and lower ones exist.
  left = jax.lax.stop_gradient(jnp.minimum(x.astype(jnp.int32), width - 2))
  upper = jax.lax.stop_gradient(jnp.minimum(y.astype(jnp.int32), height - 2))
  fx, fy = (share.reshape(share.shape + (1,) * (image.ndim - 2)) for share in (x - left, y - upper))
  index = upper * width + left
  pixels = image.reshape(-1, *image.shape[2:])
  # The indices are in range by construction; the check would cost as much as the read.
  at = lambda step: pixels.at[index + step].get(mode="promise_in_bounds")
  top = (1 - fx) * at(0) + fx * at(1)
  bottom = (1 - fx) * at(width) + fx * at(width + 1)
  return (1 - fy) * top + fy * bottom


def read_cubic_at(image: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
  """The same by Catmull-Rom splines: quadratic images are read exactly, so that details hardly lose contrast between
  pixels (bilinearly a wave of 8 px loses up to 8 %, so 0.9 %)."""
  height, width = image.shape[:2]
  x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
  left, upper = (jax.lax.stop_gradient(jnp.floor(place)).astype(jnp.int32) for place in (x, y))
  pixels = image.reshape(-1, *image.shape[2:])
  by_channel = lambda weight: weight.reshape(weight.shape + (1,) * (image.ndim - 2))
  result = 0.0
  for row, row_weight in enumerate(_catmull_rom(y - upper)):
    index = jnp.clip(upper + row - 1, 0, height - 1) * width
    taps = (by_channel(weight) * pixels.at[index + jnp.clip(left + column - 1, 0, width - 1)].get(
        mode="promise_in_bounds") for column, weight in enumerate(_catmull_rom(x - left)))
    result += by_channel(row_weight) * sum(taps)
  return result


def _catmull_rom(share):
  """Weights of the four pixels around a place that lies `share` behind the second one."""
  t = share
  return (t * (-0.5 + t * (1 - 0.5 * t)), 1 + t**2 * (-2.5 + 1.5 * t), t * (0.5 + t * (2 - 1.5 * t)),
          t**2 * (-0.5 + 0.5 * t))


def gaussian_blur(image: jax.Array, sigma_px: float) -> jax.Array:
  """Gaussian blur of `[H, W]` or `[H, W, c]`, with weights that sum to 1 at the border too."""
  return along_both_axes(image, functools.partial(_blur_matrix, sigma_px=sigma_px))


def along_both_axes(image: jax.Array, make_matrix: Callable[[int], np.ndarray]) -> jax.Array:
  """Rows, then columns of `image` `[H, W, ...]` multiplied by `make_matrix(length)` `[new length, length]`."""
  rows = jnp.asarray(make_matrix(image.shape[0]), image.dtype)
  columns = jnp.asarray(make_matrix(image.shape[1]), image.dtype)
  # Full precision: on accelerators a product in bfloat16 would cost more accuracy than the noise does.
  return jnp.einsum("ij,kl,jl...->ik...", rows, columns, image, precision=jax.lax.Precision.HIGHEST)


def gaussian_rows(centers: np.ndarray, length: int, sigma_px: float) -> np.ndarray:
  """Gaussian weights `[len(centers), length]` around each center, cut at 3 sigma, rows sum to 1."""
  offsets = np.arange(length) - centers[:, None]
  weights = np.exp(-(offsets**2) / (2 * sigma_px**2)) * (np.abs(offsets) <= 3 * sigma_px + 0.5)
  return weights / weights.sum(axis=1, keepdims=True)


@functools.lru_cache(maxsize=None)
def _blur_matrix(length: int, sigma_px: float) -> np.ndarray:
  return gaussian_rows(np.arange(length), length, sigma_px)
