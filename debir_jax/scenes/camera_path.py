"""A camera that moves like a hand holding it: smooth, random, and known exactly at every instant.

Axis order is (y, x). Image positions p are mosaic pixels from the centre of the crop; scene positions q are pixels
of the same size from the centre of the scene. At time t the camera sees, at p, the scene at

  q = orientation @ (exp(log_zoom(t)) * rotation(t) @ p) + shift(t)

where shift, rotation and log_zoom are sums of a few slow sinusoids with mean 0 over the sequence.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.types import SUBFRAME_RATE_HZ

_NUM_SINUSOIDS = 3
_FREQUENCY_RANGE_HZ = (0.5, 6.0)  # Pans and hand tremor.
_NUM_MEASURED_TIMES = 128  # Steps in which means over the sequence are taken.

# The speed of what rotation (zoom) moves at this distance from the centre, up to this part of the shift's speed. A
# small crop of a frame turns as fast as a large one: less of its motion is relative (`experiments/scene_motion.py`).
_ROTATION_SHARE, _ZOOM_SHARE, _AT_PX = 0.3, 0.15, 128.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraPath:
  """Sums of K sinusoids for four quantities: shift in y and x (px), rotation (rad), log zoom.

  Attributes:
    amplitude, frequency_hz, phase_rad: `[4, K]`.
    offset: `[4]`, added so that each quantity has mean 0 over the sequence.
    orientation: `[2, 2]`, one of the eight rotations and mirrorings of the square.
  """

  amplitude: jax.Array
  frequency_hz: jax.Array
  phase_rad: jax.Array
  offset: jax.Array
  orientation: jax.Array


def subframe_times_s(num_subframes: int) -> jax.Array:
  """Times `[num_subframes]` that radiance entries are rendered at: the middle of each interval of 1/1920 s."""
  return (jnp.arange(num_subframes) + 0.5) / SUBFRAME_RATE_HZ


def random_camera_path(key: jax.Array, *, speed_px_s: jax.Array, duration_s: float) -> CameraPath:
  """A path whose shift has this mean speed over the duration; the camera stands still if it is 0.

  Args:
    key: a PRNG key.
    speed_px_s: mean speed of the crop's centre over the scene, in mosaic px/s.
    duration_s: length of the sequence.
  """
  velocity_key, sinusoid_key, share_key, orientation_key = jax.random.split(key, 4)
  shape = (4, _NUM_SINUSOIDS)
  lowest, highest = _FREQUENCY_RANGE_HZ
  log_frequency, phase = jax.random.uniform(sinusoid_key, (2, *shape))
  frequency_hz, phase_rad = lowest * (highest / lowest)**log_frequency, 2 * jnp.pi * phase
  velocity = jax.random.normal(velocity_key, shape)

  # Each quantity is scaled to its mean rate over the sequence; rotation and zoom come in px/s at _AT_PX.
  times_s = (jnp.arange(_NUM_MEASURED_TIMES) + 0.5) / _NUM_MEASURED_TIMES * duration_s
  rates = _sum_of_sinusoids(velocity, frequency_hz, phase_rad + jnp.pi / 2, times_s)
  shares = jax.random.uniform(share_key, (2,)) * jnp.array([_ROTATION_SHARE, _ZOOM_SHARE]) / _AT_PX
  shift_scale = 1 / jnp.mean(jnp.hypot(rates[:, 0], rates[:, 1]))
  turn_scale = shares / jnp.mean(jnp.abs(rates[:, 2:]), axis=0)
  scale = speed_px_s * jnp.concatenate([jnp.stack([shift_scale, shift_scale]), turn_scale])

  amplitude = scale[:, None] * velocity / (2 * jnp.pi * frequency_hz)
  offset = -jnp.mean(_sum_of_sinusoids(amplitude, frequency_hz, phase_rad, times_s), axis=0)
  return CameraPath(amplitude=amplitude, frequency_hz=frequency_hz, phase_rad=phase_rad, offset=offset,
                    orientation=_random_orientation(orientation_key))


def nearer(path: CameraPath, parallax: jax.Array) -> CameraPath:
  """The path relative to what is nearer than the rest: the same rotation and zoom, shifts by so much larger."""
  factor = jnp.array([1.0, 1.0, 0.0, 0.0]) * (parallax - 1) + 1
  return dataclasses.replace(path, amplitude=path.amplitude * factor[:, None], offset=path.offset * factor)


def camera_affine(path: CameraPath, times_s: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Matrix `[T, 2, 2]` and shift `[T, 2]` at times `[T]`: what is seen at p is the scene at matrix @ p + shift."""
  shift_y, shift_x, angle, log_zoom = jnp.moveaxis(
      path.offset + _sum_of_sinusoids(path.amplitude, path.frequency_hz, path.phase_rad, times_s), -1, 0)
  cosine, sine = jnp.exp(log_zoom) * jnp.cos(angle), jnp.exp(log_zoom) * jnp.sin(angle)
  turn = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)
  matrix = jnp.sum(path.orientation[:, :, None] * turn[..., None, :, :], axis=-2)
  return matrix, jnp.stack([shift_y, shift_x], axis=-1)


