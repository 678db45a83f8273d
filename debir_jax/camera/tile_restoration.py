"""Restores real bursts of any size in bounded memory: tile after tile, each found in every frame first.

Tiles overlap and are blended with weights that sum to 1 (`restoration/tiles.py`). A tile of the reference is read in
each other frame where the coarse motion says that it is; what is left of the motion is searched for as in simulated
bursts. So the memory is that of the frames' counts, the image, and one tile.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.coarse_motion import CoarseMotion
from debir_jax.camera.noise_profile import FrameNoise
from debir_jax.camera.real_burst import RealBurst
from debir_jax.imaging.resample import warp
from debir_jax.imaging.tiling import tiles_along
from debir_jax.motion.burst_flow import detail_of
from debir_jax.pipeline import restore, restorer_inputs
from debir_jax.restoration.aligned_inputs import found_motion, frame_precision
from debir_jax.runtime.progress import with_progress
from debir_jax.types import Burst, Preview
from debir_jax.weights.model import Debir

TILE_SIZE = 128  # Packed px; what the paper trains on.
_GRID = 4  # Networks go down to a quarter of the size.
_COARSE_PX = 2.0  # Shorter shifts are left to the search alone, which is for them.
_SEARCHED_PX = 24.0  # Longer ones are beyond it; between, the frames tell which of both is right.
_DETAIL_PX = 1.3  # Blur of what is compared for that, against noise.
_PROGRESS_S = 10.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ShiftedMotion:
  """The motion of frames that were cut out at shifted places; of as many times as there are frames, in their order.

  Attributes:
    middle_s: `[n]`, middles of the exposures, s after the instant that is restored.
    shifts: `[n, 2]`, coarse motion from the middle of the first exposure until then, (x, y) in packed px.
    cuts: `[n, 2]`, by how much each cut is shifted; whole px.
    rest: the motion on top of that; None: not looked for yet.
  """

  middle_s: jax.Array
  shifts: jax.Array
  cuts: jax.Array
  rest: Any = None

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[n, h, w, 2]` (x, y) until times `[n]`, from the reference's cut to that of each frame."""
    return self.rest.at(times_s) + self.between_cuts(times_s)[:, None, None, :]

  def between_cuts(self, times_s: jax.Array) -> jax.Array:
    """The same without the rest, `[n, 2]`."""
    places = jnp.concatenate([jnp.zeros(1), jnp.asarray(times_s)])
    path = path_at(self.middle_s, self.shifts, places)
    return path[1:] - path[0] - self.cuts


def path_at(knots_s: jax.Array, shifts: jax.Array, times_s: jax.Array) -> jax.Array:
  """Shifts `[m, 2]` at times `[m]`, on straight lines between those at the knots `[n]` and beyond them."""
  place = jnp.clip(jnp.searchsorted(knots_s, times_s), 1, knots_s.shape[0] - 1)
  before, after = knots_s[place - 1], knots_s[place]
  share = ((times_s - before) / jnp.maximum(after - before, 1e-6))[:, None]
  return shifts[place - 1] + share * (shifts[place] - shifts[place - 1])


