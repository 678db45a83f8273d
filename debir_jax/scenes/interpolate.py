"""Frames between frames: clips of ordinary high-speed cameras become sequences with 1920 frames per second.

Frames are gamma-compressed (sRGB) `[H, W, 3]` float32 in [0, 1], axis order (y, x); times are fractions of the
interval between two frames, 0 at the first. An interpolator looks at a pair once (`prepare`) and then makes the frame
at any time between (`frame_at`):

  cross_fade  no motion at all: what every other must be better than
  flow        optical flow in both directions, occlusions by their consistency (`flow_interpolation`); no weights
  rife        a network (`ifnet`), whose published weights `python -m debir_jax.convert` reads

The first two are symmetric: a pair in the other order gives the same frames in the other order.

`interpolate_pair` is compiled once for a size and factor. Frames with sides above `LARGEST_SIDE` px are cut into
overlapping tiles, and of one tile as many frames are computed at once as a bounded number of pixels allows: the device
needs memory for these, whatever the size and the factor.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import functools
import itertools
import pathlib
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.tiling import tiles_along
from debir_jax.runtime.progress import with_progress
from debir_jax.scenes.flow_interpolation import FlowInterpolator
from debir_jax.scenes.ifnet import Rife

INTERPOLATORS = ("flow", "rife", "cross_fade")
LARGEST_SIDE = 1536  # px; whole frames of up to 1440p wide screens, quarters of 4K.
_OVERLAP = 384  # px that neighbouring tiles share: motion from beyond a quarter of it is not seen at a tile's edge.
_PIXELS_AT_ONCE = 2**21  # Of all frames that are made at once.
_SMALLEST_SIDE = 4  # px, the least that can be matched.


class Interpolator(Protocol):
  """Makes frames between two frames. A pytree, whose leaves are its weights, so it goes through `jit`.

  Attributes:
    name: what a data set records about how its frames came about.
  """

  name: str

  def prepare(self, first: jax.Array, second: jax.Array) -> Any:
    """What all frames between `first` and `second`, `[H, W, 3]`, have in common: a pytree of arrays."""

  def frame_at(self, pair: Any, time: jax.Array) -> jax.Array:
    """The frame `[H, W, 3]` at a time in (0, 1), of what `prepare` returned."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CrossFade:
  """Mixes the two frames, moving nothing: double images, whose mean over an exposure is that of two sharp ones."""

  name = "cross_fade"

  def prepare(self, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The frames themselves."""
    return first, second

  def frame_at(self, pair: tuple[jax.Array, jax.Array], time: jax.Array) -> jax.Array:
    """(1 - time) of the first and time of the second."""
    first, second = pair
    return (1 - time) * first + time * second


def interpolator_named(name: str, *, weights: str | pathlib.Path | None = None) -> Interpolator:
  """An interpolator with its weights.

  Args:
    name: one of `INTERPOLATORS`.
    weights: of "rife", the file that `python -m debir_jax.convert` wrote; None for the others.

  Raises:
    FileNotFoundError: there is no such file of weights.
    ValueError: another name, weights for what has none or none for what needs them, or a file of another network.
  """
  if name not in INTERPOLATORS:
    raise ValueError(f"Unknown interpolator {name!r}; choose one of {', '.join(map(repr, INTERPOLATORS))}.")
  if name == "rife":
    return Rife.from_file(weights)
  if weights is not None:
    raise ValueError(f"The interpolator {name!r} has no weights, but got {weights}. Leave them out, or use 'rife'.")
  return FlowInterpolator() if name == "flow" else CrossFade()


def interpolate_pair(interpolator: Interpolator, first: np.ndarray, second: np.ndarray, factor: int) -> np.ndarray:
  """The frames strictly between two, in temporal order: `[factor - 1, H, W, 3]` float32 in [0, 1].

  Args:
    interpolator: see `interpolator_named`.
    first, second: `[H, W, 3]` float32, sRGB in [0, 1].
    factor: so many times as many frames per second; frame k is at the time (k + 1) / factor.

  Raises:
    ValueError: frames that are not two of one shape, not floating-point numbers in [0, 1], smaller than 4 px, or a
      factor below 1.
  """
  _check_pair(first, second, factor)
  if factor == 1:
    return np.zeros((0, *first.shape), np.float32)
  height, width = first.shape[:2]
  (tops, rows), (lefts, columns) = (balanced_tiles(side) for side in (height, width))
  if len(tops) == len(lefts) == 1:
    return np.asarray(_frames_between(interpolator, first, second, factor=factor))
  frames = np.zeros((factor - 1, height, width, 3), np.float32)
  for (top, row), (left, column) in itertools.product(zip(tops, rows), zip(lefts, columns)):
    place = slice(top, top + len(row)), slice(left, left + len(column))
    tile = _frames_between(interpolator, first[place], second[place], factor=factor)
    frames[:, *place] += row[:, None, None] * column[:, None] * np.asarray(tile)
  return frames


def interpolate_clip(interpolator: Interpolator, frames: Iterable[np.ndarray], factor: int, *,
                     num_frames: int | None = None) -> Iterator[np.ndarray]:
  """A clip at `factor` times its frame rate, frame after frame; holds two source frames and what is between them.

  The frames of the clip come out as they went in, with `factor - 1` between any two: of n frames there will be
  (n - 1) * factor + 1.

  Args:
    interpolator, factor: see `interpolate_pair`.
    frames: read one after the other, when they are needed.
    num_frames: about how many they are; then progress is told. Headers of clips may lie, so more or fewer may come.

  Raises:
    ValueError: as `interpolate_pair` does, or frames of several sizes.
  """
  pairs = itertools.pairwise(frames)
  if num_frames is not None:
    pairs = with_progress(pairs, max(num_frames - 1, 1), "pairs of frames")
  second = None
  for first, second in pairs:
    yield first
    yield from interpolate_pair(interpolator, first, second, factor)
  if second is not None:
    yield second


def frame_name(index: int, step: int, factor: int) -> str:
  """What EMA-VFI calls a frame: 000012_375.png is step 3 of 8 behind frame 12; `frame_order` reads it.

  Args:
    index: of the source frame before it, or itself.
    step: 0 <= step < factor; 0 is the source frame.
    factor: of the frame rate.

  Raises:
    ValueError: a step that is not within the factor, or a factor above 1000, whose names would not differ.
  """
  if not 0 <= step < factor <= 1000:
    raise ValueError(f"Step {step} of {factor}: steps count from 0 to below the factor, which is at most 1000.")
  return f"{index:06d}_{1000 * step // factor:03d}.png"


def balanced_tiles(side: int) -> tuple[np.ndarray, np.ndarray]:
  """Where the fewest tiles of equal length begin along a side, `[k]`, and their weights `[k, length]`, see
  `tiles_along`."""
  count = max(1, -(-(side - _OVERLAP) // (LARGEST_SIDE - _OVERLAP)))
  if side <= LARGEST_SIDE:
    return np.zeros(1, np.int32), np.ones((1, side), np.float32)
  return tiles_along(side, -(-(side + (count - 1) * _OVERLAP) // count), _OVERLAP)


@functools.partial(jax.jit, static_argnames="factor")
def _frames_between(interpolator, first, second, *, factor):
  pair = interpolator.prepare(first, second)
  at_once = max(1, min(factor - 1, _PIXELS_AT_ONCE // (first.shape[0] * first.shape[1])))
  times = jnp.arange(1, factor, dtype=jnp.float32) / factor
  frames = jax.lax.map(functools.partial(interpolator.frame_at, pair), times, batch_size=at_once)
  return jnp.clip(frames, 0, 1)


def _check_pair(first, second, factor):
  if factor != int(factor) or factor < 1:
    raise ValueError(f"The factor of the frame rate must be a whole number from 1 on, got {factor}.")
  if np.ndim(first) != 3 or np.shape(first)[-1] != 3 or np.shape(first) != np.shape(second):
    raise ValueError(f"Expected two frames of one shape [H, W, 3], got {np.shape(first)} and {np.shape(second)}.")
  if min(first.shape[:2]) < _SMALLEST_SIDE:
    raise ValueError(f"Frames need at least {_SMALLEST_SIDE} px a side to be matched, got {first.shape[:2]}.")
  for frame in (first, second):
    if not np.issubdtype(frame.dtype, np.floating) or not (0 <= np.min(frame) and np.max(frame) <= 1):
      raise ValueError(f"Frames must be floating-point sRGB in [0, 1], got {frame.dtype} from {np.min(frame)} to "
                       f"{np.max(frame)}; divide 8-bit frames by 255.")
