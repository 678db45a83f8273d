"""Laws of the moving dead leaves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import bayer
from debir_jax.scenes import MotionStatistics, SceneSettings, camera_path, dead_leaves
from debir_jax.types import CameraColor

_CROP = 24  # One whole tile of 16 pixels and one in part.
_SUBFRAMES = 40  # One whole chunk of 32 subframes and one in part.
_NEUTRAL = CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3))
_SIZES = dict(num_subframes=_SUBFRAMES, crop_size=_CROP)

_draw = jax.jit(dead_leaves.random_scene_params, static_argnames=("settings", "num_leaves"))
_render = jax.jit(dead_leaves.render_scene, static_argnames=("num_subframes", "crop_size"))


def _settings(static_fraction=0.0, **fields):
  statistics = MotionStatistics(static_fraction=static_fraction, slow_fraction=0.0, median_speed_px_s=360.0)
  return SceneSettings(**dict(num_scenes=1, statistics=statistics, **_SIZES) | fields)


def _drawn(seed, static_fraction=0.0):
  params = _draw(jax.random.key(seed), settings=_settings(static_fraction), num_leaves=20)
  return dataclasses.replace(params, color=_NEUTRAL)


def _painted(params):
  """The obvious way: every leaf over every pixel of every subframe, back to front, RGB, then mosaicked."""
  leaves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params.leaves)
  times_s = (np.arange(_SUBFRAMES) + 0.5) / 1920
  matrices, shifts = camera_path.camera_affine(params.path, jnp.asarray(times_s, jnp.float32))
  line = np.arange(_CROP) - (_CROP - 1) / 2
  positions = np.stack(np.meshgrid(line, line, indexing="ij"))
  frames = []
  for time_s, matrix, shift in zip(times_s, matrices, shifts):
    image = np.broadcast_to(np.asarray(params.background), (_CROP, _CROP, 3))
    scene = np.tensordot(np.asarray(matrix, np.float64), positions, axes=1) + np.asarray(shift)[:, None, None]
    for i in reversed(range(len(leaves.radius_px))):
      offset = scene - (leaves.centre_px[i] + time_s * leaves.velocity_px_s[i])[:, None, None]
      u, v = np.tensordot(leaves.frame[i], offset, axes=1)**2
      level = np.maximum(u, v) + leaves.roundness[i] * np.minimum(u, v)
      coverage = np.clip(0.5 + (1 - level) * leaves.radius_px[i] / 2.4, 0, 1)[..., None]
      cycles = np.tensordot(leaves.wave_per_px[i], offset, axes=1) + leaves.wave_phase[i]
      within = cycles - np.round(cycles)
      shade = 1 + leaves.contrast[i] * 16 * within * (0.5 - np.abs(within))
      image = (1 - coverage) * image + coverage * np.minimum(leaves.rgb[i] * shade[..., None], 1)
    frames.append(bayer.pack(bayer.mosaic(jnp.asarray(image))))
  return np.stack(frames)


@pytest.mark.parametrize("seed", range(3))
def test_scene_equals_the_obvious_painter(seed):
  """Cells and lists change nothing: no seams, no missing leaf, the right order, in every subframe."""
  params = _drawn(seed)
  radiance = _render(params, **_SIZES)
  assert radiance.shape == (_SUBFRAMES, _CROP // 2, _CROP // 2, 4)
  assert np.abs(radiance[-1] - radiance[0]).max() > 0.05
  np.testing.assert_allclose(radiance, _painted(params), atol=2e-3)


def test_static_scene_is_static():
  """With static_fraction 1 all subframes are equal."""
  radiance = _render(_drawn(0, static_fraction=1.0), **_SIZES)
  np.testing.assert_allclose(radiance, jnp.broadcast_to(radiance[0], radiance.shape), atol=1e-6)


def test_single_leaf_moves_at_its_velocity():
  """The centroid of a white disc on black under a camera at rest advances by velocity x time."""
  params = _drawn(1, static_fraction=1.0)
  leaves = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:])), params.leaves)
  leaves = dataclasses.replace(
      leaves, centre_px=jnp.array([[-3.0, 2.0]]), velocity_px_s=jnp.array([[240.0, -100.0]]),
      frame=jnp.eye(2)[None] / 5, radius_px=jnp.array([5.0]), roundness=jnp.ones(1), rgb=jnp.ones((1, 3)))
  path = dataclasses.replace(params.path, orientation=jnp.eye(2))
  params = dataclasses.replace(params, leaves=leaves, path=path, background=jnp.zeros(3))
  line = np.arange(_CROP) - (_CROP - 1) / 2
  frames = np.asarray(bayer.unpack(_render(params, **_SIZES)))
  centroids = [[(frame.sum(axis=1 - axis) * line).sum() / frame.sum() for axis in (0, 1)] for frame in frames]
  times_s = (np.arange(_SUBFRAMES) + 0.5) / 1920
  np.testing.assert_allclose(centroids, np.array([-3, 2]) + times_s[:, None] * np.array([240, -100]), atol=0.03)
  np.testing.assert_allclose(frames.sum(axis=(1, 2)), np.pi * 25, rtol=0.03)


def test_crowded_scene_has_no_seams():
  """A leaf that meets one full list is painted nowhere.

  Forty small discs fill the first tile's list; the large ones behind reach into all four tiles and must be missing.
  """
  params = _drawn(1, static_fraction=1.0)
  leaves = jax.tree.map(lambda leaf: jnp.zeros((60, *leaf.shape[1:])), params.leaves)
  in_crowd = jnp.arange(60) < 40
  radius = jnp.where(in_crowd, 2.0, 7.0)
  leaves = dataclasses.replace(
      leaves, centre_px=jnp.where(in_crowd[:, None], -6.0, 0.0) * jnp.ones(2), frame=jnp.eye(2) / radius[:, None, None],
      radius_px=radius, roundness=jnp.ones(60), rgb=jnp.full((60, 3), 0.5))
  params = dataclasses.replace(params, leaves=leaves, background=jnp.zeros(3),
                               path=dataclasses.replace(params.path, orientation=jnp.eye(2)))
  mosaic = np.asarray(bayer.unpack(_render(params, **_SIZES)[0]))
  alone = dataclasses.replace(params, leaves=jax.tree.map(lambda leaf: leaf[:40], leaves))
  np.testing.assert_allclose(mosaic, bayer.unpack(_render(alone, **_SIZES)[0]), atol=1e-6)


def test_a_scene_tells_the_motion_of_the_leaf_in_front():
  """One leaf and a camera at rest: inside it flow is its velocity, outside it 0; leaves that are left out do not count.
  """
  params = _drawn(1, static_fraction=1.0)
  leaves = jax.tree.map(lambda leaf: leaf[:1], params.leaves)
  leaves = dataclasses.replace(leaves, centre_px=jnp.zeros((1, 2)), velocity_px_s=jnp.array([[0.0, 200.0]]),
                               frame=jnp.eye(2)[None] / 5, radius_px=jnp.array([5.0]), roundness=jnp.ones(1))
  path = dataclasses.replace(params.path, orientation=jnp.eye(2))
  params = dataclasses.replace(params, path=path, leaves=leaves)
  motion = dead_leaves.sampled_motion(params, _settings(target_index=0))
  np.testing.assert_allclose(motion.flow_px[3, 6, 6], [200 * 24 / 1920 / 2, 0], atol=1e-4)
  np.testing.assert_array_equal(motion.flow_px[3, 0, 0], 0)
  hidden = dead_leaves.motion_field(params, jnp.zeros(1, bool), camera_path.cell_positions(_CROP), 0.0, 0.1)
  assert not np.any(hidden)


def test_flow_of_leaves_says_where_a_pixel_went():
  """Each leaf in a color of its own: what a cell shows is shown where its flow leads, unless it is covered then."""
  params = dataclasses.replace(_drawn(2), background=jnp.zeros(3))
  leaves = dataclasses.replace(params.leaves, rgb=jnp.linspace(0.2, 0.9, 20)[:, None] * jnp.ones(3),
                               contrast=jnp.zeros(20))
  params = dataclasses.replace(params, leaves=leaves)
  radiance = np.asarray(_render(params, **_SIZES))
  flow = np.asarray(dead_leaves.sampled_motion(params, _settings(target_index=0)).flow_px[2])
  rows, columns = np.mgrid[:_CROP // 2, :_CROP // 2]
  to_row, to_column = (np.round(place).astype(int) for place in (rows + flow[..., 1], columns + flow[..., 0]))
  inside = (to_row >= 0) & (to_row < _CROP // 2) & (to_column >= 0) & (to_column < _CROP // 2)
  before, after = radiance[0][rows[inside], columns[inside]], radiance[16][to_row[inside], to_column[inside]]
  assert np.abs(after - before).mean() < 0.7 * np.abs(radiance[16] - radiance[0])[inside].mean()


def test_radii_follow_the_power_law():
  """The distribution function of r^-3 between its limits, to 2 %."""
  radii = dead_leaves.power_law_radii(jax.random.key(0), 20_000, smallest=2.0, largest=20.0)
  assert radii.min() >= 2 and radii.max() <= 20.001
  for radius in (3.0, 5.0, 10.0):
    exact = (2.0**-2 - radius**-2) / (2.0**-2 - 20.0**-2)
    assert np.mean(radii < radius) == pytest.approx(exact, abs=0.02)


def test_colors_are_in_range_and_mostly_muted():
  """Linear values in (0, 0.9]; brightness varies much more than the ratio of channels, and blue is weaker than red."""
  colors = dead_leaves.natural_colors(jax.random.key(0), 5000)
  assert colors.min() > 0 and colors.max() <= 0.9 + 1e-6
  log = np.log(colors[np.asarray(colors).max(axis=1) < 0.9])
  assert np.std(log.mean(axis=1)) > 2 * np.std(log[:, 0] - log[:, 1])
  assert log[:, 0].mean() > log[:, 2].mean()


def test_leaves_cover_most_of_the_scene():
  """With the default number of leaves, under 35 % of the samples show the background."""
  params = _draw(jax.random.key(0), settings=_settings())
  bright = dataclasses.replace(params, background=jnp.full(3, 1.0), color=_NEUTRAL)
  dark = dataclasses.replace(params, background=jnp.zeros(3), color=_NEUTRAL)
  difference = np.asarray(_render(bright, **_SIZES) - _render(dark, **_SIZES))
  assert difference.min() > -1e-6 and difference.mean() < 0.35


def test_source_is_deterministic_and_numbers_its_scenes():
  """Scene i is the same when asked again and from an equal source; another index or seed is another scene."""
  make = lambda seed: dead_leaves.DeadLeavesScenes(_settings(num_scenes=3, seed=seed))
  first = make(0).scene(2)
  for leaf, again in zip(jax.tree.leaves(first), jax.tree.leaves(make(0).scene(2))):
    np.testing.assert_array_equal(leaf, again)
  assert first.scene_id == 2
  for other in (make(0).scene(1), make(1).scene(2)):
    assert np.abs(first.radiance - other.radiance).max() > 0.05
  with pytest.raises(ValueError, match="no scene 3; scenes are numbered 0 to 2"):
    make(0).scene(3)


def test_wrong_sizes_are_named():
  """A crop that is not a multiple of 8 raises ValueError that shows it."""
  with pytest.raises(ValueError, match="multiple of 8 mosaic pixels, got 20"):
    _settings(crop_size=20)
