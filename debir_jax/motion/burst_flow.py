"""The motion of a whole burst, found in its noisy frames: a search over a few global parameters, without weights.

From the instant t = 0 that is restored, what is seen at p, relative to the middle of a window of the image, is seen t
later at p + d(t, p), with

  d(t, p) = t v + t^2 / 5 a + t^3 / 50 j + t (zoom p + turn Jp)

where J is a quarter turn, lengths are in packed px and t is in units of 10 ms. So all frames decide together, also
those that are too noisy or too blurred to be matched alone. A candidate is good if the frames, read along it, are
alike: the *ratio* of their cross energy to their self energy, at each place over those frames that see it. Neither
cross-correlation alone (it lays high contrast over high contrast) nor squared differences (they prefer reading between
pixels, which averages noise) will do. Before that frames are blurred, for the noise, and what varies slowly is taken
away, for the light.

Many candidates are drawn around a prior of speeds, with standing still among them; the best are kept and drawn around,
ever more closely. So the frames of the first 50 ms are searched, without j; the way to each later one is then drawn
around its continuation, one after the other. Frames far away would spoil what is found for the near ones, if all were
searched at once. The search is a function of the frames alone: its draws are always the same.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.resample import gaussian_blur, read_at

UNIT_S = 0.01  # Of time, here and where motions are added to what is found.
ACCELERATION_SCALE, _JERK_SCALE = 5.0, 50.0

# The prior, in packed px and units of time: log-normal speeds; the others relative to the speed, turn and zoom at half
# a window's side.
_MEDIAN_SPEED, _LOG_SPEED_STD = 1.5, 0.9
_ACCELERATION, _TURN, _ZOOM = 0.15, 0.1, 0.06
_NUM_DRAWN, _NUM_STILL = 3000, 1

# Rounds of drawing around the best: how much frames are blurred (px), how many are kept, how far is drawn.
_ROUNDS = (*((1.8, 24, 0.6**number) for number in range(3)), *((1.3, 10, 0.6**number) for number in range(3, 6)))
_CHILDREN = 12  # Drawn around each.
# vx, vy, ax, ay, turn, zoom; turn and zoom at half a side.
_SPREAD = np.array([0.35, 0.35, 0.12, 0.12, 0.12, 0.08], np.float32)
# Frames of the search: the first ones by their number, or by their time. Then for each later one rounds as above, with
# how far the way to it is drawn, packed px.
_NUM_FIRST, _NUM_HELD, _FIRST_TIME = 4, 5, 5.0
_LATER_ROUNDS = ((1.8, 1, 0.2, 3.0), (1.8, 16, 0.15, 1.2), (1.3, 12, 0.1, 0.5))
_LATER_DRAWN, _LATER_KEPT = 144, max(kept for _, kept, *_ in _LATER_ROUNDS)
_BENT_FROM = 0.7  # Of the way that is known: until there it hardly changes.
# Where the windows around have been searched.
_NUM_NEAR, _NUM_DRAWN_NEAR = 4, 800
_NEAR_ROUNDS = ((1.8, 24, 0.6), (1.8, 16, 0.36), (1.3, 10, 0.2), (1.3, 10, 0.08))
_BLURS_PX = sorted({blur_px for blur_px, *_ in (*_ROUNDS, *_LATER_ROUNDS, *_NEAR_ROUNDS)})
_BACKGROUND_PX = 6.0  # What varies more slowly is light, not detail.
_FIRST_STRIDE, _STRIDE = 4, 2  # Not every px is needed of blurred images.
_STILL_SHARE = 0.97  # Frames that are nearly as alike without any motion stand still: noise fits some motion better.
_BATCH = 64  # Candidates at once.
_LEAST_SHARE = 0.45  # Of the window that frames must see in pairs to be trusted fully.

_WINDOW, _STEP = 96, 64  # Largest side of a window that one set of parameters describes, and to the next, packed px.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedMotion:
  """A motion with its own parameters in each of a grid of windows, blended between their middles.

  Attributes:
    parameters: `[rows, columns, 8]`: v (x, y), a (x, y), turn, zoom, j (x, y), see the module.
    size: (height, width) of the image, packed px.
  """

  parameters: jax.Array
  size: tuple[int, int] = dataclasses.field(metadata=dict(static=True))

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[m, h, w, 2]` (x, y) until times `[m]`, s after the instant that is restored; differentiable in them."""
    (y, to_rows, middle_y), (x, to_columns, middle_x) = (_blending(side) for side in self.size)
    blend = lambda values: jnp.einsum("yi,xj,ij...->yx...", to_rows, to_columns, values)
    velocity, acceleration = blend(self.parameters[..., :2]), blend(self.parameters[..., 2:4])
    turn, zoom, jerk = self.parameters[..., 4:5], self.parameters[..., 5:6], blend(self.parameters[..., 6:])
    # Around each window's own middle: blended as zoom * p - zoom * middle.
    middle = jnp.stack(jnp.broadcast_arrays(middle_x[None, :], middle_y[:, None]), -1)
    place = jnp.stack(jnp.broadcast_arrays(x[None, :], y[:, None]), -1)
    linear = (blend(zoom) * place - blend(zoom * middle)
              + blend(turn) * _quarter_turn(place) - blend(turn * _quarter_turn(middle)))
    elapsed = (jnp.asarray(times_s) / UNIT_S)[:, None, None, None]
    return (elapsed * (velocity + linear) + elapsed**2 / ACCELERATION_SCALE * acceleration
            + elapsed**3 / _JERK_SCALE * jerk)


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
    self.detail = {sigma: detail_of(gray, sigma) for sigma in _BLURS_PX}
    self.elapsed, self.weights = elapsed, weights

  def ratios(self, sigma, parameters, corner, sides, stride, first):
    """How alike the first frames are along each candidate in a window, or, of few, those of the first time."""
    held = min(max(first, _NUM_HELD), len(self.elapsed))
    elapsed, weights = self.elapsed[:held], self.weights[:held]
    weights = jnp.where((jnp.arange(held) < first) | (elapsed <= _FIRST_TIME), weights, 0)
    return _ratios(self.detail[sigma][:held], parameters, elapsed, weights / jnp.sum(weights), stride, corner, sides)


