"""Laws of the camera's path."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging import bayer
from debir_jax.scenes import camera_path


@functools.cache
def _paths(speed_px_s=150.0, count=16):
  draw = functools.partial(camera_path.random_camera_path, speed_px_s=speed_px_s, duration_s=0.18)
  return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), count))


def _affines(paths, times_s):
  return jax.vmap(lambda path: camera_path.camera_affine(path, times_s))(paths)


def test_mean_speed_of_the_shift_is_as_stated():
  """The length of the path over its duration is the speed asked for, to 1 %."""
  _, shift = _affines(_paths(), jnp.linspace(0, 0.18, 2001))
  length = jnp.linalg.norm(jnp.diff(shift, axis=1), axis=-1).sum(axis=1)
  np.testing.assert_allclose(length / 0.18, 150, rtol=0.01)


def test_path_is_centred():
  """The shift has mean 0 over the sequence, so that a scene's middle is what the camera looks at."""
  _, shift = _affines(_paths(), (jnp.arange(1000) + 0.5) / 1000 * 0.18)
  np.testing.assert_allclose(shift.mean(axis=1), 0, atol=0.01)


def test_rotation_and_zoom_keep_their_shares():
  """128 px from the centre, whatever the crop, rotation and zoom move at most 0.3 and 0.15 times as fast as the shift.
  """
  matrix, _ = _affines(_paths(), jnp.linspace(0, 0.18, 2001))
  upright = jnp.einsum("nij,ntik->ntjk", _paths().orientation, matrix)
  angle = jnp.arctan2(upright[..., 1, 0], upright[..., 0, 0])
  log_zoom = 0.5 * jnp.log(jnp.abs(jnp.linalg.det(matrix)))
  speed = lambda quantity: jnp.abs(jnp.diff(quantity, axis=1)).sum(axis=1) / 0.18 * 128
  assert 10 < speed(angle).max() <= 0.3 * 150 * 1.01
  assert 5 < speed(log_zoom).max() <= 0.15 * 150 * 1.01


def test_speed_zero_is_a_camera_at_rest():
  """Every time gives the same affine map, an orientation of the square without shift."""
  paths = _paths(speed_px_s=0.0)
  matrix, shift = _affines(paths, jnp.linspace(0, 0.18, 7))
  np.testing.assert_array_equal(shift, 0)
  np.testing.assert_array_equal(matrix, jnp.broadcast_to(paths.orientation[:, None], matrix.shape))


def test_all_eight_orientations_occur():
  """Each is a signed permutation; in many draws all eight appear."""
  orientations = np.asarray(_paths(count=200).orientation)
  np.testing.assert_array_equal(np.abs(orientations).sum(axis=1), 1)
  assert len({tuple(matrix.ravel()) for matrix in orientations}) == 8


def test_motion_forth_and_back_is_none(x64):
  """What moved from a to b moves from b to a by the opposite displacement."""
  path = jax.tree.map(lambda leaf: leaf[3].astype(jnp.float64), _paths())
  positions = camera_path.pixel_positions(6)
  there = camera_path.affine_motion(path, positions, 0.01, 0.1)
  back = camera_path.affine_motion(path, positions + there, 0.1, 0.01)
  np.testing.assert_allclose(back, -there, atol=1e-9)
  assert jnp.abs(there).max() > 1


def test_packed_positions_are_those_of_the_mosaic():
  """Packing the full-resolution positions gives the packed ones."""
  full = camera_path.pixel_positions(8)
  y, x = camera_path.packed_positions(8)
  np.testing.assert_array_equal(jnp.broadcast_to(y, (4, 4, 4)), bayer.pack(full[..., 0]))
  np.testing.assert_array_equal(jnp.broadcast_to(x, (4, 4, 4)), bayer.pack(full[..., 1]))


def test_what_is_nearer_moves_faster_the_same_way():
  """Shifts are larger by the factor at every instant; rotation and zoom stay."""
  times_s = jnp.linspace(0, 0.18, 5)
  path = jax.tree.map(lambda leaf: leaf[0], _paths())
  matrix, shift = camera_path.camera_affine(path, times_s)
  near_matrix, near_shift = camera_path.camera_affine(camera_path.nearer(path, 1.5), times_s)
  np.testing.assert_allclose(near_matrix, matrix, rtol=1e-6)
  np.testing.assert_allclose(near_shift, 1.5 * shift, rtol=1e-5, atol=1e-5)


def test_cells_lie_in_the_middle_of_their_samples():
  """The mean position of a cell's four samples is the cell's."""
  packed = jnp.stack([jnp.broadcast_to(axis, (4, 4, 4)) for axis in camera_path.packed_positions(8)], -1)
  np.testing.assert_allclose(camera_path.cell_positions(8), packed.mean(2))
