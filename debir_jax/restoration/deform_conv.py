"""Modulated deformable 3x3 convolution (DCNv2, https://arxiv.org/abs/1811.11168), NHWC, gather based.

Every output pixel reads nine points of the input that are moved by learned offsets and weighted by a learned mask.
Points are read bilinearly; each of the four corners counts 0 outside the image. Offsets are pixels, unbounded.
Channels of `offsets` and `mask` follow torchvision: with tap = 3 * row + column, offset channel
`18 * group + 2 * tap + {0: down, 1: right}`, mask channel `9 * group + tap`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.restoration.layers import dense

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
  points = images.shape[:3] + (groups, _TAPS)
  rows, columns = _sample_positions(down.reshape(points), right.reshape(points), dilation)
  samples = _sample(images, rows, columns) * mask.reshape(points + (1,)).astype(x.dtype)
  out = dense(samples.reshape(images.shape[:3] + (-1,)), _block_diagonal(kernel.astype(x.dtype), groups))
  return out.reshape(x.shape[:-1] + bias.shape) + bias.astype(x.dtype)


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


def _sample_positions(down, right, dilation):
  """Rows and columns `[N, H, W, groups, 9]` to read at, at least float32."""
  height, width = down.shape[1:3]
  dtype = jnp.promote_types(down.dtype, jnp.float32)
  tap_rows, tap_columns = np.divmod(np.arange(_TAPS), 3)
  rows = np.arange(height)[:, None, None, None] + dilation * (tap_rows - 1)
  columns = np.arange(width)[:, None, None] + dilation * (tap_columns - 1)
  # Samples beyond are 0 and flat, so the clip changes nothing and keeps their corners inside the border.
  return (jnp.clip(rows.astype(dtype) + down.astype(dtype), -_BORDER, height),
          jnp.clip(columns.astype(dtype) + right.astype(dtype), -_BORDER, width))


def _block_diagonal(kernel, groups):
  """Grouped kernel `[3, 3, C / groups, out]` as one matrix `[groups * 9 * C / groups, out]`, zero off its blocks.

  One thin matrix product is faster than a batch of tiny ones, and needs no transposition of the samples.
  """
  blocks = kernel.reshape(_TAPS, kernel.shape[2], groups, -1)
  blocks = jnp.einsum("tcgo,hg->htcgo", blocks, jnp.eye(groups, dtype=kernel.dtype))
  return blocks.reshape(-1, kernel.shape[3])


@jax.custom_vjp
def _sample(images, rows, columns):
  """Bilinear samples `[N, H, W, groups, 9, c]` of `images [N, H, W, groups, c]`, 0 outside.

  The gradient is written out: it reads the corners again instead of storing four copies of the samples, and it adds
  to a flat array, where XLA's scatter is fast.
  """
  sites, down, right = _corners(images.shape, rows, columns)
  values = _read(_with_border(images), sites)
  return sum(weight * value for weight, value in zip(_weights(down, right, images.dtype), values))


def _sample_fwd(images, rows, columns):
  return _sample(images, rows, columns), (images, rows, columns)


def _sample_bwd(residuals, cotangent):
  images, rows, columns = residuals
  sites, down, right = _corners(images.shape, rows, columns)
  bordered = _with_border(images)
  slopes = [_channel_sum(cotangent, value).astype(rows.dtype) for value in _read(bordered, sites)]
  top_left, top_right, bottom_left, bottom_right = slopes
  rows_grad = (1 - right) * (bottom_left - top_left) + right * (bottom_right - top_right)
  columns_grad = (1 - down) * (top_right - top_left) + down * (bottom_right - bottom_left)
  total = jnp.zeros_like(bordered).reshape(-1, bordered.shape[-1])
  for site, weight in zip(sites, _weights(down, right, images.dtype)):
    update = (weight * cotangent).reshape(-1, total.shape[-1])
    total = total.at[site.reshape(-1)].add(update, mode="promise_in_bounds", wrap_negative_indices=False)
  inner = slice(_BORDER, -_BORDER)
  return total.reshape(bordered.shape)[:, inner, inner], rows_grad, columns_grad


_sample.defvjp(_sample_fwd, _sample_bwd)


def _with_border(images):
  return jnp.pad(images, ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0), (0, 0)))


def _corners(shape, rows, columns):
  """Sites of the four corners in the flattened, bordered images, and how far the position lies down and right."""
  num_images, height, width, groups, _ = shape
  height, width = height + 2 * _BORDER, width + 2 * _BORDER
  top, left = jnp.floor(rows), jnp.floor(columns)
  image = jnp.arange(num_images, dtype=jnp.int32)[:, None, None, None, None] * height
  pixel = (image + top.astype(jnp.int32) + _BORDER) * width + left.astype(jnp.int32) + _BORDER
  site = pixel * groups + jnp.arange(groups, dtype=jnp.int32)[:, None]
  return [site + step * groups for step in (0, 1, width, width + 1)], rows - top, columns - left


def _weights(down, right, dtype):
  """Bilinear weights of the corners: top left, top right, bottom left, bottom right."""
  weights = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
  return [weight.astype(dtype)[..., None] for weight in weights]


def _read(bordered, sites):
  flat = bordered.reshape(-1, bordered.shape[-1])
  return [flat.at[site].get(mode="promise_in_bounds", wrap_negative_indices=False) for site in sites]


def _channel_sum(a, b):
  """Sum over the few channels of a group; unrolled, as a reduction over so short an axis is slow."""
  return sum(a[..., channel] * b[..., channel] for channel in range(a.shape[-1]))