def _refined_windows(burst, size):
  """Parameters `[rows, columns, 8]` of the windows of a large image.

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
    velocity = around[:, :2] + around[:, 5:6] * offset + around[:, 4:5] * _quarter_turn(offset)
    around = jnp.concatenate([velocity, around[:, 2:]], -1)
    begin = jnp.concatenate([around, around.mean(0, keepdims=True)])
    return _closer(burst, corner, sides, 1, begin, _NUM_DRAWN_NEAR, _NEAR_ROUNDS)

  corners = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
  return jax.lax.map(refined, corners).reshape(len(rows), len(columns), 8)


def _searched(burst, corner, sides, coarseness):
  """Parameters `[8]` of one window of which nothing is known."""
  return _closer(burst, corner, sides, coarseness, jnp.zeros((0, 8)), _NUM_DRAWN, _ROUNDS)


def _closer(burst, corner, sides, coarseness, begin, num_drawn, rounds):
  """Parameters `[8]` of one window: the best of some to begin with, of draws, and of rounds of draws around the best.

  Args:
    burst: what is compared.
    corner, sides: of the window, (y, x), packed px.
    coarseness: px are looked at so many times as far from each other as in small windows.
    begin: `[m, 8]`, parameters.
    num_drawn: how many are drawn from the prior.
    rounds: see `_ROUNDS`.
  """
  unit = jnp.array([1, 1, 1, 1, max(sides) / 2, max(sides) / 2, 1, 1])
  ratios = lambda sigma, drawn, stride, frames: burst.ratios(
      sigma, drawn / unit, corner, sides, coarseness * stride, frames)
  drawn = jnp.concatenate([_without_jerk(_drawn_candidates()[:num_drawn]), begin * unit])
  scores = ratios(rounds[0][0], drawn, _FIRST_STRIDE, _NUM_FIRST)
  best, scores = _best(drawn, scores, rounds[0][1])
  for (sigma, count), alike in itertools.groupby(enumerate(rounds), lambda pair: pair[1][:2]):
    steps = np.stack([spread * _drawn_steps((0, number), count, _CHILDREN) for number, (*_, spread) in alike])

    def one_round(found, steps, sigma=sigma, count=count):
      drawn = _around(found[0], _without_jerk(steps))
      return _best(drawn, ratios(sigma, drawn, _STRIDE, _NUM_FIRST), count), None

    # Rounds of one kind are a loop: unrolled, they compile several times as long.
    (best, scores), _ = jax.lax.scan(one_round, (best[:count], scores[:count]), steps)
  best, scores = _followed(burst.elapsed, ratios, best, scores)
  still = ratios(rounds[-1][0], jnp.zeros((1, 8)), _STRIDE, len(burst.elapsed))[0]
  return jnp.where(still > _STILL_SHARE * scores[0], 0.0, best[0] / unit)


def _followed(elapsed, ratios, best, scores):
  """The best candidates and their ratios in all frames, out of those in the first ones.

  The motion up to a time is known, and is bent after it: t^2 (t - known) is added, and little else is changed.
  """
  for index in range(_NUM_FIRST, len(elapsed)):
    known, until = _BENT_FROM * elapsed[index - 1], elapsed[index]
    # Frames that were left out may lie anywhere.
    bend = jnp.where(until > jnp.maximum(known, 0), 1 / (until**2 * (until - known)), 0.0)
    for number, (sigma, kept, spread, way_px) in enumerate(_LATER_ROUNDS):
      steps = _without_jerk(spread * _drawn_steps((index, number), kept, _LATER_DRAWN // kept))
      bent = way_px * bend * _normal((index, number, 1), (*steps.shape[:2], 2))
      steps = steps.at[..., 2:4].add(-known * ACCELERATION_SCALE * bent).at[..., 6:].add(_JERK_SCALE * bent)
      drawn = _around(best[:kept], steps)
      best, scores = _best(drawn, ratios(sigma, drawn, _STRIDE, index + 1), _LATER_KEPT)
  return best, scores


def _best(drawn, scores, count):
  """So many, with their scores, the best first."""
  scores, places = jax.lax.top_k(scores, count)
  return drawn[places], scores


def _drawn_steps(seed, count, children):
  """`[count, children, 6]`, around each of some candidates."""
  return _SPREAD * _normal(seed, (count, children, 6))


def _normal(seed, shape):
  """Draws that are always the same, by NumPy's generator whose numbers never change: drawn by JAX inside the program,
  they would take most of the time that it compiles."""
  return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def _around(best, steps):
  """The best, steps from them, and the means of all and of the best third: where all err by chance, means err less."""
  third = -(-len(best) // 3)
  means = jnp.stack([best.mean(0), best[:third].mean(0)])
  return jnp.concatenate([best, (best[:, None] + steps).reshape(-1, 8), means])


def _without_jerk(parameters):
  return jnp.concatenate([parameters, jnp.zeros((*parameters.shape[:-1], 2))], -1)


def _drawn_candidates():
  """`[_NUM_DRAWN, 6]`, the first of which stands still."""
  draws = _normal((0,), (_NUM_DRAWN, 7))
  speed = _MEDIAN_SPEED * np.exp(_LOG_SPEED_STD * draws[:, :1])
  direction = draws[:, 1:3] / np.linalg.norm(draws[:, 1:3], axis=-1, keepdims=True)
  rest = draws[:, 3:] * np.array([_ACCELERATION, _ACCELERATION, _TURN, _ZOOM], np.float32)
  candidates = speed * np.concatenate([direction, rest], -1)
  candidates[:_NUM_STILL] = 0
  return candidates


def detail_of(frames: jax.Array, sigma_px: float) -> jax.Array:
  """Frames `[n, h, w]` without noise finer than `sigma_px` and without what varies slowly."""
  def of_one(frame):
    blurred = gaussian_blur(frame, sigma_px)
    return blurred - gaussian_blur(blurred, _BACKGROUND_PX)

  return jax.vmap(of_one)(frames)


def _ratios(detail, parameters, elapsed, weights, stride=_STRIDE, corner=(0, 0), sides=None):
  """How alike the frames `[n, h, w]` are along each candidate `[m, 8]` in a window, by default the image: `[m]`, at
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
    velocity_x, velocity_y, acceleration_x, acceleration_y, turn, zoom, jerk_x, jerk_y = candidate
    there_x = x + time * (velocity_x + zoom * from_middle_x - turn * from_middle_y)
    there_y = y + time * (velocity_y + zoom * from_middle_y + turn * from_middle_x)
    there_x += time**2 / ACCELERATION_SCALE * acceleration_x + time**3 / _JERK_SCALE * jerk_x
    there_y += time**2 / ACCELERATION_SCALE * acceleration_y + time**3 / _JERK_SCALE * jerk_y
    read = jax.vmap(read_at)(detail, there_x, there_y)  # [n, px]
    seen = weights * ((there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1))
    others = jnp.sum(seen, 0) - seen
    cross = jnp.sum(jnp.sum(seen * read, 0)**2) - jnp.sum((seen * read)**2)
    # With frames that are all alike both energies are equal.
    own = jnp.sum(seen * others * read**2)
    share = jnp.mean(jnp.sum(seen * others, 0)) / (jnp.sum(weights * (jnp.sum(weights) - weights)) + 1e-12)
    return cross / (own + 1e-12) * jnp.minimum(share / _LEAST_SHARE, 1)**2

  # Batches of one size: a smaller one at the end would be compiled too.
  count = len(parameters)
  batches = -(-count // _BATCH)
  batch_size = -(-count // batches)
  padded = jnp.pad(parameters, ((0, batches * batch_size - count), (0, 0)))
  return jax.lax.map(ratio, padded, batch_size=batch_size)[:count]


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
