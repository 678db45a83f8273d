"""Laws of photos in motion: what is rendered is the photo along the stated path, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import bayer
from debir_jax.scenes import MotionStatistics, SceneSettings, builtin_photos, camera_path, photo_motion
from debir_jax.types import CameraColor

_CROP = 16
_SUBFRAMES = 9
_SIDE = 64  # Of the source: 32 mosaic pixels.
_NEUTRAL = CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3))


def _settings(**statistics):
  statistics = MotionStatistics(**dict(parallax_fraction=0.0, object_fraction=0.0) | statistics)
  return SceneSettings(crop_size=_CROP, num_subframes=_SUBFRAMES, num_scenes=1, statistics=statistics, target_index=1)


def _params(seed, speed_px_s=600.0, **statistics):
  """Neutral color, and a speed fast enough to move several pixels in nine subframes."""
  params = photo_motion.random_scene_params(jax.random.key(seed), _settings(**statistics))
  path = camera_path.random_camera_path(
      jax.random.key(seed), speed_px_s=speed_px_s, duration_s=_SUBFRAMES / 1920)
  return dataclasses.replace(params, path=path, color=_NEUTRAL)


def _scene_function(y, x):
  """A smooth color image over scene positions, in mosaic px from the middle."""
  return np.stack([0.5 + 0.3 * np.sin(0.2 * y + 0.1 * x), 0.5 + 0.3 * np.cos(0.15 * x - 0.1 * y),
                   0.4 + 0.2 * np.sin(0.1 * y - 0.2 * x + 1)], axis=-1)


@pytest.fixture(scope="module")
def photo():
  line = (np.arange(_SIDE) - (_SIDE - 1) / 2) / 2
  return jnp.asarray(_scene_function(*np.meshgrid(line, line, indexing="ij")), jnp.float32)


_render = jax.jit(photo_motion.render_scene, static_argnames=("num_subframes", "crop_size"))


def _rendered(photo, params, **options):
  return np.asarray(_render(photo, params, num_subframes=_SUBFRAMES, crop_size=_CROP, **options))


def _expected(path, function=_scene_function):
  """The closed form, one subframe after the other at full resolution, then mosaicked."""
  amplitude, frequency, phase, offset, orientation = (np.asarray(leaf, np.float64) for leaf in (
      path.amplitude, path.frequency_hz, path.phase_rad, path.offset, path.orientation))
  line = np.arange(_CROP) - (_CROP - 1) / 2
  positions = np.stack(np.meshgrid(line, line, indexing="ij"))
  frames = []
  for k in range(_SUBFRAMES):
    shift_y, shift_x, angle, log_zoom = offset + np.sum(
        amplitude * np.sin(2 * np.pi * frequency * (k + 0.5) / 1920 + phase), axis=1)
    turn = np.exp(log_zoom) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y, x = np.tensordot(orientation @ turn, positions, axes=1) + np.array([shift_y, shift_x])[:, None, None]
    frames.append(bayer.pack(bayer.mosaic(jnp.asarray(function(y, x)))))
  return np.stack(frames)


@pytest.mark.parametrize("seed", range(4))
def test_scene_follows_its_path(photo, seed):
  """Each packed sample equals the analytic image at the closed-form position, to the error of interpolation."""
  params = _params(seed)
  radiance = _rendered(photo, params)
  assert radiance.shape == (_SUBFRAMES, _CROP // 2, _CROP // 2, 4)
  assert np.abs(radiance[-1] - radiance[0]).max() > 0.05  # It moves.
  np.testing.assert_allclose(radiance, _expected(params.path), atol=1e-3)


def test_static_scene_is_static(photo):
  """At speed 0 all subframes are equal, bit for bit."""
  radiance = _rendered(photo, _params(0, speed_px_s=0.0))
  np.testing.assert_array_equal(radiance, np.broadcast_to(radiance[0], radiance.shape))


def test_share_of_static_scenes_includes_the_layers():
  """With static_fraction 1 neither the camera nor a layer moves."""
  settings = _settings(static_fraction=1.0, parallax_fraction=1.0, object_fraction=1.0)
  params = photo_motion.random_scene_params(jax.random.key(0), settings)
  assert [layer.visible for layer in params.layers] == [1, 1]
  assert not photo_motion.motion_field(params, camera_path.pixel_positions(_CROP), 0.0, 0.005).any()


def test_layers_move_as_stated():
  """The near one along the camera's way, faster by its parallax; the object on its own."""
  params = photo_motion.random_scene_params(jax.random.key(3), _settings(static_fraction=0.0, parallax_fraction=1.0))
  near, own = params.layers
  assert near.visible == 1 and own.visible == 0
  factor = near.path.amplitude[:2] / params.path.amplitude[:2]
  assert 1.25 <= factor.min() and factor.max() <= 2
  np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-5)
  assert np.ptp(own.path.amplitude[:2] / params.path.amplitude[:2]) > 0.5


