"""Photos in motion: radiance sequences along an exactly known camera path, with layers that move differently.

A scene is a linear sRGB photo on a fine grid (see `photos.random_crop_downscale`), turned into camera RGB once, and
sampled bilinearly where each Bayer sample lies at the middle of each 1/1920 s. In front of it there may be two layers
that are cut from a second photo: something near, which parallax moves faster than the rest, and an object that moves on
its own. Only packed samples are computed, each from its own color plane. Scene positions beyond a photo see its mirror
image.

Drawing is separate from rendering: `random_scene_params(key, ...)` -> `render_scene(photo, params, ...)`. Both are
traceable. The motion is known in closed form: `motion_field`. Axis order is (y, x) except in flow fields (x, y).
"""

from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp

from debir_jax.imaging.bayer import CHANNEL_OF_PLANE
from debir_jax.imaging.color import Unprocessing
from debir_jax.scenes import camera_path
from debir_jax.scenes.camera_path import CameraPath
from debir_jax.scenes.motion_statistics import MotionStatistics, draw_parallax
from debir_jax.scenes.photos import CANVAS_TO_CROP, SOURCE_DENSITY, Photo, check_large_enough, random_crop_downscale
from debir_jax.scenes.source import SceneSettings, check_index, made_of, scene_key, scene_rng
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming, CameraColor, SampledMotion, Scene

_KIND = "photo_motion"
_NUM_LOBES = 3  # Harmonics 2 to 4 of a layer's outline.
_LOBE_SIZE = 0.15  # Their standard deviation, relative to the radius.
# Relative to the crop side: mean radius of the outline, and how far its centre is from the middle of the image.
_OBJECT_RADIUS, _OBJECT_DISTANCE = (0.15, 0.35), (0.0, 0.4)
_NEAR_RADIUS, _NEAR_DISTANCE = (0.4, 0.8), (0.5, 0.9)  # It comes in from a side.
_EDGE_PX = 1.5  # Width of a layer's soft edge.
_SPARE = 1.05  # Of a budget, for what a camera rounds.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
  """A blob of a second photo, in the coordinates of the layer that it is cut from.

  The layer moves over the image along its own path. The outline lies at the distance
  radius_px * (1 + sum_k cos_k cos(k a) + sin_k sin(k a)) from the centre, for the angle a and k = 2, 3, 4.

  Attributes:
    visible: 1 or 0.
    path: as if the layer were the scene of a second camera.
    centre_px: `[2]`, in scene positions of that camera.
    radius_px: mean radius.
    lobes: `[2, 3]`, cosine and sine coefficients of the outline.
  """

  visible: jax.Array
  path: CameraPath
  centre_px: jax.Array
  radius_px: jax.Array
  lobes: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoMotionParams:
  """Everything random about a scene but its photos.

  Attributes:
    path: of the camera.
    layers: what is in front of the scene, the front one last: something near, and an object.
    color: of the camera.
  """

  path: CameraPath
  layers: tuple[Layer, ...]
  color: CameraColor


def random_scene_params(key: jax.Array, settings: SceneSettings) -> PhotoMotionParams:
  """Draws the camera's path, the layers and the camera's color; mean speeds are those over the whole sequence."""
  path_key, speed_key, near_key, object_key, color_key = jax.random.split(key, 5)
  statistics, crop_size = settings.statistics, settings.crop_size
  speed = statistics.draw_speed(speed_key)
  draw_path = lambda key, speed: camera_path.random_camera_path(
      key, speed_px_s=speed, duration_s=settings.num_subframes / SUBFRAME_RATE_HZ)
  path = draw_path(path_key, speed)
  near_key, parallax_key = jax.random.split(near_key)
  near = _random_layer(near_key, camera_path.nearer(path, draw_parallax(parallax_key)), crop_size,
                       statistics.share_in_crop(statistics.parallax_fraction, crop_size), _NEAR_RADIUS, _NEAR_DISTANCE)
  object_key, own_path_key, own_speed_key = jax.random.split(object_key, 3)
  own_speed = jnp.where(speed > 0, statistics.draw_own_speed(own_speed_key), 0.0)  # In a static scene nothing moves.
  own = _random_layer(object_key, draw_path(own_path_key, own_speed), crop_size,
                      statistics.share_in_crop(statistics.object_fraction, crop_size), _OBJECT_RADIUS, _OBJECT_DISTANCE)
  return PhotoMotionParams(path=path, layers=(near, own), color=settings.unprocessing.draw_color(color_key))