def restore_burst(model: Debir, burst: RealBurst, noise: FrameNoise, coarse: CoarseMotion, *,
                  tile_size: int = TILE_SIZE, choose: bool = True) -> np.ndarray:
  """The reference frame as it would be without noise and blur, `[h, w, 4]`, packed RAW.

  Args:
    model: with a restorer.
    burst: of as many frames as the restorer is for, or fewer.
    noise: of all frames that the restorer is for.
    coarse: where the reference is in the other frames.
    tile_size: packed px, a multiple of 4.
    choose: where the coarse motion is within the reach of the search for finer motion, tiles are also aligned without
      it, and restored from what makes the frames more alike; False: coarse motion always counts.

  Raises:
    ValueError: there is no restorer, it is for fewer frames, or tiles of this size cannot be.
  """
  num_frames = check_model(model, burst)
  check_tile_size(tile_size)
  size = burst.frames[0].size
  sides = tuple(min(tile_size, side // _GRID * _GRID) for side in size)
  image = np.zeros((*size, 4), np.float32)
  along = [tiles_along(side, tile, tile // 4 // _GRID * _GRID) for side, tile in zip(size, sides)]
  places = [(top, left, rows[:, None] * columns) for top, rows in zip(*along[0]) for left, columns in zip(*along[1])]
  times = np.zeros(num_frames, np.float32)
  times[:len(burst.frames)] = burst.exposure_times
  start_s = burst.start_s(model.timing.frame_gap_s, num_frames)
  preview = _preview_of(burst, model, noise)
  for top, left, weights in with_progress(places, len(places), "tiles", every_s=_PROGRESS_S):
    shifts = coarse.shifts(int(top), int(left), *sides)
    seen, of_capture = [], dict(times=times, start_s=start_s, noise=noise)
    if preview is not None:
      planes = burst.preview.frame.packed(slice(top, top + sides[0]), slice(left, left + sides[1]))
      of_capture["preview"] = dataclasses.replace(
          preview, raw=np.maximum(np.float32(burst.preview.scale) * planes, -trained_black_level(model)))
    for candidate in candidate_shifts(shifts, choose and model.restorer_inputs.aligned):
      tile = cut_tile(burst, candidate, (int(top), int(left)), sides, num_frames)
      tile["raw"] = np.maximum(tile["raw"], -trained_black_level(model))
      seen.append(_inputs_of_tile(model.restorer_inputs, tile | of_capture))
    inputs, _ = max(seen, key=lambda each: float(each[1]))
    restored = _restore_tile(model.restorer, model.restorer_variables, inputs)
    image[top:top + sides[0], left:left + sides[1]] += weights[..., None] * np.asarray(restored)
  return image


def _preview_of(burst, model, noise) -> Preview | None:
  """The frame before a burst, but for its pixels."""
  if burst.preview is None or not model.restorer_inputs.aligned:
    return None
  time = burst.preview.exposure_time
  gap_s = model.timing.frame_gap_s if burst.gap_s is None else burst.gap_s
  gain_ratio = np.float32(burst.exposure_times[0] / time)  # To the first frame, which is as bright.
  own = FrameNoise.of_frames([burst.preview.noise]) if burst.preview.noise else FrameNoise(
      noise.shot_noise[:1] * gain_ratio, noise.read_variance[:1] * gain_ratio**2)
  return Preview(raw=np.zeros(()), exposure_time=np.float32(time), gain=np.float32(1), noise_model=own,
                 start_s=np.float32(-gap_s - time))


def trained_black_level(model: Debir) -> float:
  """What lies further below black than this, relative to white, the restorer has never seen: it was clipped."""
  return model.description.get("restorer", {}).get("trained_for", {}).get("black_level", 0.0)


def check_tile_size(tile_size: int) -> None:
  """Raises a ValueError for tiles that cannot be."""
  if tile_size < 2 * _GRID or tile_size % _GRID:
    raise ValueError(f"--tile_size={tile_size} must be a multiple of {_GRID} packed px, {2 * _GRID} at least.")


def check_model(model: Debir, burst: RealBurst) -> int:
  """How many frames the restorer is for. Raises a ValueError where that does not fit."""
  if model.restorer is None:
    raise ValueError("These weights hold no restorer. Give others: --weights.")
  model.check_num_frames(len(burst.frames))
  return model.timing.num_frames


def candidate_shifts(shifts: np.ndarray, choose: bool) -> list[np.ndarray]:
  """Shifts `[n, 2]` by which a tile may be cut out of the frames: by none, by what was found coarsely, or both."""
  longest = np.max(np.linalg.norm(shifts, axis=-1))
  if longest < _COARSE_PX:
    return [np.zeros_like(shifts)]
  return [shifts, np.zeros_like(shifts)] if choose and longest < _SEARCHED_PX else [shifts]


def cut_tile(burst: RealBurst, found: np.ndarray, corner: tuple[int, int], sides: tuple[int, int],
             num_frames: int) -> dict[str, np.ndarray]:
  """A tile as every frame shows it, of one brightness.

  Args:
    burst: the frames.
    found: shift `[n', 2]` of its content in each of them, (x, y) in packed px.
    corner: (top, left) in the reference, packed px.
    sides: (height, width).
    num_frames: of the result; what is not taken is 0.

  Returns:
    "raw" `[n, height, width, 4]`; "shifts" of its content and of the "cuts", each `[n, 2]`.
  """
  raw = np.zeros((num_frames, *sides, 4), np.float32)
  shifts, cuts = np.zeros((num_frames, 2), np.float32), np.zeros((num_frames, 2), np.float32)
  shifts[:len(found)] = found
  shifts[len(found):] = found[-1]
  for place, (frame, scale) in enumerate(zip(burst.frames, burst.scales)):
    starts = [int(np.clip(start + np.rint(shift), 0, whole - side)) for start, shift, whole, side in zip(
        corner, shifts[place, ::-1], frame.size, sides)]
    raw[place] = scale * frame.packed(*(slice(start, start + side) for start, side in zip(starts, sides)))
    cuts[place] = starts[1] - corner[1], starts[0] - corner[0]
  cuts[len(burst.frames):] = shifts[len(burst.frames):]
  return dict(raw=raw, shifts=shifts, cuts=cuts)


@functools.partial(jax.jit, static_argnums=0)
def _inputs_of_tile(options, tile):
  """What the restorer sees, and how alike the frames are as they are aligned in it."""
  burst = Burst(raw=tile["raw"], exposure_times=tile["times"], gains=jnp.ones_like(tile["times"]),
                frame_mask=tile["times"] > 0, noise_model=tile["noise"], start_s=tile["start_s"],
                preview=tile.get("preview"))
  if not options.aligned:
    return restorer_inputs(burst, options), jnp.zeros(())
  burst = dataclasses.replace(burst, motion=_motion_of(burst, tile["shifts"], tile["cuts"]))
  return restorer_inputs(burst, options), likeness(burst)


@functools.partial(jax.jit, static_argnums=0)
def _restore_tile(restorer, variables, inputs):
  return restore(restorer, variables, inputs)


def _motion_of(burst, shifts, cuts) -> ShiftedMotion:
  """The coarse motion, and what the frames show once they are moved by it."""
  coarse = ShiftedMotion(middle_s=burst.start_s + burst.exposure_times / 2, shifts=shifts, cuts=cuts)
  by_coarse = coarse.between_cuts(coarse.middle_s)[:, None, None, :]
  moved, _ = jax.vmap(functools.partial(warp, cubic=True))(
      burst.raw, jnp.broadcast_to(by_coarse, (*burst.raw.shape[:3], 2)))
  preview = burst.preview
  if preview is not None:
    places = jnp.stack([jnp.zeros(()), preview.start_s + preview.exposure_time / 2])
    before = path_at(coarse.middle_s, shifts, places)
    way = jnp.broadcast_to(before[1] - before[0], (*preview.raw.shape[:2], 2))
    preview = dataclasses.replace(preview, raw=warp(preview.raw, way, cubic=True)[0])
  rest = found_motion(dataclasses.replace(burst, raw=moved, preview=preview))
  return dataclasses.replace(coarse, rest=rest)


def likeness(burst: Burst) -> jax.Array:
  """How alike the frames of a burst are along its motion: cross energy over self energy of their detail, at most 1.

  As `motion/burst_flow.py` compares motions; of what all frames see.
  """
  detail = detail_of(burst.raw.mean(-1), _DETAIL_PX)
  read, inside = jax.vmap(warp)(detail, burst.motion.at(burst.start_s + burst.exposure_times / 2))
  weights = frame_precision(burst)
  common = jnp.prod(jnp.where(burst.frame_mask[:, None, None], inside, 1), 0)
  weights = (weights / jnp.sum(weights))[:, None, None] * common
  cross = jnp.sum(jnp.sum(weights * read, 0)**2) - jnp.sum((weights * read)**2)
  own = jnp.sum(weights * (jnp.sum(weights, 0) - weights) * read**2)
  return cross / (own + 1e-12)
