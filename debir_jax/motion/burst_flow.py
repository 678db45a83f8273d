"""The motion of a whole burst, found in its noisy frames: a search over a few global parameters, without weights.

From the instant t = 0 that is restored, what is seen at p, relative to the middle of a window of the image, is seen t
later at p + d(t, p), with

  d(t, p) = t v + t^2 / 5 a + t (zoom p + turn Jp),   J: a quarter turn; lengths in packed px, t in units of 10 ms

so that all frames decide together, also those that are too noisy or too blurred to be matched alone. A candidate is
good if the frames, read along it, are alike: the *ratio* of their cross energy to their self energy over what they
have in common. Neither cross-correlation alone (it lays high contrast over high contrast) nor squared differences (they
prefer reading between pixels, which averages noise) will do. Before that frames are blurred, for the noise, and what
varies slowly is taken away, for the light.

Many candidates are drawn around a prior of speeds, with standing still among them; the best are kept and drawn around,
ever more closely. It is a function of the frames alone: its draws have a fixed key.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.resample import gaussian_blur, read_at

UNIT_S = 0.01  # Of time, here and where motions are added to what is found.
ACCELERATION_SCALE = 5.0

# The prior, in packed px and units of time: log-normal speeds; the others relative to the speed, turn and zoom at half
# a window's side.
_MEDIAN_SPEED, _LOG_SPEED_STD = 1.5, 0.9
_ACCELERATION, _TURN, _ZOOM = 0.15, 0.1, 0.06
_NUM_DRAWN, _NUM_STILL = 3000, 1

# Rounds of drawing around the best: how much frames are blurred (px), how many are kept, how far is drawn.
_ROUNDS = (*((2.5, 24, 0.6**number) for number in range(3)), *((1.3, 10, 0.6**number) for number in range(3, 6)))
_CHILDREN = 12  # Drawn around each.
_SPREAD = np.array([0.35, 0.35, 0.12, 0.12, 0.12, 0.08])  # vx, vy, ax, ay, turn, zoom; turn and zoom at half a side.
# Where the windows around have been searched.
_NUM_NEAR, _NUM_DRAWN_LATE = 4, 800
_LATE_ROUNDS = ((2.5, 24, 0.6), (2.5, 16, 0.36), (1.3, 10, 0.2), (1.3, 10, 0.08))
_BACKGROUND_PX = 6.0  # What varies more slowly is light, not detail.
_FIRST_STRIDE, _STRIDE = 4, 2  # Not every px is needed of blurred images.
_STILL_SHARE = 0.97  # Frames that are nearly as alike without any motion stand still: noise fits some motion better.
_LEAST_SHARE = 0.45  # Of the window that the frames must have in common to be trusted fully.

_WINDOW, _STEP = 96, 64  # Largest side of a window that one set of parameters describes, and to the next, packed px.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedMotion:
  """A motion with its own parameters in each of a grid of windows, blended between their middles.

  Attributes:
    parameters: `[rows, columns, 6]`: v (x, y), a (x, y), turn, zoom, see the module.
    size: (height, width) of the image, packed px.
  """

  parameters: jax.Array
  size: tuple[int, int] = dataclasses.field(metadata=dict(static=True))

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[m, h, w, 2]` (x, y) until times `[m]`, s after the instant that is restored; differentiable in them."""
    (y, to_rows, middle_y), (x, to_columns, middle_x) = (_blending(side) for side in self.size)
    blend = lambda values: jnp.einsum("yi,xj,ij...->yx...", to_rows, to_columns, values)
    velocity, acceleration = blend(self.parameters[..., :2]), blend(self.parameters[..., 2:4])
    turn, zoom = self.parameters[..., 4:5], self.parameters[..., 5:]
    # Around each window's own middle: blended as zoom * p - zoom * middle.
    middle = jnp.stack(jnp.broadcast_arrays(middle_x[None, :], middle_y[:, None]), -1)
    place = jnp.stack(jnp.broadcast_arrays(x[None, :], y[:, None]), -1)
    linear = (blend(zoom) * place - blend(zoom * middle)
              + blend(turn) * _quarter_turn(place) - blend(turn * _quarter_turn(middle)))
    elapsed = (jnp.asarray(times_s) / UNIT_S)[:, None, None, None]
    return elapsed * (velocity + linear) + elapsed**2 / ACCELERATION_SCALE * acceleration