def affine_motion(path: CameraPath, positions: jax.Array, start_s: jax.Array, end_s: jax.Array) -> jax.Array:
  """Displacement (y, x) in px, from start_s to end_s, of the scene points seen at image `positions [..., 2]`."""
  matrices, shifts = camera_affine(path, jnp.stack([jnp.asarray(start_s), jnp.asarray(end_s)]))
  scene = apply_matrix(matrices[0], positions) + shifts[0]
  return apply_matrix(jnp.linalg.inv(matrices[1]), scene - shifts[1]) - positions


def pixel_positions(crop_size: int) -> jax.Array:
  """Image positions (y, x) of all mosaic pixels, `[crop_size, crop_size, 2]`."""
  line = jnp.arange(crop_size) - (crop_size - 1) / 2
  return jnp.stack(jnp.meshgrid(line, line, indexing="ij"), axis=-1)


def cell_positions(crop_size: int) -> jax.Array:
  """Image positions (y, x) of the middles of all Bayer cells, `[crop_size / 2, crop_size / 2, 2]`."""
  line = jnp.arange(0.5, crop_size, 2) - (crop_size - 1) / 2
  return jnp.stack(jnp.meshgrid(line, line, indexing="ij"), axis=-1)


def packed_positions(crop_size: int) -> tuple[jax.Array, jax.Array]:
  """Image positions of the packed samples: y `[h, 1, 4]` and x `[1, w, 4]`."""
  line = jnp.arange(0, crop_size, 2) - (crop_size - 1) / 2
  return line[:, None, None] + jnp.array([0, 0, 1, 1]), line[None, :, None] + jnp.array([0, 1, 0, 1])


def apply_matrix(matrix: jax.Array, positions: jax.Array) -> jax.Array:
  """matrix @ position for positions `[..., 2]`, in full precision also on accelerators."""
  return positions[..., 0:1] * matrix[:, 0] + positions[..., 1:2] * matrix[:, 1]


def _sum_of_sinusoids(amplitude, frequency_hz, phase_rad, times_s):
  """Sums over the last axis of `[4, K]` at times `[T]`: `[T, 4]`."""
  angles = 2 * jnp.pi * frequency_hz * times_s[:, None, None] + phase_rad
  return jnp.sum(amplitude * jnp.sin(angles), axis=-1)


def _random_orientation(key):
  flip_y, flip_x, swap = jax.random.bernoulli(key, shape=(3,))
  signs = jnp.diag(1.0 - 2.0 * jnp.stack([flip_y, flip_x]))
  return jnp.where(swap, signs[::-1], signs)
