"""Laws of tiles: identity, exactness for what is local, smooth weights that sum to 1, memory for one tile."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration import TiledRestorer, restore_in_tiles


def _frames(height, width, leading=(2,)):
  return jnp.asarray(np.random.default_rng(0).normal(size=(*leading, 2, height, width, 4)), jnp.float32)


def first_frame(frames):
  return frames[..., 0, :, :, :]


def box_blur(reach):
  """A mean over windows, zeros beyond the edge: a convolution of known reach."""
  def restore(frames):
    image = first_frame(frames)
    side = 2 * reach + 1
    window = (1,) * (image.ndim - 3) + (side, side, 1)
    padding = [(0, 0)] * (image.ndim - 3) + [(reach, reach)] * 2 + [(0, 0)]
    return jax.lax.reduce_window(image, 0.0, jax.lax.add, window, (1,) * image.ndim, padding) / side**2

  return restore


@pytest.mark.parametrize("size, overlap, leading", [((8, 8), 0, ()), ((8, 31), 4, (3,)), ((23, 45), 4, ())])
def test_the_identity_stays_the_identity(size, overlap, leading):
  """Weights sum to 1, also where the last tile shares more; any leading axes."""
  frames = _frames(*size, leading)
  found = restore_in_tiles(first_frame, frames, tile_size=8, overlap=overlap)
  np.testing.assert_allclose(found, first_frame(frames), atol=1e-6)


@pytest.mark.parametrize("size, tile_size, overlap, reach", [
    ((16, 37), 16, 4, 1), ((35, 50), 16, 8, 2)])
def test_what_reaches_no_further_than_a_quarter_of_the_overlap_is_exact(size, tile_size, overlap, reach):
  """The result is that of the whole image, edges of the image included; one pixel more is not."""
  frames = _frames(*size)
  error = lambda reach, overlap: jnp.abs(
      restore_in_tiles(box_blur(reach), frames, tile_size=tile_size, overlap=overlap) - box_blur(reach)(frames)).max()
  assert error(reach, overlap) < 1e-6 < 1e-3 < error(reach + 1, overlap)


def test_tiles_begin_where_a_network_of_three_scales_expects_them():
  """Multiples of 4 px wherever the image's sides are: reading at a quarter of the size hits the same pixels."""
  def quarter(frames):
    return jnp.repeat(jnp.repeat(first_frame(frames)[..., ::4, ::4, :], 4, -3), 4, -2)

  frames = _frames(36, 52)
  found = restore_in_tiles(quarter, frames, tile_size=16, overlap=4)
  np.testing.assert_allclose(found, quarter(frames), atol=1e-6)


class LessItsMean(nn.Module):
  """A network whose result depends on the size of the image, as channel attention's does."""

  @nn.compact
  def __call__(self, frames):
    scale = self.param("scale", nn.initializers.ones, ())
    return scale * (first_frame(frames) - first_frame(frames).mean((-3, -2), keepdims=True))


def test_tiles_are_restored_as_images_of_their_size():
  """Side by side, every tile is what the network makes of it alone; as a restorer in the other's place."""
  network, frames, variables = LessItsMean(), _frames(16, 8), {"params": {"scale": jnp.array(2.0)}}
  tiled = TiledRestorer(network, tile_size=8)
  found = tiled.apply(variables, frames)
  for top in (0, 8):
    np.testing.assert_allclose(found[:, top:top + 8], network.apply(variables, frames[..., top:top + 8, :, :]),
                               atol=1e-5)
  assert tiled.init(jax.random.key(1), frames) == network.init(jax.random.key(1), frames)
  assert hash(tiled) == hash(TiledRestorer(network, 8))


def test_one_tile_at_a_time():
  """The restorer is traced for one tile, however many there are."""
  shapes = []

  def restore(tile):
    shapes.append(tile.shape)
    return first_frame(tile)

  jax.eval_shape(lambda frames: restore_in_tiles(restore, frames, tile_size=8), _frames(64, 64, ()))
  assert set(shapes) == {(2, 8, 8, 4)} and len(shapes) <= 2


@pytest.mark.parametrize("tile_size, overlap, message", [
    (6, 0, "multiple of 4 px, got 6"), (0, 0, "multiple of 4 px, got 0"), (24, 0, "larger than the image of 20x32"),
    (16, 12, "at most half of a tile of 16 px, got 12"), (16, 2, "multiple of 4 px and"), (16, -4, "got -4")])
def test_impossible_tiles_are_refused(tile_size, overlap, message):
  with pytest.raises(ValueError, match=message):
    restore_in_tiles(first_frame, _frames(20, 32), tile_size=tile_size, overlap=overlap)


def test_a_single_image_is_no_burst():
  with pytest.raises(ValueError, match=r"\[..., n, H, W, c\]"):
    restore_in_tiles(first_frame, jnp.zeros((8, 8, 4)), tile_size=8)