def find_motion(raw: jax.Array, times_s: jax.Array, weights: jax.Array) -> WindowedMotion:
  """The motion of a burst from the instant that is restored. No gradient flows through the search.

  Args:
    raw: `[n, h, w, 4]`, packed frames of one brightness.
    times_s: `[n]`, middle of each frame's exposure, s after the instant that is restored.
    weights: `[n]`, how much a frame counts: the inverse of its noise's variance up to a factor; 0 leaves it out.

  Raises:
    ValueError: for shapes that do not fit.
  """
  if raw.ndim != 4 or times_s.shape != raw.shape[:1] or weights.shape != raw.shape[:1]:
    raise ValueError(f"Expected frames [n, h, w, 4] of one burst with times [n] and weights [n], got {raw.shape}, "
                     f"{times_s.shape} and {weights.shape}.")
  raw, times_s, weights = jax.lax.stop_gradient((raw, times_s, weights))
  burst = _Burst(gray=raw.mean(-1), elapsed=times_s / UNIT_S, weights=weights / jnp.sum(weights))
  size = raw.shape[1:3]
  if max(size) <= _WINDOW:
    parameters = _searched(burst, (0, 0), size, 1)[None, None]
  else:
    parameters = _refined_windows(burst, size)
  return WindowedMotion(parameters=parameters, size=size)


class _Burst:
  """Frames without noise and light, by the blur; `elapsed` and `weights` `[n]`, see `find_motion`."""

  def __init__(self, gray, elapsed, weights):
    self.detail = {sigma: detail_of(gray, sigma) for sigma in sorted({sigma for sigma, *_ in _ROUNDS + _LATE_ROUNDS})}
    self.elapsed, self.weights = elapsed, weights

  def ratios(self, sigma, parameters, corner, sides, stride):
    """How alike the frames are along each candidate in a window."""
    return _ratios(self.detail[sigma], parameters, self.elapsed, self.weights, stride, corner, sides)


def _refined_windows(burst, size):
  """Parameters `[rows, columns, 6]` of the windows of a large image.

  A camera that moves moves all of the image: windows twice as large, side by side, are searched fully. Every window
  then begins from those around it, and from fewer draws, for what moves by itself.
  """
  large = tuple(min(side, 2 * _WINDOW) for side in size)
  starts = [_window_starts(side, window, window) for side, window in zip(size, large)]
  corners = jnp.stack(jnp.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2)
  coarse = jax.lax.map(lambda corner: _searched(burst, corner, large, 2), corners)
  middles = corners + (jnp.array(large) - 1) / 2

  sides = tuple(min(side, _WINDOW) for side in size)
  rows, columns = (_window_starts(side) for side in size)

  def refined(corner):
    from_middles = (corner + (jnp.array(sides) - 1) / 2 - middles)[:, ::-1]  # (x, y)
    near = jax.lax.top_k(-jnp.sum(from_middles**2, -1), min(_NUM_NEAR, coarse.shape[0]))[1]
    around, offset = coarse[near], from_middles[near]
    velocity = around[:, :2] + around[:, 5:] * offset + around[:, 4:5] * _quarter_turn(offset)
    around = jnp.concatenate([velocity, around[:, 2:]], -1)
    begin = jnp.concatenate([around, around.mean(0, keepdims=True)])
    return _closer(burst, corner, sides, 1, begin, _NUM_DRAWN_LATE, _LATE_ROUNDS)

  corners = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
  return jax.lax.map(refined, corners).reshape(len(rows), len(columns), 6)


def _searched(burst, corner, sides, coarseness):
  """Parameters `[6]` of one window of which nothing is known."""
  return _closer(burst, corner, sides, coarseness, jnp.zeros((0, 6)), _NUM_DRAWN, _ROUNDS)


def _closer(burst, corner, sides, coarseness, begin, num_drawn, rounds):
  """Parameters `[6]` of one window: the best of some to begin with, of draws, and of rounds of draws around the best.

  Args:
    burst: what is compared.
    corner, sides: of the window, (y, x), packed px.
    coarseness: px are looked at so many times as far from each other as in small windows.
    begin: `[m, 6]`, parameters.
    num_drawn: how many are drawn from the prior.
    rounds: see `_ROUNDS`.
  """
  draw_key, *round_keys = jax.random.split(jax.random.key(0), 1 + len(rounds))
  unit = jnp.array([1, 1, 1, 1, max(sides) / 2, max(sides) / 2])
  ratios = lambda sigma, drawn, stride: burst.ratios(sigma, drawn / unit, corner, sides, coarseness * stride)
  drawn = jnp.concatenate([_draw_candidates(draw_key)[:num_drawn], begin * unit])
  scores = ratios(rounds[0][0], drawn, _FIRST_STRIDE)
  for key, (sigma, count, spread) in zip(round_keys, rounds):
    best = drawn[jax.lax.top_k(scores, count)[1]]
    steps = jnp.asarray(spread * _SPREAD, jnp.float32) * jax.random.normal(key, (count, _CHILDREN, 6))
    drawn = jnp.concatenate([best, (best[:, None] + steps).reshape(-1, 6)])
    scores = ratios(sigma, drawn, _STRIDE)
  still = ratios(rounds[-1][0], jnp.zeros((1, 6)), _STRIDE)[0]
  return jnp.where(still > _STILL_SHARE * jnp.max(scores), 0.0, drawn[jnp.argmax(scores)] / unit)