def test_scene_is_mirrored_beyond_the_photo(photo):
  """A camera that leaves the photo sees it mirrored about its outermost pixels."""
  params = _params(1)
  far = dataclasses.replace(params.path, offset=params.path.offset + jnp.array([26.0, -13.0, 0, 0]))
  last = (_SIDE - 1) / 4  # Scene position of the outermost source pixels.
  fold = lambda position: last - np.abs(np.mod(position + last, 4 * last) - 2 * last) + 0.0

  def mirrored(y, x):
    return _scene_function(fold(y), fold(x))
  np.testing.assert_allclose(_rendered(photo, dataclasses.replace(params, path=far)), _expected(far, mirrored),
                             atol=1e-2)


def test_photo_is_unprocessed_to_camera_raw(photo):
  """With a camera's color, each plane is the camera's channel of the neutral rendering's RGB (here: constant)."""
  params = photo_motion.random_scene_params(jax.random.key(5), _settings())
  grey = jnp.full_like(photo, 0.5)
  radiance = _rendered(grey, params)
  expected = 0.5 / np.asarray(params.color.white_balance)[[0, 1, 1, 2]]
  np.testing.assert_allclose(radiance, np.broadcast_to(expected, radiance.shape), atol=1e-5)


def _with_object(seed, **changes):
  params = _params(seed, object_fraction=1.0)
  near, own = params.layers
  return dataclasses.replace(params, layers=(near, dataclasses.replace(own, **changes)))


def test_invisible_layers_change_nothing(photo):
  """Without a visible layer the result is that without its photo, bit for bit."""
  params = _with_object(2, visible=jnp.zeros(()))
  np.testing.assert_array_equal(_rendered(photo, params, layer_photo=1 - photo), _rendered(photo, params))


def test_a_near_layer_comes_in_from_a_side(photo):
  """It covers a part of the image, and what is in front of both is the object."""
  black, white = jnp.zeros_like(photo), jnp.ones_like(photo)
  params = [_params(seed, parallax_fraction=1.0) for seed in range(12)]
  covered = [_rendered(black, each, layer_photo=white).mean() for each in params]
  assert 0.1 < np.mean(covered) < 0.7 and sum(0.02 < share < 0.98 for share in covered) > 6
  both = _params(0, parallax_fraction=1.0, object_fraction=1.0)
  near_only = dataclasses.replace(both, layers=both.layers[:1])
  object_only = dataclasses.replace(both, layers=both.layers[1:])
  behind, front = _rendered(photo, near_only, layer_photo=white), _rendered(black, object_only, layer_photo=white)
  np.testing.assert_allclose(_rendered(photo, both, layer_photo=white), behind + front * (1 - behind), atol=1e-6)


def test_object_covers_its_disc_and_moves_along_its_path(photo):
  """A white disc without lobes: its centroid in each subframe is where its path takes it; around it is the scene."""
  params = _with_object(3, radius_px=jnp.float32(4), lobes=jnp.zeros((2, 3)), centre_px=jnp.array([0.5, -0.5]),
                            path=camera_path.random_camera_path(
                                jax.random.key(9), speed_px_s=500.0, duration_s=_SUBFRAMES / 1920))
  black = jnp.zeros_like(photo)
  coverage = _rendered(black, params, layer_photo=jnp.ones_like(photo))
  line = np.arange(_CROP) - (_CROP - 1) / 2
  centroids = []
  for frame in np.asarray(bayer.unpack(jnp.asarray(coverage))):
    centroids.append([(frame.sum(axis=1 - axis) * line).sum() / frame.sum() for axis in (0, 1)])
  matrix, shift = camera_path.camera_affine(params.layers[1].path, camera_path.subframe_times_s(_SUBFRAMES))
  expected = [np.linalg.solve(a, np.array([0.5, -0.5]) - b) for a, b in zip(matrix, shift)]
  np.testing.assert_allclose(centroids, expected, atol=0.05)
  assert np.ptp(expected, axis=0).max() > 1
  together = _rendered(photo, params, layer_photo=jnp.ones_like(photo))
  np.testing.assert_allclose(together, (1 - coverage) * _rendered(photo, params) + coverage, atol=1e-6)


