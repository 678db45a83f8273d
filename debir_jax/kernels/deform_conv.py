"""Modulated deformable 3x3 convolution (DCNv2, https://arxiv.org/abs/1811.11168), NHWC, gather based.

Every output pixel reads nine points of the input that are moved by learned offsets and weighted by a learned mask.
Points are read bilinearly; each of the four corners counts 0 outside the image. Offsets are pixels, unbounded.
Channels of `offsets` and `mask` follow torchvision: with tap = 3 * row + column, offset channel
`18 * group + 2 * tap + {0: down, 1: right}`, mask channel `9 * group + tap`.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.kernels import deform_triton, depthwise_triton
from debir_jax.kernels.dense import add_bias, dense

_TAPS = 9
_BORDER = 2  # Zeros around the image, so that the corners of every position that counts lie inside an array.


def deform_conv2d(x: jax.Array, offsets: jax.Array, mask: jax.Array, kernel: jax.Array, bias: jax.Array, *,
                  dilation: int = 2) -> jax.Array:
  """Deformable convolution with stride 1; zero offsets and a mask of ones give a plain dilated convolution.

  Args:
    x: `[..., H, W, C]`.
    offsets: `[..., H, W, groups * 18]`, pixels; `groups` blocks of consecutive channels of `x` move together.
    mask: `[..., H, W, groups * 9]`, weight of every point.
    kernel: `[3, 3, C // groups, out]`, grouped: consecutive blocks of output channels read their own block of `x`.
    bias: `[out]`.
    dilation: distance of the points before they are moved, and the padding, pixels.

  Returns:
    `[..., H, W, out]`. Derivatives are exact, with the one-sided slope towards larger coordinates where a point lies on
    a pixel centre. Reverse mode only.

  Raises:
    ValueError: if the shapes do not fit.
  """
  groups = _check_shapes(x, offsets, mask, kernel, bias)
  pairs = offsets.reshape(offsets.shape[:-1] + (groups * _TAPS, 2))
  return deform_conv2d_split(x, pairs[..., 0], pairs[..., 1], mask, kernel, bias, dilation=dilation)


def deform_conv2d_split(x: jax.Array, down: jax.Array, right: jax.Array, mask: jax.Array, kernel: jax.Array,
                        bias: jax.Array, *, dilation: int = 2) -> jax.Array:
  """`deform_conv2d` with the offsets of both directions apart, `[..., H, W, groups * 9]` each: faster to read."""
  groups = mask.shape[-1] // _TAPS
  images = x.reshape((-1,) + x.shape[-3:-1] + (groups, x.shape[-1] // groups))
  samples = _sample(dilation, images, *(array.reshape(images.shape[0], -1) for array in (down, right, mask)))
  out = dense(samples.reshape(images.shape[:3] + (-1,)), _block_diagonal(kernel.astype(x.dtype), groups))
  return add_bias(out.reshape(x.shape[:-1] + bias.shape), bias)


def _check_shapes(x, offsets, mask, kernel, bias) -> int:
  groups = mask.shape[-1] // _TAPS
  fits = (x.ndim >= 3 and groups and mask.shape == x.shape[:-1] + (groups * _TAPS,)
          and offsets.shape == x.shape[:-1] + (groups * _TAPS * 2,) and kernel.ndim == 4
          and kernel.shape[:2] == (3, 3) and kernel.shape[2] * groups == x.shape[-1]
          and kernel.shape[3] % groups == 0 and bias.shape == kernel.shape[3:])
  if not fits:
    raise ValueError(
        "Expected x [..., H, W, C], offsets [..., H, W, groups * 18], mask [..., H, W, groups * 9], kernel "
        f"[3, 3, C // groups, out] and bias [out], got {x.shape}, {offsets.shape}, {mask.shape}, {kernel.shape} and "
        f"{bias.shape}.")
  return groups


def _block_diagonal(kernel, groups):
  """Grouped kernel `[3, 3, C / groups, out]` as one matrix `[groups * 9 * C / groups, out]`, zero off its blocks.

  One thin matrix product is faster than a batch of tiny ones, and needs no transposition of the samples.
  """
  blocks = kernel.reshape(_TAPS, kernel.shape[2], groups, -1)
  blocks = jnp.einsum("tcgo,hg->htcgo", blocks, jnp.eye(groups, dtype=kernel.dtype))
  return blocks.reshape(-1, kernel.shape[3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sample(dilation, images, down, right, mask):
  """Masked bilinear samples `[N, points, c]` of `images [N, H, W, groups, c]`, 0 outside; the rest `[N, points]`.

  Points are ordered as (row, column, group, tap). The gradient is written out: it reads the corners again instead of
  storing copies of the samples.
  """
  forms = _forms(_read_images, dilation)
  if depthwise_triton.are_wanted(images.dtype):
    forms["cuda"] = functools.partial(deform_triton.read_points, dilation=dilation)
  return lax.platform_dependent(images, down, right, mask, **forms)


def _sample_fwd(dilation, images, down, right, mask):
  return _sample(dilation, images, down, right, mask), (images, down, right, mask)


def _sample_bwd(dilation, residuals, cotangent):
  images_grad, *point_grads = lax.platform_dependent(*residuals, cotangent, **_forms(_images_transpose, dilation))
  return images_grad.astype(residuals[0].dtype), *point_grads


_sample.defvjp(_sample_fwd, _sample_bwd)


def _forms(fn, dilation):
  """For `lax.platform_dependent`: images one after the other on CPU, all at once elsewhere."""
  return dict(cpu=functools.partial(fn, dilation=dilation, one_by_one=True),
              default=functools.partial(fn, dilation=dilation, one_by_one=False))


# Reading and adding work on one image whose points stand in one flat axis. On CPU a loop over images keeps all of an
# image's arrays in the cache, and XLA can neither fuse neighbours into the computation of positions nor has to take
# flat indices apart: together 2 to 3 times faster.


def _read_images(images, *points, dilation, one_by_one):
  """`_sample`."""
  read = functools.partial(_read_points, images.shape[1:], _grid(images.shape, dilation))
  return _each_image(read, one_by_one, _with_border(images), *points)


def _images_transpose(images, *points_and_cotangent, dilation, one_by_one):
  """Gradients of `_sample`, that of the images at least in float32."""
  transpose = functools.partial(_points_transpose, images.shape[1:], _grid(images.shape, dilation))
  sites_grad, *point_grads = _each_image(transpose, one_by_one, _with_border(images), *points_and_cotangent)
  inner = slice(_BORDER, -_BORDER)
  bordered = (images.shape[0], images.shape[1] + 2 * _BORDER, images.shape[2] + 2 * _BORDER) + images.shape[3:]
  return sites_grad.reshape(bordered)[:, inner, inner], *point_grads


def _each_image(fn, one_by_one, *arrays):
  return lax.map(lambda args: fn(*args), arrays) if one_by_one else jax.vmap(fn)(*arrays)


def _with_border(images):
  """Sites `[N, (H + 2 * border) * (W + 2 * border) * groups, c]`: all that a corner can be."""
  border = (_BORDER, _BORDER)
  bordered = jnp.pad(images, ((0, 0), border, border, (0, 0), (0, 0)))
  return bordered.reshape(images.shape[0], -1, images.shape[-1])


def _grid(shape, dilation):
  """Row, column and group `[points]` of every point of an image before it is moved."""
  _, height, width, groups, _ = shape
  rows, columns, group, tap = jnp.meshgrid(jnp.arange(height), jnp.arange(width), jnp.arange(groups),
                                           jnp.arange(_TAPS), indexing="ij")
  return ((rows + dilation * (tap // 3 - 1)).reshape(-1), (columns + dilation * (tap % 3 - 1)).reshape(-1),
          group.reshape(-1))


def _read_points(shape, grid, sites, down, right, mask):
  corners, fractions = _corners(shape, grid, down, right)
  weights = [(weight * mask).astype(sites.dtype)[:, None] for weight in _weights(*fractions)]
  return sum(weight * value for weight, value in zip(weights, _read(sites, corners)))


def _points_transpose(shape, grid, sites, down, right, mask, cotangent):
  """The transpose of `_read_points`: gradients of the sites, the offsets and the mask."""
  corners, (below, beside) = _corners(shape, grid, down, right)
  slopes = [_channel_sum(cotangent, value).astype(mask.dtype) for value in _read(sites, corners)]
  top_left, top_right, bottom_left, bottom_right = slopes
  down_grad = (1 - beside) * (bottom_left - top_left) + beside * (bottom_right - top_right)
  right_grad = (1 - below) * (top_right - top_left) + below * (bottom_right - bottom_left)
  weights = _weights(below, beside)
  mask_grad = sum(weight * slope for weight, slope in zip(weights, slopes))
  total = jnp.zeros(sites.shape, jnp.promote_types(sites.dtype, jnp.float32))
  for corner, weight in zip(corners, weights):
    update = (weight * mask).astype(total.dtype)[:, None] * cotangent.astype(total.dtype)
    total = total.at[corner].add(update, mode="promise_in_bounds", wrap_negative_indices=False)
  return (total, (mask * down_grad).astype(down.dtype), (mask * right_grad).astype(right.dtype),
          mask_grad.astype(mask.dtype))


def _corners(shape, grid, down, right):
  """Sites of the four corners of every point, and how far the point lies below and beside the first; at least float32.

  The order is top left, top right, bottom left, bottom right. Points far outside move to the border, where all is 0.
  """
  height, width, groups, _ = shape
  dtype = jnp.promote_types(down.dtype, jnp.float32)
  rows = jnp.clip(grid[0] + down.astype(dtype), -_BORDER, height)
  columns = jnp.clip(grid[1] + right.astype(dtype), -_BORDER, width)
  top, left = jnp.floor(rows), jnp.floor(columns)
  # Clipped once more as integers, so that a position that is not a number cannot read outside the array.
  row = jnp.clip(top.astype(jnp.int32), -_BORDER, height) + _BORDER
  column = jnp.clip(left.astype(jnp.int32), -_BORDER, width) + _BORDER
  bordered_width = width + 2 * _BORDER
  site = (row * bordered_width + column) * groups + grid[2]
  return [site + step * groups for step in (0, 1, bordered_width, bordered_width + 1)], (rows - top, columns - left)


def _weights(below, beside):
  """Bilinear weights of the four corners."""
  return (1 - below) * (1 - beside), (1 - below) * beside, below * (1 - beside), below * beside


def _read(sites, corners):
  return [sites.at[corner].get(mode="promise_in_bounds", wrap_negative_indices=False) for corner in corners]


def _channel_sum(a, b):
  """Sum over the few channels of a group; unrolled, as a reduction over so short an axis is slow."""
  return sum(a[:, channel] * b[:, channel] for channel in range(a.shape[-1]))
