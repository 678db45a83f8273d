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

# Rounds of drawing around the best: how much frames are blurred (px), and how many are kept.
_ROUNDS = ((2.5, 24), (2.5, 24), (2.5, 24), (1.3, 10), (1.3, 10), (1.3, 10))
_CHILDREN = 12  # Drawn around each.
_SPREAD = np.array([0.35, 0.35, 0.12, 0.12, 0.12, 0.08])  # vx, vy, ax, ay, turn, zoom; turn and zoom at half a side.
_SPREAD_FALL = 0.6  # By round.
_BACKGROUND_PX = 6.0  # What varies more slowly is light, not detail.
_FIRST_STRIDE, _STRIDE = 4, 2  # Not every px is needed of blurred images.
_STILL_SHARE = 0.97  # Frames that are nearly as alike without any motion stand still: noise fits some motion better.
_LEAST_SHARE = 0.45  # Of the window that the frames must have in common to be trusted fully.

_WINDOW = 96  # Largest side of a window that one set of parameters describes, packed px.


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
  rows, columns = (_window_starts(side) for side in raw.shape[1:3])
  sides = tuple(min(side, _WINDOW) for side in raw.shape[1:3])
  gray = raw.mean(-1)

  def search_at(place):
    window = jax.lax.dynamic_slice(gray, (0, *place), (gray.shape[0], *sides))
    return _search(window, times_s / UNIT_S, weights / jnp.sum(weights))

  places = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1)
  parameters = jax.lax.map(search_at, places.reshape(-1, 2))
  return WindowedMotion(parameters=parameters.reshape(len(rows), len(columns), 6), size=raw.shape[1:3])


def _search(frames, elapsed, weights):
  """Parameters `[6]` of one window `[n, h, w]`."""
  draw_key, *round_keys = jax.random.split(jax.random.key(0), 1 + len(_ROUNDS))
  half_side = max(frames.shape[1:]) / 2
  to_parameters = lambda drawn: drawn / jnp.array([1, 1, 1, 1, half_side, half_side])
  detail = {sigma: detail_of(frames, sigma) for sigma in {s for s, _ in _ROUNDS}}
  first_sigma = _ROUNDS[0][0]
  drawn = _draw_candidates(draw_key)
  scores = _ratios(detail[first_sigma], to_parameters(drawn), elapsed, weights, _FIRST_STRIDE)
  for number, (key, (sigma, count)) in enumerate(zip(round_keys, _ROUNDS)):
    best = drawn[jax.lax.top_k(scores, count)[1]]
    spread = jnp.asarray(_SPREAD, jnp.float32) * _SPREAD_FALL**number
    children = best[:, None] + spread * jax.random.normal(key, (count, _CHILDREN, 6))
    drawn = jnp.concatenate([best, children.reshape(-1, 6)])
    scores = _ratios(detail[sigma], to_parameters(drawn), elapsed, weights)
  still = _ratios(detail[_ROUNDS[-1][0]], jnp.zeros((1, 6)), elapsed, weights)[0]
  return jnp.where(still > _STILL_SHARE * jnp.max(scores), 0.0, to_parameters(drawn[jnp.argmax(scores)]))


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


def _ratios(detail, parameters, elapsed, weights, stride=_STRIDE):
  """How alike the frames `[n, h, w]` are along each candidate `[m, 6]`: `[m]`, at most 1."""
  height, width = detail.shape[1:]
  y, x = jnp.meshgrid(jnp.arange(0, height, stride), jnp.arange(0, width, stride), indexing="ij")
  place = jnp.stack([x, y], -1).astype(detail.dtype)
  relative = place - jnp.array([(width - 1) / 2, (height - 1) / 2])

  def ratio(candidate):
    velocity, acceleration, turn, zoom = candidate[:2], candidate[2:4], candidate[4], candidate[5]
    slope = velocity + zoom * relative + turn * _quarter_turn(relative)
    step = lambda time: time * slope + time**2 / ACCELERATION_SCALE * acceleration
    there = place + jax.vmap(step)(elapsed)  # [n, h', w', 2]
    read = jax.vmap(lambda frame, at: read_at(frame, at[..., 0], at[..., 1]))(detail, there)
    inside = jnp.all((there >= 0) & (there <= jnp.array([width - 1, height - 1])), (0, -1))
    weighted = weights[:, None, None] * read * inside
    cross = jnp.sum(jnp.sum(weighted, 0)**2) - jnp.sum(weighted**2)
    # With frames that are all alike both energies are equal.
    own = jnp.sum(weights[:, None, None] * (1 - weights[:, None, None]) * read**2 * inside)
    return cross / (own + 1e-12) * jnp.minimum(inside.mean() / _LEAST_SHARE, 1)**2

  return jax.lax.map(ratio, parameters, batch_size=64)


def _quarter_turn(place):
  return jnp.stack([-place[..., 1], place[..., 0]], -1)


def _window_starts(side):
  """Where windows begin along an axis, evenly spread, half a window from one to the next or less."""
  count = 1 if side <= _WINDOW else 1 + -(-(side - _WINDOW) // (_WINDOW // 2))
  return np.round(np.linspace(0, max(side - _WINDOW, 0), count)).astype(np.int32)


def _blending(side):
  """Places of px along an axis, weights `[side, windows]` that are linear between the windows' middles, and these."""
  starts = _window_starts(side)
  middles = starts + (min(side, _WINDOW) - 1) / 2
  places = np.arange(side)
  weights = np.stack([np.interp(places, middles, row) for row in np.eye(len(starts))], -1)
  return tuple(jnp.asarray(values, jnp.float32) for values in (places, weights, middles))
