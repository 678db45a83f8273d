"""Photos that move along exactly known paths, as frames of a camera with high frame rate and as the truth between them.

Frames are `[H, W, 3]` sRGB in [0, 1], one for every 1/1920 s, of which a camera takes one in eight. What moves is

- pan: the whole photo, shifted, turned and zoomed by a hand-held camera;
- object: the same, and in front of it a blob of another photo with a path of its own, which covers and uncovers;
- wires: the same, and in front of it thin bars of another photo, 1.5 px wide, with a path of their own.

Positions are those of `debir_jax.scenes.camera_path`, (y, x) in px from the middle of the frame.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging import linear_to_srgb
from debir_jax.imaging.resample import read_at
from debir_jax.scenes import camera_path
from debir_jax.scenes.photos import SOURCE_DENSITY, Photo, random_crop_downscale
from debir_jax.types import SUBFRAME_RATE_HZ

SOURCE_RATE_HZ = 240
FACTOR = SUBFRAME_RATE_HZ // SOURCE_RATE_HZ
_WIRE_PX, _WIRE_DISTANCE_PX = 1.5, 40.0
_BLOB_RADIUS = 0.22  # Of the side of the frame.
_EDGE_PX = 1.0  # Width of a soft edge.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MovingPhotos:
  """A scene.

  Attributes:
    photo, front_photo: linear sRGB `[S, S, 3]`, as `random_crop_downscale` cuts them.
    path, front_path: of both, as cameras.
    kind: "pan", "object" or "wires"; static.
  """

  photo: jax.Array
  front_photo: jax.Array
  path: camera_path.CameraPath
  front_path: camera_path.CameraPath
  kind: str = dataclasses.field(metadata=dict(static=True))


def moving_photos(kind: str, photos: tuple[Photo, Photo], px_per_frame: float, crop: int, seed: int) -> MovingPhotos:
  """Draws a scene whose camera has this mean speed, in px per source frame, over four source frames.

  Raises:
    ValueError: there is no such kind.
  """
  if kind not in COVERAGES:
    raise ValueError(f"Unknown kind of motion {kind!r}; choose one of {', '.join(COVERAGES)}.")
  rng = np.random.default_rng(seed)
  pieces = [jnp.asarray(random_crop_downscale(rng, photo.pixels(), crop_size=crop)) for photo in photos]
  draw = functools.partial(camera_path.random_camera_path, speed_px_s=px_per_frame * SOURCE_RATE_HZ,
                           duration_s=(4 * FACTOR + 1) / SUBFRAME_RATE_HZ)
  paths = [jax.jit(draw)(key) for key in jax.random.split(jax.random.key(seed))]
  return MovingPhotos(photo=pieces[0], front_photo=pieces[1], path=paths[0], front_path=paths[1], kind=kind)


@functools.partial(jax.jit, static_argnames=("count", "crop"))
def frames(scene: MovingPhotos, *, count: int, crop: int) -> jax.Array:
  """Frames `[count, crop, crop, 3]`, one for every 1/1920 s."""
  times_s = camera_path.subframe_times_s(count)
  positions = camera_path.pixel_positions(crop)

  def frame(cameras):
    behind, front = (_seen_at(positions, camera) for camera in cameras)
    color = _sampled(scene.photo, behind)
    if scene.kind != "pan":
      color += COVERAGES[scene.kind](front, crop)[..., None] * (_sampled(scene.front_photo, front) - color)
    return linear_to_srgb(color)

  return jax.lax.map(frame, tuple(camera_path.camera_affine(path, times_s) for path in (scene.path, scene.front_path)))


@functools.partial(jax.jit, static_argnames="crop")
def true_flow(scene: MovingPhotos, seen_s: jax.Array, first_s: jax.Array, second_s: jax.Array, *,
              crop: int) -> jax.Array:
  """Flow `[crop, crop, 2]` (x, y) in px, from first_s to second_s, of what is seen at the time seen_s."""
  positions = camera_path.pixel_positions(crop)

  def between(path):
    until = lambda time_s: camera_path.affine_motion(path, positions, seen_s, time_s)
    return until(second_s) - until(first_s)

  matrices, shifts = camera_path.camera_affine(scene.front_path, jnp.asarray(seen_s)[None])
  front = _seen_at(positions, (matrices[0], shifts[0]))
  covered = COVERAGES[scene.kind](front, crop)[..., None] > 0.5
  return jnp.where(covered, between(scene.front_path), between(scene.path))[..., ::-1]


def _seen_at(positions, camera):
  matrix, shift = camera
  return camera_path.apply_matrix(matrix, positions) + shift


def _sampled(photo, places):
  y, x = jnp.moveaxis(SOURCE_DENSITY * places + (photo.shape[0] - 1) / 2, -1, 0)
  return read_at(photo, x, y)


def _blob(places, crop):
  """A disc with three lobes around the middle."""
  y, x = places[..., 0], places[..., 1]
  outline = crop * _BLOB_RADIUS * (1 + 0.25 * jnp.cos(3 * jnp.arctan2(y, x)))
  return jnp.clip((outline - jnp.hypot(x, y)) / _EDGE_PX + 0.5, 0, 1)


def _wires(places, crop):
  """Bars in two directions, unevenly far apart."""
  del crop
  y, x = places[..., 0], places[..., 1]
  bars = [jnp.abs((along + 0.3 * across + _WIRE_DISTANCE_PX / 2) % _WIRE_DISTANCE_PX - _WIRE_DISTANCE_PX / 2)
          for along, across in ((x, y), (1.4 * y, -x))]
  return jnp.clip((_WIRE_PX / 2 - jnp.minimum(*bars)) / _EDGE_PX + 0.5, 0, 1)


COVERAGES: dict[str, Callable] = {
    "pan": lambda places, crop: jnp.zeros(places.shape[:-1]), "object": _blob, "wires": _wires}