def _draw_candidates(key):
  """`[_NUM_DRAWN, 6]`, the first of which stands still."""
  speed_key, angle_key, rest_key = jax.random.split(key, 3)
  speed = _MEDIAN_SPEED * jnp.exp(_LOG_SPEED_STD * jax.random.normal(speed_key, (_NUM_DRAWN, 1)))
  angle = 2 * jnp.pi * jax.random.uniform(angle_key, (_NUM_DRAWN, 1))
  rest = jax.random.normal(rest_key, (_NUM_DRAWN, 4)) * jnp.array([_ACCELERATION, _ACCELERATION, _TURN, _ZOOM])
  candidates = speed * jnp.concatenate([jnp.cos(angle), jnp.sin(angle), rest], -1)
  return candidates.at[:_NUM_STILL].set(0)


def detail_of(frames: jax.Array, sigma_px: float) -> jax.Array:
  """Frames `[n, h, w]` without noise finer than `sigma_px` and without what varies slowly."""
  def of_one(frame):
    blurred = gaussian_blur(frame, sigma_px)
    return blurred - gaussian_blur(blurred, _BACKGROUND_PX)

  return jax.vmap(of_one)(frames)


def _ratios(detail, parameters, elapsed, weights, stride=_STRIDE, corner=(0, 0), sides=None):
  """How alike the frames `[n, h, w]` are along each candidate `[m, 6]` in a window, by default the image: `[m]`, at
  most 1. Where motion leads out of the window they are read there."""
  height, width = detail.shape[1:]
  sides = sides or (height, width)
  # x and y apart, and all px along one axis: on CPUs pairs (x, y) take five times as long.
  y, x = (axis.ravel().astype(detail.dtype) for axis in jnp.meshgrid(
      *(jnp.arange(0, side, stride) for side in sides), indexing="ij"))
  from_middle_x, from_middle_y = x - (sides[1] - 1) / 2, y - (sides[0] - 1) / 2
  x, y = corner[1] + x, corner[0] + y
  time, weights = elapsed[:, None], weights[:, None]

  def ratio(candidate):
    velocity_x, velocity_y, acceleration_x, acceleration_y, turn, zoom = candidate
    there_x = x + time * (velocity_x + zoom * from_middle_x - turn * from_middle_y)
    there_y = y + time * (velocity_y + zoom * from_middle_y + turn * from_middle_x)
    there_x += time**2 / ACCELERATION_SCALE * acceleration_x
    there_y += time**2 / ACCELERATION_SCALE * acceleration_y
    read = jax.vmap(read_at)(detail, there_x, there_y)  # [n, px]
    inside = jnp.all((there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1), 0)
    weighted = weights * read * inside
    cross = jnp.sum(jnp.sum(weighted, 0)**2) - jnp.sum(weighted**2)
    # With frames that are all alike both energies are equal.
    own = jnp.sum(weights * (1 - weights) * read**2 * inside)
    return cross / (own + 1e-12) * jnp.minimum(inside.mean() / _LEAST_SHARE, 1)**2

  return jax.lax.map(ratio, parameters, batch_size=64)


def _quarter_turn(place):
  return jnp.stack([-place[..., 1], place[..., 0]], -1)


def _window_starts(side, window=_WINDOW, step=_STEP):
  """Where windows begin along an axis, evenly spread, `step` from one to the next or less."""
  count = 1 if side <= window else 1 + -(-(side - window) // step)
  return np.round(np.linspace(0, max(side - window, 0), count)).astype(np.int32)


def _blending(side):
  """Places of px along an axis, weights `[side, windows]` that are linear between the windows' middles, and these."""
  starts = _window_starts(side)
  middles = starts + (min(side, _WINDOW) - 1) / 2
  places = np.arange(side)
  weights = np.stack([np.interp(places, middles, row) for row in np.eye(len(starts))], -1)
  return tuple(jnp.asarray(values, jnp.float32) for values in (places, weights, middles))
