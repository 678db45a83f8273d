"""Laws of the Bayer mosaic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import bayer


def _random(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def _every_way(function, argument):
  """The results plain, jitted, and vmapped over a batch of one."""
  return [function(argument), jax.jit(function)(argument), jax.vmap(function)(argument[None])[0]]


def test_mosaic_takes_each_sample_from_the_channel_of_its_phase():
  """R at (even, even), B at (odd, odd), G elsewhere: against a loop over pixels."""
  rgb = np.asarray(_random(6, 8, 3))
  expected = np.zeros((6, 8), np.float32)
  for y in range(6):
    for x in range(8):
      expected[y, x] = rgb[y, x, y % 2 + x % 2]
  for result in _every_way(bayer.mosaic, jnp.asarray(rgb)):
    np.testing.assert_array_equal(result, expected)


def test_packed_planes_are_r_gr_gb_b():
  """Plane k of a packed mosaic is the strided slice of its phase."""
  mosaic = _random(6, 8)
  for packed in _every_way(bayer.pack, mosaic):
    for plane, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
      np.testing.assert_array_equal(packed[..., plane], mosaic[row::2, column::2])


def test_unpack_inverts_pack():
  """mosaic -> packed -> mosaic is a no-op, with leading axes too."""
  mosaics = _random(2, 3, 6, 8)
  np.testing.assert_array_equal(bayer.unpack(bayer.pack(mosaics)), mosaics)
  np.testing.assert_array_equal(bayer.pack(mosaics)[1, 2], bayer.pack(mosaics[1, 2]))


@pytest.mark.parametrize("flip, flip_rgb", [
    (bayer.flip_left_right, lambda rgb: rgb[:, ::-1][:, 1:-1]),
    (bayer.flip_up_down, lambda rgb: rgb[::-1][1:-1]),
    (bayer.transpose, lambda rgb: rgb.swapaxes(0, 1)),
])
def test_flips_of_packed_planes_keep_the_phase(flip, flip_rgb):
  """Flipping the planes equals flipping the full-resolution RGB image (cropped by one pixel) and mosaicking it."""
  rgb = _random(8, 12, 3)
  expected = bayer.pack(bayer.mosaic(flip_rgb(rgb)))
  for result in _every_way(flip, bayer.pack(bayer.mosaic(rgb))):
    np.testing.assert_array_equal(result, expected)


def test_malvar_reproduces_constant_images():
  """A constant color comes back exactly, also at the border."""
  rgb = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.7]), (8, 10, 3))
  for result in _every_way(bayer.demosaic_malvar, bayer.mosaic(rgb)):
    np.testing.assert_allclose(result, rgb, atol=1e-6)


def test_malvar_reproduces_linear_images(x64):
  """A grey ramp comes back to 1e-12 away from the two outermost pixels."""
  y, x = np.mgrid[:12, :14]
  ramp = jnp.asarray(0.1 + 0.03 * y + 0.02 * x)
  rgb = jnp.stack([ramp, ramp + 0.2, ramp - 0.1], axis=-1)  # Equal gradients, different offsets.
  result = bayer.demosaic_malvar(bayer.mosaic(rgb))
  np.testing.assert_allclose(result[2:-2, 2:-2], rgb[2:-2, 2:-2], atol=1e-12)


def test_malvar_equals_convolution_with_the_published_filters(x64):
  """Every output equals the 5x5 filter of Fig. 2 of the paper, summed in a loop."""
  green = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
  row = np.array([[0, 0, .5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, .5, 0, 0]]) / 8
  far = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0],
                  [0, 0, -1.5, 0, 0]]) / 8
  same = np.zeros((5, 5))
  same[2, 2] = 1
  filters = {(0, 0): (same, green, far), (0, 1): (row, same, row.T), (1, 0): (row.T, same, row),
             (1, 1): (far, green, same)}
  mosaic = np.random.default_rng(0).uniform(size=(8, 10))
  padded = np.pad(mosaic, 2, mode="reflect")
  expected = np.zeros((8, 10, 3))
  for y in range(8):
    for x in range(10):
      for channel in range(3):
        expected[y, x, channel] = np.sum(filters[y % 2, x % 2][channel] * padded[y:y + 5, x:x + 5])
  for result in _every_way(bayer.demosaic_malvar, jnp.asarray(mosaic)):
    np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("function, shape, message", [
    (bayer.mosaic, (4, 4, 4), r"\[\.\.\., H, W, 3\], got shape \(4, 4, 4\)"),
    (bayer.mosaic, (5, 4, 3), r"even sides.*\(5, 4\)"),
    (bayer.pack, (4, 7), r"even sides.*\(4, 7\)"),
    (bayer.unpack, (4, 4, 3), r"\[\.\.\., h, w, 4\].*\(4, 4, 3\)"),
    (bayer.flip_left_right, (4, 4), r"\[\.\.\., h, w, 4\]"),
    (bayer.demosaic_malvar, (2, 8), r"at least 4 pixels, got \(2, 8\)"),
])
def test_wrong_shapes_are_named(function, shape, message):
  """A wrong shape raises ValueError that shows it."""
  with pytest.raises(ValueError, match=message):
    function(jnp.zeros(shape))


@pytest.mark.parametrize("orientation", range(8))
def test_a_scene_in_another_orientation_is_that_of_the_reoriented_world(orientation):
  """Every sample is what the same filter would see of the mirrored or turned scene, one edge of cells apart."""
  rgb = np.random.default_rng(0).uniform(size=(12, 12, 3)).astype(np.float32)
  world = rgb
  if orientation & 1:
    world = np.roll(world[:, ::-1], -1, axis=1)  # A mirrored mosaic begins with G: one column further on.
  if orientation & 2:
    world = np.roll(world[::-1], -1, axis=0)
  if orientation & 4:
    world = np.swapaxes(world, 0, 1)
  expected = bayer.pack(bayer.mosaic(world))
  found = bayer.reorient(bayer.pack(bayer.mosaic(rgb)), orientation)
  assert found.shape == (6, 6, 4)
  inner = np.s_[:5, :5]
  np.testing.assert_array_equal(found[inner], expected[inner])


@pytest.mark.parametrize("orientation", range(8))
def test_flow_turns_with_the_scene(orientation):
  """A ramp that flows by an affine flow: the reoriented later ramp, read along the reoriented flow, is the earlier one.
  """
  cells = jnp.stack(jnp.meshgrid(jnp.arange(8.0), jnp.arange(8.0), indexing="xy"), -1)  # (x, y)
  flow = jnp.array([0.7, -0.4]) + cells @ jnp.array([[0.05, 0.02], [-0.03, 0.04]])
  line = jnp.arange(16.0)
  ramp = lambda axis: bayer.pack(jnp.broadcast_to(line if axis == 0 else line[:, None], (16, 16)))
  turned_flow = bayer.reorient_flow(flow, orientation)
  for axis in (0, 1):  # Mosaic x and y themselves as an image: where a cell's samples lie in the first orientation.
    earlier = bayer.reorient(ramp(axis), orientation).mean(-1)
    later = bayer.reorient(ramp(axis) - 2 * flow[..., axis:axis + 1], orientation).mean(-1)
    expected = jnp.stack([jnp.gradient(earlier, axis=1), jnp.gradient(earlier, axis=0)], -1)
    np.testing.assert_allclose((later - earlier)[:6, :6], -jnp.sum(turned_flow * expected, -1)[:6, :6], atol=1e-5)


def test_orientations_differ_and_the_first_changes_nothing():
  """Eight of them; leading axes are turned alike; the cells that one edge lacks repeat their neighbours."""
  packed = np.random.default_rng(1).uniform(size=(2, 6, 6, 4)).astype(np.float32)
  all_of_them = [np.asarray(bayer.reorient(packed, orientation)) for orientation in range(bayer.NUM_ORIENTATIONS)]
  np.testing.assert_array_equal(all_of_them[0], packed)
  assert len({found.tobytes() for found in all_of_them}) == 8
  np.testing.assert_array_equal(all_of_them[1][:, :, -1], all_of_them[1][:, :, -2])
  with pytest.raises(ValueError, match="Only squares have 8 orientations"):
    bayer.reorient(packed[:, :4], 0)
