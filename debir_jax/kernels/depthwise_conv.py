"""Depthwise 3x3 convolution, NHWC, in a form that every platform runs fast.

XLA on CPU runs a grouped convolution one channel at a time: nine shifted multiply-adds are 28 to 50 times faster, and
they vectorise over channels. The gradient is written out here instead of being derived, because XLA would turn the
kernel's into nine scalar reductions, each of which computes whatever stands before it once more. NVIDIA GPUs run the
kernels of `depthwise_triton.py`, other platforms the grouped convolution of their library.

The derivative is a `custom_vjp`: reverse mode of first order, under `vmap` and `jit`; no forward mode (`jvp`).

On CPU, images are laid out *flat*, `[P, C]`: all pixels of all images in one axis, a zero before every row and a row of
zeros before every image. A shift of the image is then a shift of that axis, every tap reads one contiguous block, and
the zeros serve as padding for the pixels on both of their sides. `FlatLayout` says where what stands.
"""

import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp

from debir_jax.kernels import depthwise_triton

_BLOCK_PLACES = 1024  # At most so many at a time in the kernel's gradient: with the nine totals they stay in the cache.
_UNROLL = 16  # Parts of a block that are added up before a total is touched; more costs compile time only.


def depthwise_conv3x3(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
  """Convolves every channel with its own 3x3 kernel, zero padding of one pixel on every side.

  Args:
    x: `[..., H, W, C]`.
    kernel: `[3, 3, 1, C]`, the layout of a Flax `Conv` with `feature_group_count=C`.
    stride: step between output pixels in both directions; the first output pixel is centred on the first input pixel.

  Returns:
    `[..., (H - 1) // stride + 1, (W - 1) // stride + 1, C]`, what `lax.conv_general_dilated` gives with padding
    `((1, 1), (1, 1))`, in the promoted type of both arguments.

  Raises:
    ValueError: if the shapes do not fit or the stride is not a positive integer.
  """
  if x.ndim < 3 or kernel.shape != (3, 3, 1, x.shape[-1]):
    raise ValueError(f"Expected x [..., H, W, C] and kernel [3, 3, 1, C], got x {x.shape} and kernel {kernel.shape}.")
  if not isinstance(stride, int) or stride < 1:
    raise ValueError(f"stride must be a positive integer, got {stride!r}.")
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  images = x.reshape((-1,) + x.shape[-3:]).astype(dtype)
  out = _conv(stride, images, kernel.astype(dtype))
  return out.reshape(x.shape[:-3] + out.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(stride, x, kernel):
  return _by_platform(stride, x, kernel, cpu=_shifted_sum, cuda=depthwise_triton.conv, default=_library_conv)


def _conv_fwd(stride, x, kernel):
  return _conv(stride, x, kernel), (x, kernel)


def _conv_bwd(stride, residuals, cotangent):
  return _by_platform(stride, *residuals, cotangent, cpu=_shifted_sum_transpose, cuda=depthwise_triton.conv_transpose,
                      default=_library_conv_transpose)


_conv.defvjp(_conv_fwd, _conv_bwd)


def _by_platform(stride, x, *arrays, cpu, cuda, default):
  """Each platform's form; that for CUDA has stride 1."""
  forms = {name: functools.partial(form, stride=stride) for name, form in dict(cpu=cpu, default=default).items()}
  if stride == 1 and depthwise_triton.are_wanted(x.dtype):
    forms["cuda"] = cuda
  return lax.platform_dependent(x, *arrays, **forms)


def _library_conv(x, kernel, *, stride):
  return lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)),
                                  dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1])


def _library_conv_transpose(x, kernel, cotangent, *, stride):
  return jax.vjp(functools.partial(_library_conv, stride=stride), x, kernel)[1](cotangent)