def _random_layer(key, path, crop_size, share, radius_range, distance_range):
  visible_key, angle_key, centre_key, radius_key, lobes_key = jax.random.split(key, 5)
  within = lambda key, limits: crop_size * jax.random.uniform(key, (), minval=limits[0], maxval=limits[1])
  angle = 2 * jnp.pi * jax.random.uniform(angle_key)
  return Layer(
      visible=jax.random.bernoulli(visible_key, share).astype(jnp.float32), path=path,
      centre_px=within(centre_key, distance_range) * jnp.stack([jnp.sin(angle), jnp.cos(angle)]),
      radius_px=within(radius_key, radius_range),
      lobes=_LOBE_SIZE * jax.random.truncated_normal(lobes_key, -1.5, 1.5, (2, _NUM_LOBES)))


def render_scene(
    photo: jax.Array, params: PhotoMotionParams, *, num_subframes: int, crop_size: int,
    layer_photo: jax.Array | None = None, unprocessing: Unprocessing = Unprocessing()) -> jax.Array:
  """Radiance `[num_subframes, crop_size / 2, crop_size / 2, 4]` in camera RAW, entry k at time (k + 1/2) / 1920 s.

  Args:
    photo: linear sRGB `[S, S, 3]` in [0, 1] with `SOURCE_DENSITY` pixels per mosaic pixel; its middle is the origin
      of scene positions.
    params: what was drawn.
    num_subframes: length of the sequence.
    crop_size: side of the crop in mosaic pixels, even.
    layer_photo: what the layers are cut from, like `photo`; without one there are none.
    unprocessing: what makes camera RGB of them.

  Raises:
    ValueError: a photo is not `[S, S, 3]`, or the crop side is odd.
  """
  check_crop_size(crop_size)
  for array in (photo,) if layer_photo is None else (photo, layer_photo):
    if array.ndim != 3 or array.shape[0] != array.shape[1] or array.shape[2] != 3:
      raise ValueError(f"A photo must be [S, S, 3], got shape {array.shape}. Cut a square with "
                       "photos.random_crop_downscale.")
  times_s = camera_path.subframe_times_s(num_subframes)
  # Unprocessed once, in linear light, before it is sampled thousands of times.
  planes = _camera_planes(photo, params.color, unprocessing)
  # A loop over subframes, as its inputs are computed once: XLA would fuse them into every sample's expression
  # (measured on CPU: 2.5 times slower, with an optimization barrier too).
  radiance = jax.lax.map(lambda camera: _sample_layer(planes, camera, crop_size),
                         camera_path.camera_affine(params.path, times_s))
  if layer_photo is None:
    return radiance
  layer_planes = _camera_planes(layer_photo, params.color, unprocessing)
  for layer in params.layers:
    radiance = jax.lax.cond(layer.visible > 0, _with_layer, lambda behind, *_: behind, radiance, layer, layer_planes,
                            times_s)
  return radiance


def _with_layer(radiance, layer, planes, times_s):
  """What is behind `[F, h, w, 4]`, covered where the layer is."""
  crop_size = 2 * radiance.shape[1]

  def covered(behind_and_camera):
    behind, camera = behind_and_camera
    coverage = _blob(layer, *_scene_positions(camera, crop_size))
    return behind + coverage * (_sample_layer(planes, camera, crop_size) - behind)

  return jax.lax.map(covered, (radiance, camera_path.camera_affine(layer.path, times_s)))


def check_crop_size(crop_size: int) -> None:
  """Raises ValueError unless the crop holds whole Bayer cells."""
  if crop_size < 2 or crop_size % 2:
    raise ValueError(f"crop_size must be even and at least 2 mosaic pixels, got {crop_size}.")


def motion_field(params: PhotoMotionParams, positions: jax.Array, start_s: jax.Array, end_s: jax.Array) -> jax.Array:
  """Exact flow `[..., 2]` (x, y) in mosaic px, until end_s, of what is seen at start_s at image `positions [..., 2]`
  (y, x)."""
  flow = camera_path.affine_motion(params.path, positions, start_s, end_s)
  for layer in params.layers:
    covered = layer.visible * _coverage_at(layer, positions, start_s)
    flow = jnp.where(covered[..., None] > 0.5, camera_path.affine_motion(layer.path, positions, start_s, end_s), flow)
  return flow[..., ::-1]


