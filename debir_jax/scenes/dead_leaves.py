"""Moving dead leaves: occluding shapes with power-law sizes, generated from a key on the device.

Dead leaves share the scale invariance, edges and occlusions of natural images (A. B. Lee, D. Mumford, J. Huang,
"Occlusion models for natural images", IJCV 2001). Here every leaf has its own constant velocity, and a camera moves
on top (`camera_path`). Positions are (y, x) in mosaic pixels, times in seconds; leaf 0 is in front.

A leaf is an ellipse, a rectangle or in between, with a striped texture and an edge about one pixel wide. Rendering
paints from back to front, packed samples only. To paint a sample with few leaves, the sequence is cut into cells of
`_TILE` x `_TILE` pixels x `_CHUNK` subframes, each with a list of the leaves that touch it. A leaf that would
overfill a list is left out of the scene altogether (it would be nearly hidden by those before it), so that a scene
has no seams between cells.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.bayer import CHANNEL_OF_PLANE
from debir_jax.imaging.color import Unprocessing
from debir_jax.scenes import camera_path
from debir_jax.scenes.camera_path import CameraPath
from debir_jax.scenes.source import SceneSettings, check_index, made_of, scene_key
from debir_jax.types import SUBFRAME_RATE_HZ, CameraColor, SampledMotion, Scene

_KIND = "dead_leaves"
_TILE = 16  # Mosaic pixels.
_CHUNK = 32  # Subframes.
_LEAVES_PER_CELL = 24

_LEAVES_PER_PX = 110 / 64**2
_SMALLEST_RADIUS_PX, _LARGEST_RADIUS = 3.0, 0.35  # The largest is relative to the crop side.
_LOG_ASPECT_STD = 0.3
_EDGE_PX = 1.2
_STRIPE_PX = (3.0, 30.0)  # Wavelengths of the textures.
_TEXTURE_CONTRAST = 0.4
_OWN_SPEED = 0.5  # Of a leaf, per axis, standard deviation relative to the camera's speed.

# Logarithms of linear RGB along the axes of D. L. Ruderman, T. W. Cronin, C.-C. Chiao, "Statistics of cone responses
# to natural images", JOSA A 1998: achromatic, yellow-blue and red-green are independent, with falling spread. The
# figures are our choice by eye.
_MEAN_LOG_RGB = np.log(0.15).astype(np.float32) + np.array([0.1, 0.0, -0.25], np.float32)
_LOG_COLOUR_AXES = np.array([[0.8, 0.8, 0.8], [0.2, 0.1, -0.35], [0.2, -0.13, -0.05]], np.float32)
_MAX_RGB = 0.9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaves:
  """N leaves, the front one first.

  Attributes:
    centre_px: `[N, 2]`, scene position at time 0.
    velocity_px_s: `[N, 2]`.
    frame: `[N, 2, 2]`, offset from the centre in px -> coordinates in which the outline touches -1 and 1.
    radius_px: `[N]`, geometric mean of the half axes.
    roundness: `[N]`, 1: ellipse, 0: rectangle.
    rgb: `[N, 3]`, linear sRGB.
    wave_per_px: `[N, 2]`, wave vector of the texture in cycles per px.
    wave_phase, contrast: `[N]`, phase in cycles, and relative amplitude.
  """

  centre_px: jax.Array
  velocity_px_s: jax.Array
  frame: jax.Array
  radius_px: jax.Array
  roundness: jax.Array
  rgb: jax.Array
  wave_per_px: jax.Array
  wave_phase: jax.Array
  contrast: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadLeavesParams:
  """Everything random about a scene. What no leaf covers has the color `background [3]`, linear sRGB."""

  path: CameraPath
  leaves: Leaves
  background: jax.Array
  color: CameraColor


def random_scene_params(key: jax.Array, settings: SceneSettings, *, num_leaves: int | None = None) -> DeadLeavesParams:
  """Draws the camera's path, the leaves and the camera's color; see `photo_motion.random_scene_params`.

  Args:
    key: a PRNG key.
    settings: of all scenes.
    num_leaves: by default 110 for a crop of 64 pixels, in proportion to its area, and to what moves in and out of
      it at twice the median speed: leaves move too.
  """
  path_key, speed_key, leaves_key, background_key, color_key = jax.random.split(key, 5)
  crop_size, duration_s = settings.crop_size, settings.num_subframes / SUBFRAME_RATE_HZ
  speed = settings.statistics.draw_speed(speed_key)
  path = camera_path.random_camera_path(path_key, speed_px_s=speed, duration_s=duration_s)
  seen_px = crop_size * (crop_size + 2 * settings.statistics.median_speed_px_s * duration_s)
  num_leaves = num_leaves or round(_LEAVES_PER_PX * seen_px)
  leaves = _random_leaves(leaves_key, num_leaves, path=path, speed_px_s=speed, duration_s=duration_s,
                          crop_size=crop_size)
  return DeadLeavesParams(path=path, leaves=leaves, background=natural_colors(background_key, 1)[0],
                          color=settings.unprocessing.draw_color(color_key))


def natural_colors(key: jax.Array, count: int) -> jax.Array:
  """Linear sRGB colors `[count, 3]` in (0, 0.9]."""
  spread = jax.random.normal(key, (count, 3))
  log_rgb = _MEAN_LOG_RGB + sum(spread[:, i:i + 1] * _LOG_COLOUR_AXES[i] for i in range(3))
  return jnp.minimum(jnp.exp(log_rgb), _MAX_RGB)


def power_law_radii(key: jax.Array, count: int, *, smallest: float, largest: float) -> jax.Array:
  """Radii `[count]` with density proportional to r^-3: the law under which the image looks alike at every scale."""
  share = jax.random.uniform(key, (count,))
  return (smallest**-2 + share * (largest**-2 - smallest**-2))**-0.5


def _random_leaves(key, count, *, path, speed_px_s, duration_s, crop_size):
  radius_key, color_key, normal_key, uniform_key = jax.random.split(key, 4)
  # Few large draws: each call to jax.random costs compile time.
  normal = jax.random.normal(normal_key, (3, count))
  seen, seen_y, seen_x, stripe_angle, stripe, angle, shape, phase, contrast = jax.random.uniform(
      uniform_key, (9, count))
  radius = power_law_radii(radius_key, count, smallest=_SMALLEST_RADIUS_PX, largest=_LARGEST_RADIUS * crop_size)
  velocity = speed_px_s * _OWN_SPEED * normal[:2].T
  aspect = jnp.exp(_LOG_ASPECT_STD * normal[2])
  # Seen at a random place of the image at a random time: as dense along a long path as along a short one.
  seen_s = duration_s * seen
  seen_at = (crop_size / 2 + radius)[:, None] * (2 * jnp.stack([seen_y, seen_x], axis=-1) - 1)
  matrix, shift = camera_path.camera_affine(path, seen_s)
  scene = jnp.sum(matrix * seen_at[:, None, :], axis=-1) + shift
  wave_direction = _turn(2 * jnp.pi * stripe_angle)[:, 0]
  return Leaves(
      centre_px=scene - velocity * seen_s[:, None], velocity_px_s=velocity,
      frame=_turn(2 * jnp.pi * angle) / (radius[:, None] * jnp.stack([aspect, 1 / aspect], -1))[..., None],
      radius_px=radius, roundness=jnp.round(3 * shape) / 3, rgb=natural_colors(color_key, count),
      wave_per_px=wave_direction / _log_uniform(stripe, *_STRIPE_PX)[:, None], wave_phase=phase,
      contrast=_TEXTURE_CONTRAST * contrast**2)


def _turn(angle):
  """Rotation matrices `[..., 2, 2]`."""
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  return jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)


def _log_uniform(share, lowest, highest):
  return lowest * (highest / lowest)**share


def render_scene(params: DeadLeavesParams, *, num_subframes: int, crop_size: int,
                 unprocessing: Unprocessing = Unprocessing()) -> jax.Array:
  """Radiance `[num_subframes, crop_size / 2, crop_size / 2, 4]` in camera RAW, entry k at time (k + 1/2) / 1920 s."""
  times_s, cameras, lists = _cells(params, num_subframes, crop_size)
  num_chunks = len(lists)
  by_plane = lambda rgb: unprocessing.camera_rgb(rgb, params.color)[..., jnp.array(CHANNEL_OF_PLANE)]
  table, background = _leaf_table(params.leaves, by_plane), by_plane(params.background)
  by_chunk = lambda array: array.reshape(num_chunks, _CHUNK, *array.shape[1:])

  def paint_chunk(chunk):
    chunk_times_s, matrix, shift, cell_list = chunk
    return _paint(table, background, chunk_times_s, matrix, shift, cell_list, crop_size)
  chunks = jax.lax.map(paint_chunk, (by_chunk(times_s), by_chunk(cameras[0]), by_chunk(cameras[1]), lists))
  return chunks.reshape(-1, *chunks.shape[2:])[:num_subframes]


def motion_field(params: DeadLeavesParams, shown: jax.Array, positions: jax.Array, start_s: jax.Array,
                 end_s: jax.Array) -> jax.Array:
  """Exact flow `[..., 2]` (x, y) in mosaic px, until end_s, of what is seen at start_s at image `positions [..., 2]`
  (y, x). `shown [N]` tells which leaves are painted at all, see `shown_leaves`."""
  matrices, shifts = camera_path.camera_affine(params.path, jnp.stack([jnp.asarray(start_s), jnp.asarray(end_s)]))
  scene = camera_path.apply_matrix(matrices[0], positions) + shifts[0]
  leaves = params.leaves
  offset = scene[..., None, :] - (leaves.centre_px + start_s * leaves.velocity_px_s)
  u, v = jnp.moveaxis(jnp.sum(leaves.frame * offset[..., None, :], -1)**2, -1, 0)
  level = jnp.maximum(u, v) + leaves.roundness * jnp.minimum(u, v)
  covers = (level < 1) & shown  # [..., N]: the middle of the soft edge is at level 1.
  velocity = jnp.where(jnp.any(covers, -1, keepdims=True), leaves.velocity_px_s[jnp.argmax(covers, -1)], 0.0)
  later = scene + velocity * (end_s - start_s)
  return (camera_path.apply_matrix(jnp.linalg.inv(matrices[1]), later - shifts[1]) - positions)[..., ::-1]


def sampled_motion(params: DeadLeavesParams, settings: SceneSettings) -> SampledMotion:
  """The motion of a scene from the instant that is restored to the end of its sequence."""
  shown = shown_leaves(params, num_subframes=settings.num_subframes, crop_size=settings.crop_size)
  return settings.sampled_motion(functools.partial(motion_field, params, shown))


def shown_leaves(params: DeadLeavesParams, *, num_subframes: int, crop_size: int) -> jax.Array:
  """Which leaves are painted, `[N]`: those that touch the image and overfill no list."""
  num_leaves = params.leaves.radius_px.shape[0]
  lists = _cells(params, num_subframes, crop_size)[2]
  return jnp.zeros(num_leaves + 1, bool).at[lists.reshape(-1)].set(True)[:num_leaves]


def _cells(params, num_subframes, crop_size):
  """Times and cameras of whole chunks of subframes, and the leaves of every cell."""
  num_chunks = -(-num_subframes // _CHUNK)
  times_s = camera_path.subframe_times_s(num_chunks * _CHUNK)
  cameras = camera_path.camera_affine(params.path, times_s)
  return times_s, cameras, _cell_lists(params, times_s, cameras, crop_size, num_chunks)


def _leaf_table(leaves, by_plane):
  """Leaves with colors in camera RGB by Bayer plane `[N + 1, 4]`; the last one is invisible and fills short lists."""
  leaves = dataclasses.replace(leaves, rgb=by_plane(leaves.rgb))
  padded = jax.tree.map(lambda array: jnp.pad(array, [(0, 1)] + [(0, 0)] * (array.ndim - 1)), leaves)
  return dataclasses.replace(padded, centre_px=padded.centre_px.at[-1].set(1e6), frame=padded.frame.at[-1].set(
      jnp.eye(2)), radius_px=padded.radius_px.at[-1].set(1.0))


def _cell_lists(params, times_s, cameras, crop_size, num_chunks):
  """Leaves that touch each cell, front first: indices `[num_chunks, tiles, _LEAVES_PER_CELL]`."""
  touches = _touches(params.leaves, times_s, cameras, crop_size, num_chunks)
  num_leaves = touches.shape[0]

  def insert(state, leaf):
    lists, count = state
    touched, index = leaf
    accepted = jnp.logical_not(jnp.any(touched & (count >= _LEAVES_PER_CELL)))
    added = touched & accepted
    here = added[..., None] & (jnp.arange(_LEAVES_PER_CELL) == count[..., None])
    return (jnp.where(here, index, lists), count + added), None
  empty = jnp.full((*touches.shape[1:], _LEAVES_PER_CELL), num_leaves, jnp.int32)
  (lists, _), _ = jax.lax.scan(insert, (empty, jnp.zeros(touches.shape[1:], jnp.int32)),
                               (touches, jnp.arange(num_leaves, dtype=jnp.int32)))
  return lists


def _touches(leaves, times_s, cameras, crop_size, num_chunks):
  """Whether a leaf's bounding box meets a cell at any of its subframes, `[N, num_chunks, tiles]`."""
  matrix, shift = cameras
  scene = leaves.centre_px + times_s[:, None, None] * leaves.velocity_px_s  # [T, N, 2]
  inverse, offset = jnp.linalg.inv(matrix), scene - shift[:, None, :]
  image = inverse[:, None, :, 0] * offset[..., 0:1] + inverse[:, None, :, 1] * offset[..., 1:2]
  scale = jnp.sqrt(jnp.abs(jnp.linalg.det(matrix)))
  reach = _outer_radius(leaves) / scale[:, None]
  lowest, highest = image - reach[..., None], image + reach[..., None]
  by_chunk = lambda array: array.reshape(num_chunks, -1, *array.shape[1:])
  lowest, highest = by_chunk(lowest).min(axis=1), by_chunk(highest).max(axis=1)  # [num_chunks, N, 2]

  num_tiles = -(-crop_size // _TILE)
  first = jnp.arange(num_tiles) * _TILE - crop_size / 2
  meets = (lowest[..., None] <= first + _TILE) & (highest[..., None] >= first)  # [num_chunks, N, 2, num_tiles]
  tiles = meets[:, :, 0, :, None] & meets[:, :, 1, None, :]
  return jnp.moveaxis(tiles.reshape(*tiles.shape[:2], -1), 1, 0)


def _outer_radius(leaves):
  """Radius of a circle around each leaf, soft edge included. A row of `frame` is a direction over a half axis."""
  half_axes = 1 / jnp.linalg.norm(leaves.frame, axis=-1)
  # The outline is farthest at the end of an axis or, where it is not round, at a corner.
  farthest = jnp.maximum(jnp.max(half_axes, axis=-1),
                         jnp.linalg.norm(half_axes, axis=-1) / jnp.sqrt(1 + leaves.roundness))
  return farthest * jnp.sqrt(1 + _EDGE_PX / leaves.radius_px)


def _paint(table, background, times_s, matrix, shift, cell_list, crop_size):
  """Radiance of one chunk, `[_CHUNK, h, w, 4]`."""
  num_tiles = -(-crop_size // _TILE)
  half = _TILE // 2
  padded_size = num_tiles * _TILE
  # Axes: subframe, tile row, row, tile column, column, plane. The last tiles may reach over the border.
  tiled = (len(times_s), num_tiles, half, num_tiles, half, 4)
  y, x = camera_path.packed_positions(padded_size)
  y, x = (position + (padded_size - crop_size) / 2 for position in (y, x))
  y, x = y.reshape(num_tiles, half, 1, 1, 4), x.reshape(1, 1, num_tiles, half, 4)
  entry = lambda array: array[:, None, None, None, None, None]
  scene_y = jnp.broadcast_to(entry(matrix[:, 0, 0]) * y + entry(matrix[:, 0, 1]) * x + entry(shift[:, 0]), tiled)
  scene_x = jnp.broadcast_to(entry(matrix[:, 1, 0]) * y + entry(matrix[:, 1, 1]) * x + entry(shift[:, 1]), tiled)

  def paint_one(image, index):
    """Paints one leaf per tile; `index [tiles]`."""
    leaf = jax.tree.map(lambda array: array[index], table)
    per_tile = lambda array: array.reshape(num_tiles, 1, num_tiles, 1, 1)
    centre = leaf.centre_px + times_s[:, None, None] * leaf.velocity_px_s  # [T, tiles, 2]
    dy, dx = (offset - centre[..., axis].reshape(len(times_s), num_tiles, 1, num_tiles, 1, 1)
              for axis, offset in enumerate((scene_y, scene_x)))
    u, v = (per_tile(leaf.frame[:, row, 0]) * dy + per_tile(leaf.frame[:, row, 1]) * dx for row in (0, 1))
    level = jnp.maximum(u * u, v * v) + per_tile(leaf.roundness) * jnp.minimum(u * u, v * v)
    # Near the outline the level is 1 + 2 * distance / radius.
    coverage = jnp.clip(0.5 + (1 - level) * per_tile(leaf.radius_px) / (2 * _EDGE_PX), 0, 1)
    wave = per_tile(leaf.wave_per_px[:, 0]) * dy + per_tile(leaf.wave_per_px[:, 1]) * dx + per_tile(leaf.wave_phase)
    shade = 1 + per_tile(leaf.contrast) * _smooth_wave(wave)
    rgb = leaf.rgb.reshape(num_tiles, 1, num_tiles, 1, 4)
    return image + coverage * (jnp.minimum(rgb * shade, 1) - image), None
  image = jnp.broadcast_to(background, tiled)
  image, _ = jax.lax.scan(paint_one, image, cell_list.T, reverse=True)  # Back to front.
  return image.reshape(len(times_s), padded_size // 2, padded_size // 2, 4)[:, :crop_size // 2, :crop_size // 2]


def _smooth_wave(cycles):
  """A wave of period 1 between -1 and 1, made of parabolas: as smooth as needed, and cheaper than a sine."""
  within = cycles - jnp.round(cycles)
  return 16 * within * (0.5 - jnp.abs(within))


_draw_params = jax.jit(random_scene_params, static_argnames=("settings", "num_leaves"))
_sampled_motion = jax.jit(sampled_motion, static_argnames="settings")
_render = jax.jit(render_scene, static_argnames=("num_subframes", "crop_size", "unprocessing"))


class DeadLeavesScenes:
  """Moving dead leaves as a `SceneSource`; scene i is drawn from (seed, i). All leaves move on their own."""

  def __init__(self, settings: SceneSettings, *, num_leaves: int | None = None):
    """See `random_scene_params`."""
    self.crop_size, self.num_subframes = settings.crop_size, settings.num_subframes
    self._settings, self._num_leaves = settings, num_leaves

  def __len__(self) -> int:
    return self._settings.num_scenes

  def made_of(self) -> str:
    """A fingerprint of what scenes depend on."""
    return made_of(_KIND, self._settings, num_leaves=self._num_leaves)

  def params(self, index: int) -> DeadLeavesParams:
    """What was drawn for a scene."""
    return _draw_params(scene_key(_KIND, self._settings.seed, index), settings=self._settings.of_one_scene,
                        num_leaves=self._num_leaves)

  def scene(self, index: int) -> Scene:
    check_index(index, len(self))
    params = self.params(index)
    radiance = _render(params, num_subframes=self.num_subframes, crop_size=self.crop_size,
                       unprocessing=self._settings.unprocessing)
    motion = None if self._settings.target_index is None else _sampled_motion(
        params, settings=self._settings.of_one_scene)
    return Scene(radiance=radiance, color=params.color, scene_id=jnp.asarray(index, jnp.int32), motion=motion)