@dataclasses.dataclass(frozen=True)
class FlatLayout:
  """Where the pixels of `[N, H, W, C]` stand in the flat layout.

  Inputs of a convolution have `in_length` places, zeros but for pixels; results have `out_length` places, of which only
  those of pixels mean something. Both begin with a margin, so that a result's gradient, laid out like the result and
  zero but for pixels, can be convolved in turn: `out_length - span` places, those from `span` on of the input.
  """

  images: int
  height: int
  width: int

  @property
  def starts(self) -> list[int]:
    """How far the nine taps of a result stand behind its place; the middle one is its own pixel."""
    return [row * (self.width + 1) + column for row in range(3) for column in range(3)]

  @property
  def span(self) -> int:
    """Distance from the first tap to the last."""
    return self.starts[8]

  @property
  def margin(self) -> int:
    """Place of the first pixel in a result."""
    return self.starts[4]

  @property
  def num_pixels(self) -> int:
    """Places from the first pixel to the end of the last image, the zeros between rows and images included."""
    return self.images * (self.height + 1) * (self.width + 1)

  @property
  def num_blocks(self) -> int:
    """Equal blocks that a result is cut into for the gradient of the kernel."""
    return -(-(2 * self.margin + self.num_pixels) // _BLOCK_PLACES)

  @property
  def out_length(self) -> int:
    """Places of a result, a multiple of `num_blocks * _UNROLL`."""
    unit = self.num_blocks * _UNROLL
    return -(-(2 * self.margin + self.num_pixels) // unit) * unit

  @property
  def in_length(self) -> int:
    """Places of an input."""
    return self.out_length + self.span

  def flatten(self, images: jax.Array) -> jax.Array:
    """`[N, H, W, C]` as an input `[in_length, C]`."""
    return self._placed(images, 2 * self.margin, self.in_length)

  def flatten_as_result(self, images: jax.Array) -> jax.Array:
    """`[N, H, W, C]` as a result `[out_length, C]`, zero but for pixels; the transpose of `unflatten`."""
    return self._placed(images, self.margin, self.out_length)

  def unflatten(self, result: jax.Array) -> jax.Array:
    """The pixels `[N, H, W, C]` of a result `[out_length, C]`."""
    pixels = self.by_image(result).reshape(self.images, self.height + 1, self.width + 1, -1)
    return pixels[:, :self.height, :self.width]

  def by_image(self, result: jax.Array) -> jax.Array:
    """The places of each image in a result, `[N, (H + 1) * (W + 1), C]`."""
    return result[self.margin:self.margin + self.num_pixels].reshape(self.images, -1, result.shape[-1])

  def from_images(self, by_image: jax.Array) -> jax.Array:
    """Inverse of `by_image`, with zeros around."""
    after = self.out_length - self.margin - self.num_pixels
    return jnp.pad(by_image.reshape(-1, by_image.shape[-1]), ((self.margin, after), (0, 0)))

  def is_pixel(self) -> jax.Array:
    """1 where a result has a pixel, else 0, `[out_length, 1]`."""
    return self.flatten_as_result(jnp.ones((self.images, self.height, self.width, 1)))

  def _placed(self, images, first, length):
    # Columns and channels are padded as one axis: where XLA fuses this with what makes the images, it is twice as fast.
    channels = images.shape[-1]
    rows = images.reshape(self.images, self.height, -1)
    padded = jnp.pad(rows, ((0, 0), (0, 1), (0, channels))).reshape(-1, channels)
    return jnp.pad(padded, ((first, length - first - padded.shape[0]), (0, 0)))


def flat_conv(flat: jax.Array, kernel: jax.Array, layout: FlatLayout) -> jax.Array:
  """Nine shifted multiply-adds of `[places, C]` with `kernel [3, 3, 1, C]`: `[places - span, C]`, of `flat`'s type."""
  places, dtype = flat.shape[0] - layout.span, _sum_dtype(flat)
  weights = kernel.astype(dtype).reshape(9, -1)
  return sum(lax.slice_in_dim(flat, start, start + places).astype(dtype) * weight
             for start, weight in zip(layout.starts, weights)).astype(flat.dtype)


def flat_conv_transpose(cotangent: jax.Array, kernel: jax.Array, layout: FlatLayout) -> jax.Array:
  """Gradient of the input of `flat_conv`, at its places from `span` on, `[out_length - span, C]`.

  Args:
    cotangent: `[out_length, C]`, zero but for pixels.
    kernel: `[3, 3, 1, C]`.
    layout: of the images.
  """
  return flat_conv(cotangent, kernel[::-1, ::-1], layout)


@functools.partial(jax.jit, static_argnames="layout")
def flat_kernel_gradient(flat: jax.Array, cotangent: jax.Array, layout: FlatLayout) -> jax.Array:
  """Gradient of the kernel of `flat_conv`: sums of `cotangent` times the nine shifts of `flat`, `[3, 3, 1, C]`.

  Walks over blocks of places that stay in the cache, and adds up whole rows of a block instead of reducing: XLA fuses a
  reduction with the shifts before it into scalar code. Seven times faster than that.

  Args:
    flat: `[in_length, C]`.
    cotangent: `[out_length, C]`, zero but for pixels.
    layout: of the images.
  """
  channels, dtype = flat.shape[1], _sum_dtype(flat)
  block = layout.out_length // layout.num_blocks

  def add_block(totals, index):
    cut = lambda array, length: lax.dynamic_slice_in_dim(array, index * block, length).astype(dtype)
    near, weights = cut(flat, block + layout.span), cut(cotangent, block)
    return tuple(_add_products(total, lax.slice_in_dim(near, start, start + block), weights)
                 for total, start in zip(totals, layout.starts)), None

  zeros = jnp.zeros((block // _UNROLL, channels), dtype)
  totals, _ = lax.scan(add_block, (zeros,) * 9, jnp.arange(layout.num_blocks))
  return jnp.stack([jnp.sum(total, 0) for total in totals]).reshape(3, 3, 1, channels).astype(flat.dtype)


@jax.jit  # Traced once instead of for every tap.
def _add_products(total, left, right):
  """`total [rows, C]` plus all bands of so many rows of `left * right`."""
  rows = total.shape[0]
  for first in range(0, left.shape[0], rows):
    total = total + left[first:first + rows] * right[first:first + rows]
  return total


def _shifted_sum(x, kernel, *, stride):
  """The convolution as nine shifted multiply-adds."""
  if stride == 1:
    layout = FlatLayout(*x.shape[:3])
    return layout.unflatten(flat_conv(layout.flatten(x), kernel, layout))
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(_sum_dtype(x))
  weights = kernel.astype(padded.dtype).reshape(9, -1)
  return sum(window * weight for window, weight in zip(_windows(padded, stride), weights)).astype(x.dtype)


def _shifted_sum_transpose(x, kernel, cotangent, *, stride):
  # Zeros between the output pixels undo the stride; the rest is the gradient of a convolution with stride 1.
  missing = [size - 1 - stride * (out - 1) for size, out in zip(x.shape[1:3], cotangent.shape[1:3])]
  dilation = [(0, 0, 0), (0, missing[0], stride - 1), (0, missing[1], stride - 1), (0, 0, 0)]
  dilated = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), dilation)
  layout = FlatLayout(*x.shape[:3])
  kernel_grad = flat_kernel_gradient(layout.flatten(x), layout.flatten_as_result(dilated), layout)
  return _shifted_sum(dilated, kernel[::-1, ::-1], stride=1), kernel_grad


def _windows(padded, stride):
  """The nine shifted views of `[..., H + 2, W + 2, C]`, row by row."""
  last_row, last_column = [stride * ((size - 3) // stride) for size in padded.shape[-3:-1]]
  return [padded[..., row:row + last_row + 1:stride, column:column + last_column + 1:stride, :]
          for row in range(3) for column in range(3)]


def _sum_dtype(x):
  return jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 sums in float32.