def sampled_motion(params: PhotoMotionParams, settings: SceneSettings) -> SampledMotion:
  """The motion of a scene from the instant that is restored to the end of its sequence."""
  return settings.sampled_motion(functools.partial(motion_field, params))


def _camera_planes(photo, color, unprocessing):
  """Linear sRGB `[S, S, 3]` -> camera RGB planes `[3, S, S]` in [0, 1]."""
  return jnp.moveaxis(unprocessing.camera_rgb(photo, color), -1, 0)


def _scene_positions(camera, crop_size):
  """Scene positions y and x, each `[h, w, 4]`, of all packed samples."""
  matrix, shift = camera
  y, x = camera_path.packed_positions(crop_size)
  return matrix[0, 0] * y + matrix[0, 1] * x + shift[0], matrix[1, 0] * y + matrix[1, 1] * x + shift[1]


def _sample_layer(planes, camera, crop_size):
  """Bilinear samples `[h, w, 4]` of camera RGB planes `[3, S, S]`, each Bayer plane from its own color.

  Written as one elementwise expression over the output: XLA fuses it, gathers included, into one pass. It does so
  only while every tap is named once (measured on CPU: 5 times slower otherwise).
  """
  side = planes.shape[-1]
  y, x = (_mirror(SOURCE_DENSITY * position + (side - 1) / 2, side)
          for position in _scene_positions(camera, crop_size))
  row, column = (jnp.clip(jnp.floor(position).astype(jnp.int32), 0, side - 2) for position in (y, x))
  y_share, x_share = y - row, x - column
  first = jnp.array(CHANNEL_OF_PLANE) * side**2 + row * side + column
  # The indices are in range by construction; the check would cost as much as the read.
  upper_left, upper_right, lower_left, lower_right = (
      planes.reshape(-1).at[first + step].get(mode="promise_in_bounds") for step in (0, 1, side, side + 1))
  upper = upper_left + x_share * (upper_right - upper_left)
  lower = lower_left + x_share * (lower_right - lower_left)
  return upper + y_share * (lower - upper)


def _mirror(position, length):
  """Folds positions into [0, length - 1], mirrored about the first and the last sample."""
  last = length - 1
  folded = position - 2 * last * jnp.floor(position / (2 * last))
  return last - jnp.abs(folded - last)


def _coverage_at(layer, positions, time_s):
  matrix, shift = camera_path.camera_affine(layer.path, jnp.asarray(time_s)[None])
  scene = camera_path.apply_matrix(matrix[0], positions) + shift[0]
  return _blob(layer, scene[..., 0], scene[..., 1])


def _blob(layer, y, x):
  """Coverage in [0, 1] at positions of the layer: 1 inside the outline, with a soft edge."""
  y, x = y - layer.centre_px[0], x - layer.centre_px[1]
  distance = jnp.sqrt(y**2 + x**2 + 1e-6)
  cosine, sine = x / distance, y / distance
  harmonic = cosine, sine
  outline = 1.0
  for k in range(_NUM_LOBES):  # cos and sin of 2a, 3a, 4a by the addition theorem.
    harmonic = (harmonic[0] * cosine - harmonic[1] * sine, harmonic[1] * cosine + harmonic[0] * sine)
    outline += layer.lobes[0, k] * harmonic[0] + layer.lobes[1, k] * harmonic[1]
  return jnp.clip((layer.radius_px * outline - distance) / _EDGE_PX + 0.5, 0, 1)


def _check_speed(settings):
  """Raises ValueError where half of the scenes would see their photo mirrored over and over again within a sequence."""
  speed, duration_s = settings.statistics.median_speed_px_s, settings.num_subframes / SUBFRAME_RATE_HZ
  canvas = CANVAS_TO_CROP * settings.crop_size
  if settings.statistics.static_fraction < 1 and speed * duration_s > 2 * canvas:
    raise ValueError(f"median_speed_px_s={speed:g} moves scenes by {speed * duration_s:.0f} px in a sequence of "
                     f"{duration_s:.2f} s, more than twice the {canvas} px of a photo that crops of crop_size="
                     f"{settings.crop_size} px see. Lower the speed or enlarge the crop.")