def test_motion_field_says_where_a_pixel_went(photo):
  """The analytic image at p and time a equals that at p + motion and time b: the same scene position is seen."""
  params = _params(4)
  start_s, end_s = 0.5 / 1920, 8.5 / 1920
  positions = camera_path.pixel_positions(_CROP)
  flow = photo_motion.motion_field(params, positions, start_s, end_s)
  matrix, shift = camera_path.camera_affine(params.path, jnp.array([start_s, end_s]))
  seen = [camera_path.apply_matrix(matrix[i], where) + shift[i]
          for i, where in enumerate((positions, positions + flow[..., ::-1]))]
  np.testing.assert_allclose(seen[0], seen[1], atol=1e-4)
  length = jnp.linalg.norm(flow, axis=-1).mean()
  assert length == pytest.approx(600 * 8 / 1920, rel=0.25)  # Close to the speed: the path hardly bends in 4 ms.


def test_motion_field_follows_the_visible_layer():
  """Inside the object it is the object's motion, outside the camera's."""
  params = _with_object(5, radius_px=jnp.float32(4), lobes=jnp.zeros((2, 3)), centre_px=jnp.zeros(2))
  at = camera_path.pixel_positions(_CROP), 0.5 / 1920, 3.5 / 1920
  flow = photo_motion.motion_field(params, *at)
  own, cameras = (camera_path.affine_motion(path, *at)[..., ::-1] for path in (params.layers[1].path, params.path))
  np.testing.assert_allclose(flow[8, 8], own[8, 8], atol=1e-6)
  np.testing.assert_allclose(flow[0, 0], cameras[0, 0], atol=1e-6)
  assert jnp.abs(own - cameras).max() > 0.05


def test_a_scene_tells_its_motion_from_the_target_on():
  """Halved, as it counts Bayer cells; at the instants it is that of the closed form, in between close to it."""
  settings, params = _settings(), _params(4)
  motion = photo_motion.sampled_motion(params, settings)
  positions, start_s = camera_path.cell_positions(_CROP), 1.5 / 1920
  assert motion.flow_px.shape == (2, _CROP // 2, _CROP // 2, 2) and jnp.abs(motion.flow_px[0]).max() < 1e-5
  for elapsed_s in (0.0, 8 / 1920, 3.3 / 1920):
    exact = photo_motion.motion_field(params, positions, start_s, start_s + elapsed_s) / 2
    np.testing.assert_allclose(motion.at(jnp.array([elapsed_s]))[0], exact, atol=0.03)
  assert jnp.abs(exact).max() > 0.3


def test_plain_and_vmapped_rendering_agree_with_jitted(photo):
  """One body, three ways."""
  params = _params(6, parallax_fraction=1.0, object_fraction=1.0)
  render = lambda params: photo_motion.render_scene(
      photo, params, num_subframes=3, crop_size=_CROP, layer_photo=1 - photo)
  jitted = jax.jit(render)(params)
  np.testing.assert_allclose(render(params), jitted, atol=1e-5)
  np.testing.assert_allclose(jax.vmap(render)(jax.tree.map(lambda leaf: leaf[None], params))[0], jitted, atol=1e-5)


def test_speeds_at_which_scenes_leave_their_photo_for_good_are_named():
  """With the way, and what would do."""
  settings = dataclasses.replace(_settings(median_speed_px_s=20_000.0), num_subframes=192)
  with pytest.raises(ValueError, match="=20000 moves scenes by 2000 px in a sequence of 0.10 s.*Lower the speed"):
    photo_motion.PhotoMotionScenes(builtin_photos(), settings)
  photo_motion.PhotoMotionScenes(builtin_photos(), dataclasses.replace(
      settings, statistics=MotionStatistics(static_fraction=1.0, median_speed_px_s=20_000.0)))


@pytest.mark.parametrize("shape, crop_size, message", [
    ((8, 8, 4), 4, r"\[S, S, 3\], got shape \(8, 8, 4\)"), ((8, 9, 3), 4, r"\(8, 9, 3\)"),
    ((8, 8, 3), 5, "crop_size must be even.*got 5")])
def test_wrong_input_is_named(shape, crop_size, message):
  """A wrong photo shape or an odd crop raises ValueError that shows it."""
  with pytest.raises(ValueError, match=message):
    photo_motion.render_scene(jnp.zeros(shape), None, num_subframes=2, crop_size=crop_size)
