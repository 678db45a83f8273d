"""RAFT optical flow in Flax, small and large: the motion meter of the paper. Needs weights, see `debir_jax.convert`.

Two images become features at an eighth of their size. Every pixel of the first is compared with every pixel of the
second, at four scales of the second. Then a recurrent unit reads these correlations around where the flow so far
points, corrects the flow, and repeats; the last flow is brought back to full size.

Axes are `[batch, height, width, channels]`; flows and positions hold (x, y), in px of the size at hand.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020,
https://arxiv.org/abs/2003.12039.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

_STRIDE = 8  # px of the image per pixel of its features.
_NUM_LEVELS = 4  # scales of the correlation.
_SMALLEST_SIDE = _STRIDE * 2**_NUM_LEVELS  # px; the coarsest correlation needs two pixels a side.
_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Design:
  """What tells the sizes of RAFT apart; all but kernels, radius and flags are numbers of channels."""

  bottleneck: bool
  widths: tuple[int, ...]  # Of the first convolution, then of the three stages of an encoder.
  features: int
  context: int
  context_norm: str
  radius: int  # Of the window in which correlations are read, px of each scale.
  correlation: tuple[int, ...]
  flow: tuple[int, ...]
  motion: int
  hidden: int
  gru_kernels: tuple[tuple[int, int], ...]
  head: int
  convex_upsampling: bool


_DESIGNS = dict(
    small=_Design(
        bottleneck=True, widths=(32, 32, 64, 96), features=128, context=64, context_norm="none", radius=3,
        correlation=(96,), flow=(64, 32), motion=80, hidden=96, gru_kernels=((3, 3),), head=128,
        convex_upsampling=False),
    large=_Design(
        bottleneck=False, widths=(64, 64, 96, 128), features=256, context=128, context_norm="batch", radius=4,
        correlation=(256, 192), flow=(128, 64), motion=126, hidden=128, gru_kernels=((1, 5), (5, 1)), head=256,
        convex_upsampling=True))


@dataclasses.dataclass(frozen=True)
class Raft:
  """RAFT; a `FlowEstimator` with weights. Hashable, so static under `jit`.

  Attributes:
    size: "small" (1.0 million parameters) or "large" (5.3 million).
    num_updates: of the flow.
  """

  size: str
  num_updates: int = 20

  preview_rendering = "half_resolution"

  def __post_init__(self):
    if self.size not in _DESIGNS:
      raise ValueError(f"Unknown size of RAFT {self.size!r}; choose one of {', '.join(map(repr, _DESIGNS))}.")
    _check_num_updates(self.num_updates)

  @property
  def name(self) -> str:
    """What a checkpoint records: "raft_small" or "raft_large"."""
    return f"raft_{self.size}"

  def init(self, key: jax.Array) -> dict[str, Any]:
    """Random variables of the right names and shapes: normal kernels of variance 1 / inputs; no motion is learnt."""
    image = jax.ShapeDtypeStruct((1, _SMALLEST_SIDE, _SMALLEST_SIDE, 3), jnp.float32)
    initialise = lambda key, image: self._network(1).init(key, image, image)
    shapes = jax.eval_shape(initialise, key, image)
    return jax.jit(lambda key: _random_variables(key, shapes))(key)

  def apply(self, variables: Any, image1: jax.Array, image2: jax.Array, *, num_updates: int | None = None) -> jax.Array:
    """Flow `[..., H, W, 2]` in px from `image1` to `image2`.

    Sides that are not multiples of 8 are padded by their edges, half on each side.

    Args:
      variables: `{"params": ...}`, for the large one with "batch_stats".
      image1, image2: sRGB `[..., H, W, 3]` in [0, 1]; leading axes are a batch.
      num_updates: other than that of the estimator.

    Raises:
      ValueError: no weights, images not two of one shape, or a side that is below 128 px after padding.
    """
    num_updates = self.num_updates if num_updates is None else num_updates
    _check_num_updates(num_updates)
    _check_images(image1, image2)
    if "params" not in variables:
      raise ValueError(f"{self.name} has weights: pass what debir_jax.convert.raft_params or Raft.init returns as its "
                       "variables.")
    *batch, height, width, _ = image1.shape
    margins = _margins(height), _margins(width)
    prepare = lambda image: _padded(_signed(image.reshape(-1, height, width, 3)), margins)
    with jax.default_matmul_precision("highest"):  # A GPU would compute in TF32, three decimals.
      flow = self._network(num_updates).apply(variables, prepare(image1), prepare(image2))
    (top, _), (left, _) = margins
    return flow[:, top:top + height, left:left + width].reshape(*batch, height, width, 2)

  def _network(self, num_updates: int) -> nn.Module:
    return _Network(_DESIGNS[self.size], num_updates)


class _Network(nn.Module):
  """Flow `[B, H, W, 2]` of images `[B, H, W, 3]` in [-1, 1] whose sides are multiples of 8."""

  design: _Design
  num_updates: int

  @nn.compact
  def __call__(self, image1: jax.Array, image2: jax.Array) -> jax.Array:
    design = self.design
    encoder = lambda channels, norm, name: _Encoder(design.bottleneck, design.widths, channels, norm, name=name)
    features = encoder(design.features, "instance", "feature_encoder")(jnp.concatenate([image1, image2]))
    pyramid = _correlation_pyramid(*jnp.split(features, 2), design.radius)
    context = encoder(design.hidden + design.context, design.context_norm, "context_encoder")(image1)
    hidden, context = jnp.tanh(context[..., :design.hidden]), nn.relu(context[..., design.hidden:])
    flow = jnp.zeros((*hidden.shape[:-1], 2), hidden.dtype)
    update = nn.scan(_Update, variable_broadcast="params", split_rngs=dict(params=False), in_axes=nn.broadcast,
                     length=self.num_updates)
    (hidden, flow), _ = update(design, name="update")((hidden, flow), pyramid, context)
    if design.convex_upsampling:
      return _convex_upsampled(flow, _UpsamplingWeights(name="upsampling")(hidden))
    return _linearly_upsampled(flow)


class _Encoder(nn.Module):
  """Features `[B, H / 8, W / 8, channels]` of images."""

  bottleneck: bool
  widths: tuple[int, ...]
  channels: int
  norm: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    first, *stages = self.widths
    x = nn.relu(_norm(self.norm, "norm1")(_conv(first, 7, "conv1", stride=2)(x)))
    for stage, width in enumerate(stages, start=1):
      for block, stride in enumerate((1 if stage == 1 else 2, 1)):
        x = _ResidualBlock(self._layers(width, stride), self.norm, stride, name=f"layer{stage}_{block}")(x)
    return _conv(self.channels, 1, "conv2")(x)

  def _layers(self, width, stride):
    """(channels, kernel size, stride) of the convolutions of a block."""
    if self.bottleneck:
      return (width // 4, 1, 1), (width // 4, 3, stride), (width, 1, 1)
    return (width, 3, stride), (width, 3, 1)


class _ResidualBlock(nn.Module):
  """Convolutions added to their input, which is brought to their size where they have a stride."""

  layers: tuple[tuple[int, int, int], ...]
  norm: str
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = x
    for index, (channels, kernel_size, stride) in enumerate(self.layers, start=1):
      y = _conv(channels, kernel_size, f"conv{index}", stride=stride)(y)
      y = nn.relu(_norm(self.norm, f"norm{index}")(y))
    if self.stride != 1:
      x = _conv(y.shape[-1], 1, "downsample", stride=self.stride)(x)
      x = _norm(self.norm, "downsample_norm")(x)
    return nn.relu(x + y)


class _Update(nn.Module):
  """One step of the recurrence: maps (hidden state, flow) to the next, at an eighth of the size."""

  design: _Design

  @nn.compact
  def __call__(self, state, pyramid, context):
    hidden, flow = state
    flow = jax.lax.stop_gradient(flow)  # As published: gradients do not run through earlier flows.
    correlation = _look_up(pyramid, _grid(flow) + flow, self.design.radius)
    motion = _MotionEncoder(self.design, name="motion_encoder")(correlation, flow)
    inputs = jnp.concatenate([context, motion], axis=-1)
    for index, kernel_size in enumerate(self.design.gru_kernels, start=1):
      hidden = _ConvGru(kernel_size, name=f"gru{index}")(hidden, inputs)
    step = _conv(2, 3, "head2")(nn.relu(_conv(self.design.head, 3, "head1")(hidden)))
    return (hidden, flow + step), None


class _MotionEncoder(nn.Module):
  """What the recurrent unit sees of correlations and flow; its last two channels are the flow."""

  design: _Design

  @nn.compact
  def __call__(self, correlation: jax.Array, flow: jax.Array) -> jax.Array:
    branches = (("correlation", correlation, self.design.correlation, (1, 3)), ("flow", flow, self.design.flow, (7, 3)))
    outputs = []
    for name, x, widths, kernel_sizes in branches:
      for index, (width, kernel_size) in enumerate(zip(widths, kernel_sizes), start=1):
        x = nn.relu(_conv(width, kernel_size, f"{name}{index}")(x))
      outputs.append(x)
    motion = nn.relu(_conv(self.design.motion, 3, "output")(jnp.concatenate(outputs, axis=-1)))
    return jnp.concatenate([motion, flow], axis=-1)


class _ConvGru(nn.Module):
  """Convolutional gated recurrent unit with gates z, r and candidate q, each a convolution of [hidden, inputs]."""

  kernel_size: tuple[int, int]

  @nn.compact
  def __call__(self, hidden: jax.Array, inputs: jax.Array) -> jax.Array:
    channels = hidden.shape[-1]
    shape = (*self.kernel_size, channels + inputs.shape[-1], channels)
    gates = ("z", "r", "q")
    z, r, q = (self.param(f"{gate}_kernel", nn.initializers.lecun_normal(), shape, jnp.float32) for gate in gates)
    biases = [self.param(f"{gate}_bias", nn.initializers.zeros, (channels,), jnp.float32) for gate in gates]
    of_hidden, of_inputs = lambda kernel: kernel[..., :channels, :], lambda kernel: kernel[..., channels:, :]
    # The convolution of a concatenation is a sum of convolutions. Those of one input run as one: twice as fast on CPU.
    x = _convolved(inputs, *map(of_inputs, (z, r, q))) + jnp.concatenate(biases)
    x_z, x_r, x_q = jnp.split(x, 3, axis=-1)
    h_z, h_r = jnp.split(_convolved(hidden, of_hidden(z), of_hidden(r)), 2, axis=-1)
    update, reset = nn.sigmoid(h_z + x_z), nn.sigmoid(h_r + x_r)
    candidate = jnp.tanh(_convolved(reset * hidden, of_hidden(q)) + x_q)
    return (1 - update) * hidden + update * candidate


class _UpsamplingWeights(nn.Module):
  """Logits `[B, h, w, 9 * 8 * 8]` of the convex combination that gives each full-size flow vector."""

  @nn.compact
  def __call__(self, hidden: jax.Array) -> jax.Array:
    x = nn.relu(_conv(256, 3, "conv1")(hidden))
    return 0.25 * _conv(9 * _STRIDE**2, 1, "conv2")(x)  # The factor balances gradients in training.


def _correlation_pyramid(features1: jax.Array, features2: jax.Array, radius: int) -> tuple[jax.Array, ...]:
  """Inner products of each feature of one image with all of the other, over the root of their length.

  Returns:
    Per scale i `[B, h * w, H + 2 m, W + 2 m]`, with the size (H, W) of `features2` over 2^i and a margin of
    m = 2 radius + 2 zeros for windows that leave the image.
  """
  batch, _, _, channels = features1.shape
  features1 = features1.reshape(batch, -1, channels) / np.sqrt(channels).astype(features1.dtype)
  margin = _window_side(radius)
  levels = []
  for level in range(_NUM_LEVELS):
    if level:
      features2 = nn.avg_pool(features2, (2, 2), (2, 2))  # Correlation is linear: as good as pooling it, and cheaper.
    padded = jnp.pad(features2, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    levels.append(jnp.einsum("bpc,bhwc->bphw", features1, padded, precision=jax.lax.Precision.HIGHEST))
  return tuple(levels)


def _look_up(pyramid: Sequence[jax.Array], positions: jax.Array, radius: int) -> jax.Array:
  """Correlations around `positions` `[B, h, w, 2]` at all scales, read bilinearly, 0 outside.

  Returns:
    `[B, h, w, num_levels * (2 radius + 1)^2]`; within a scale x varies slower than y, as the weights expect.
  """
  batch, height, width, _ = positions.shape
  positions = positions.reshape(batch, -1, 2)
  windows = [_window(level, positions / 2**i, radius) for i, level in enumerate(pyramid)]
  return jnp.concatenate([window.reshape(batch, height, width, -1) for window in windows], axis=-1)


def _window(level: jax.Array, positions: jax.Array, radius: int) -> jax.Array:
  """Values `[B, P, x, y]` of `level` `[B, P, H + 2 m, W + 2 m]` at `positions` `[B, P, 2]` + {-radius ... radius}^2.

  All points of a window lie at the same fraction of a pixel, so that it is one small block that is mixed four times;
  reading each point by itself, or as a product with interpolation matrices, takes several times as long on CPU.
  """
  side = _window_side(radius)
  corner = jnp.floor(positions)
  fraction = (positions - corner)[..., None, None]
  # Blocks that leave even the margin hold nothing but zeros, as do those at its end.
  limits = jnp.asarray(level.shape[:1:-1]) - side  # (x, y)
  start = jnp.clip(corner.astype(jnp.int32) - radius + side, 0, limits)
  read = lambda plane, start: jax.lax.dynamic_slice(plane, (start[1], start[0]), (side, side))
  block = jax.vmap(jax.vmap(read))(level, jax.lax.stop_gradient(start)).swapaxes(-1, -2)  # [B, P, x, y]
  fraction_x, fraction_y = fraction[:, :, 0], fraction[:, :, 1]
  block = (1 - fraction_x) * block[..., :-1, :] + fraction_x * block[..., 1:, :]
  return (1 - fraction_y) * block[..., :-1] + fraction_y * block[..., 1:]


def _window_side(radius: int) -> int:
  """Pixels a side of the block that holds a window of 2 radius + 1 points between pixels."""
  return 2 * radius + 2


def _grid(flow: jax.Array) -> jax.Array:
  """Position (x, y) of every pixel, `[h, w, 2]`."""
  height, width = flow.shape[-3:-1]
  return jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), axis=-1).astype(flow.dtype)


def _linearly_upsampled(flow: jax.Array) -> jax.Array:
  """A flow at eight times the size, in px of that size; corner pixels keep their place at the corners."""
  rows, columns = (jnp.asarray(_linear_matrix(length), flow.dtype) for length in flow.shape[1:3])
  return _STRIDE * jnp.einsum("ij,kl,bjlc->bikc", rows, columns, flow, precision=jax.lax.Precision.HIGHEST)


def _linear_matrix(length: int) -> np.ndarray:
  """Weights `[8 length, length]` of linear interpolation from the first to the last of `length` pixels."""
  positions = np.linspace(0, length - 1, _STRIDE * length)[:, None]
  return np.maximum(0, 1 - np.abs(positions - np.arange(length)))


def _convex_upsampled(flow: jax.Array, logits: jax.Array) -> jax.Array:
  """A flow at eight times the size: every vector a weighted mean of the 3x3 coarse ones around it, 0 outside.

  Args:
    flow: `[B, h, w, 2]`.
    logits: `[B, h, w, 9 * 8 * 8]`: neighbour, row by row; then row and column within the 8x8 px of a coarse pixel.
  """
  batch, height, width, _ = flow.shape
  padded = jnp.pad(_STRIDE * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
  neighbours = jnp.stack([padded[:, i:i + height, j:j + width] for i in range(3) for j in range(3)], axis=3)
  weights = nn.softmax(logits.reshape(batch, height, width, 9, _STRIDE, _STRIDE), axis=3)
  upsampled = jnp.einsum("bhwkij,bhwkc->bhiwjc", weights, neighbours, precision=jax.lax.Precision.HIGHEST)
  return upsampled.reshape(batch, _STRIDE * height, _STRIDE * width, 2)


def _conv(channels: int, kernel_size: int, name: str, *, stride: int = 1) -> nn.Conv:
  """A convolution that pads by the same amount on both sides, which "SAME" does not where there is a stride."""
  return nn.Conv(channels, (kernel_size,) * 2, stride, padding=(kernel_size - 1) // 2, name=name)


def _convolved(x: jax.Array, *kernels: jax.Array) -> jax.Array:
  """`x` convolved with several kernels, whose outputs are put together."""
  kernel = jnp.concatenate(kernels, axis=-1).astype(x.dtype)
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _norm(kind: str, name: str):
  if kind == "batch":  # The statistics are part of the weights.
    return nn.BatchNorm(use_running_average=True, epsilon=_NORM_EPSILON, name=name)
  return dict(instance=_instance_norm, none=lambda x: x)[kind]


def _instance_norm(x: jax.Array) -> jax.Array:
  """Every channel of every image with mean 0 and variance 1."""
  axes = (-3, -2)
  return (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + _NORM_EPSILON)


def _signed(image: jax.Array) -> jax.Array:
  """[0, 1] to [-1, 1], in float32 at least."""
  return 2 * image.astype(jnp.promote_types(image.dtype, jnp.float32)) - 1


def _margins(length: int) -> tuple[int, int]:
  """Pixels to add before and after a side, up to a multiple of 8; the odd one comes after."""
  missing = -length % _STRIDE
  return missing // 2, missing - missing // 2


def _padded(image: jax.Array, margins) -> jax.Array:
  return jnp.pad(image, ((0, 0), *margins, (0, 0)), mode="edge")


def _random_variables(key: jax.Array, shapes: Any) -> dict[str, Any]:
  """Variables of these shapes from a single draw, which compiles much faster than Flax's one draw per kernel."""
  shapes = traverse_util.flatten_dict(shapes)
  kernels = [path for path in shapes if path[-1].endswith("kernel")]
  ends = np.cumsum([shapes[path].size for path in kernels])
  draws = dict(zip(kernels, jnp.split(jax.random.normal(key, (ends[-1],), jnp.float32), ends[:-1])))

  def initial(path, shape):
    if path in draws:
      return draws[path].reshape(shape) / np.sqrt(np.prod(shape[:-1])).astype(np.float32)
    return jnp.full(shape, 1.0 if path[-1] in ("scale", "var") else 0.0, jnp.float32)

  return traverse_util.unflatten_dict({path: initial(path, leaf.shape) for path, leaf in shapes.items()})


def _check_num_updates(num_updates: int):
  if num_updates < 1:
    raise ValueError(f"RAFT needs at least one update of the flow, got num_updates={num_updates}.")


def _check_images(image1: jax.Array, image2: jax.Array):
  if image1.shape != image2.shape or image1.ndim < 3 or image1.shape[-1] != 3:
    raise ValueError(f"Expected two sRGB images of one shape [..., H, W, 3], got {image1.shape} and {image2.shape}.")
  for image in (image1, image2):
    if not jnp.issubdtype(image.dtype, jnp.floating):
      raise ValueError(f"Expected sRGB in [0, 1] of a floating type, got {image.dtype}; divide bytes by 255.")
  if min(side + sum(_margins(side)) for side in image1.shape[-3:-1]) < _SMALLEST_SIDE:
    raise ValueError(f"RAFT compares features at an eighth of the size on {_NUM_LEVELS} scales and needs images of at "
                     f"least {_SMALLEST_SIDE} px a side after padding, got {image1.shape[-3:-1]}; use larger crops (a "
                     "preview has half the mosaic's size) or config.motion.estimator='lucas_kanade'.")