_draw_params = jax.jit(random_scene_params, static_argnames="settings")
_sampled_motion = jax.jit(sampled_motion, static_argnames="settings")
_render_photos = jax.jit(render_scene, static_argnames=("num_subframes", "crop_size", "unprocessing"))


class PhotoMotionScenes:
  """Photos in motion (`render_scene`). Scene i shows photo i modulo their number; all else is drawn from (seed, i)."""

  def __init__(self, photos: Sequence[Photo], settings: SceneSettings):
    """
    Args:
      photos: what scenes show.
      settings: of all scenes.

    Raises:
      ValueError: no photos, a photo smaller than the crop, or speeds at which scenes leave their photo for good.
    """
    if not photos:
      raise ValueError("No photos. Use builtin_photos() or photo_folder(path), and a split that is not empty.")
    check_large_enough(photos, settings.crop_size)
    _check_speed(settings)
    self.crop_size, self.num_subframes = settings.crop_size, settings.num_subframes
    self._photos, self._settings = list(photos), settings

  def __len__(self) -> int:
    return self._settings.num_scenes

  def params(self, index: int) -> PhotoMotionParams:
    """What was drawn for a scene: its exact motion and color."""
    return _draw_params(scene_key(_KIND, self._settings.seed, index), settings=self._settings.of_one_scene)

  def scene(self, index: int) -> Scene:
    check_index(index, len(self))
    params = self.params(index)
    rng = scene_rng(_KIND, self._settings.seed, index)
    background = self._photo(index)
    photo = self._crop(rng, background)
    # The second photo is needed only where it is seen; passing the first keeps one compiled program.
    layered = any(layer.visible for layer in params.layers)
    layer_photo = self._crop(rng, self._other(rng, background)) if layered else photo
    radiance = _render_photos(photo, params, num_subframes=self.num_subframes, crop_size=self.crop_size,
                              layer_photo=layer_photo, unprocessing=self._settings.unprocessing)
    motion = None if self._settings.target_index is None else _sampled_motion(
        params, settings=self._settings.of_one_scene)
    return Scene(radiance=radiance, color=params.color, scene_id=jnp.asarray(index, jnp.int32), motion=motion)

  def group(self, index: int) -> str:
    """The group of the photo behind a scene."""
    check_index(index, len(self))
    return self._photo(index).group

  def made_of(self) -> str:
    """A fingerprint of what scenes depend on, the photos included."""
    photos = [[photo.name, photo.path.stat().st_size] for photo in self._photos]
    return made_of(_KIND, self._settings, photos=photos)

  def _photo(self, index):
    return self._photos[index % len(self._photos)]

  def _crop(self, rng, photo):
    return random_crop_downscale(rng, photo.pixels(), crop_size=self.crop_size)

  def _other(self, rng, photo):
    """A photo of another group, if there is one."""
    others = [other for other in self._photos if other.group != photo.group] or self._photos
    return others[rng.integers(len(others))]


def moving_photo(photos: Sequence[Photo], crop_size: int, speed_px_s: float, timing: BurstTiming, *,
                 seed: int = 0) -> Scene:
  """One photo in motion, long enough for every burst of a timing: to try things out.

  Args:
    photos: of which the seed chooses one, of those that are large enough.
    crop_size: side, mosaic px.
    speed_px_s: of the camera in the median, mosaic px/s; 0: nothing moves.
    timing: of the bursts.
    seed: of all that is drawn.

  Raises:
    ValueError: every photo is smaller than the crop, the speed leaves it, or an argument makes no sense.
  """
  if seed < 0:
    raise ValueError(f"seed={seed} must be 0 or more.")
  large = [photo for photo in photos if min(photo.size) >= crop_size]
  if not large:
    raise ValueError(f"None of {len(photos)} photos has {crop_size} px on both sides. Give larger ones, or a smaller "
                     "crop.")
  statistics = MotionStatistics(static_fraction=float(speed_px_s == 0), slow_fraction=0.0,
                                median_speed_px_s=speed_px_s or 1.0)  # Of no scene, where nothing moves.
  settings = SceneSettings(crop_size=crop_size, num_subframes=timing.num_subframes(_SPARE * timing.budget_s),
                           num_scenes=seed + 1, seed=seed, statistics=statistics)
  return PhotoMotionScenes(large, settings).scene(seed)
