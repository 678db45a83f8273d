"""Laws of the U-Net for aligned frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration import AlignedUNet, aligned_unet
from debir_jax.simulator import IsoNoise

_NETWORK = AlignedUNet(num_features=8, blocks_per_level=1)


def _frames(shape=(4, 8, 12), seed=0):
  """Random planes, all valid, with noise of 0.1 and no blur."""
  frames = jax.random.uniform(jax.random.key(seed), (*shape, 9))
  return frames.at[..., 4].set(0.1).at[..., 5].set(1.0).at[..., 6:].set(0.0)


def test_fresh_weights_return_the_wiener_filter():
  """Without a bias; any leading axes are a batch."""
  frames = _frames((2, 3, 4, 8, 12))
  variables = _NETWORK.init(jax.random.key(0), frames)
  merged = aligned_unet.planes_of(frames)[1]
  np.testing.assert_allclose(_NETWORK.apply(variables, frames), merged, rtol=1e-5)
  trained = jax.tree.map(lambda leaf: leaf + 0.01, variables)
  together = _NETWORK.apply(trained, frames)
  np.testing.assert_allclose(together[1, 2], _NETWORK.apply(trained, frames[1, 2]), rtol=1e-4, atol=1e-5)
  assert jnp.abs(together - merged).max() > 0.01


def test_the_mean_weighs_by_noise_and_validity():
  """Inverse variances; what lies outside counts nothing."""
  frames = _frames((3, 4, 4)).at[:, ..., 4].set(jnp.array([0.1, 0.2, 0.1])[:, None, None]).at[2, ..., 5].set(0)
  planes, merged = aligned_unet.planes_of(frames)
  weights = np.array([100.0, 25.0])
  expected = np.tensordot(weights / weights.sum(), frames[:2, ..., :4], 1)
  np.testing.assert_allclose(planes[..., 27:31], expected, rtol=4e-3)
  np.testing.assert_array_equal(planes[..., 31:35], merged)
  np.testing.assert_allclose(planes[..., -1], weights.sum()**-0.5, rtol=1e-3)
  np.testing.assert_array_equal(planes[..., 14:18], frames[1, ..., 5:])


def test_the_mean_is_at_most_as_noisy_as_a_frame_where_none_is_valid():
  """A standard deviation of a hundred times the usual one would drown what a network sees elsewhere."""
  frames = _frames().at[:, :2, ..., 5].set(0)
  std = aligned_unet.planes_of(frames)[0][..., -1]
  np.testing.assert_allclose(std[:2], 0.1)
  np.testing.assert_allclose(std[2:], 0.05, rtol=1e-3)


def test_static_scenes_have_the_same_noise_for_every_split_of_the_time():
  """{32}x4 and bracketing leave nearly the same in the inverse-variance mean: shot noise rules. {8}x4 has four times
  less light."""
  def std(times):
    gains = 700.0 * 16 / np.array(times)
    noise = np.sqrt(IsoNoise().variance(0.2, gains))
    frames = _frames((4, 4, 4)).at[..., 4].set(jnp.asarray(noise)[:, None, None])
    return float(aligned_unet.planes_of(frames)[0][0, 0, -1])

  assert std([8, 24, 40, 56]) == pytest.approx(std([32] * 4), rel=0.04)
  assert std([8] * 4) > 1.9 * std([32] * 4)


def test_of_a_scene_at_rest_frames_differ_from_their_mean_by_noise_of_variance_one():
  """Whatever the exposure times: what the network sees hardly tells splits of one total apart."""
  for times in ((8, 24, 40, 56), (32, 32, 32, 32), (8, 8, 8, 64)):
    std = 0.2 / np.sqrt(times)
    frames = _frames((4, 64, 64)).at[..., 4].set(jnp.asarray(std)[:, None, None])
    noise = std[:, None, None, None] * np.random.default_rng(0).normal(size=(4, 64, 64, 4))
    planes = aligned_unet.planes_of(frames.at[..., :4].set(0.4 + noise))[0]
    for frame in range(4):
      assert float(planes[..., 9 * frame:9 * frame + 4].std()) == pytest.approx(0.1, rel=0.03)


def test_what_differs_beyond_all_noise_is_cut():
  """A ghost of a hundred standard deviations is told like one of eight, and what is not valid not at all."""
  frames = _frames().at[1, ..., :4].add(10.0).at[2, ..., :4].add(10.0).at[2, ..., 5].set(0)
  planes = aligned_unet.planes_of(frames)[0]
  np.testing.assert_allclose(planes[..., 9:13], 0.8)
  np.testing.assert_array_equal(planes[..., 18:22], 0)


def test_cells_become_channels_and_back():
  """An inverse pair; a channel is one place of the cell."""
  x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
  packed = aligned_unet._cells_to_channels(x)
  np.testing.assert_array_equal(aligned_unet._channels_to_cells(packed), x)
  np.testing.assert_array_equal(packed[..., 3:6], x[:, ::2, 1::2])


def test_it_has_a_level_at_half_and_at_a_quarter_of_the_size():
  """Of the default features 24, 48 and 96: 0.6 million parameters."""
  shapes = jax.eval_shape(AlignedUNet().init, jax.random.key(0), jax.ShapeDtypeStruct((4, 8, 8, 9), jnp.float32))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 596_788


def test_it_computes_in_bfloat16_on_request():
  """Means, skip and result stay float32."""
  frames, network = _frames(), AlignedUNet(num_features=8, blocks_per_level=1, dtype="bfloat16")
  variables = jax.tree.map(lambda leaf: leaf + 0.01, network.init(jax.random.key(0), frames))
  result, exact = network.apply(variables, frames), _NETWORK.apply(variables, frames)
  assert result.dtype == jnp.float32
  assert 0 < jnp.abs(result - exact).max() < 0.05 * jnp.abs(exact).max()


@pytest.mark.parametrize("shape, message", [
    ((4, 8, 8, 4), "Expected aligned frames"), ((8, 8, 9), "Expected aligned frames"),
    ((4, 8, 6, 9), "multiples of 4 packed px, got 8x6")])
def test_frames_that_do_not_fit_are_named(shape, message):
  """With the shape seen."""
  with pytest.raises(ValueError, match=message):
    _NETWORK.init(jax.random.key(0), jnp.zeros(shape))


def test_a_network_for_longer_bursts_starts_as_one_for_shorter_ones():
  """A burst without the new frames is restored as before, also beside a batch; cut again, it is the same network."""
  frames = _frames()
  variables = jax.tree.map(lambda leaf: leaf + 0.01, _NETWORK.init(jax.random.key(0), frames))
  wider = aligned_unet.variables_for_frames(variables, 6)
  shapes = lambda variables: jax.tree.map(jnp.shape, variables)
  assert shapes(wider) == shapes(_NETWORK.init(jax.random.key(0), _frames((6, 8, 12))))
  left_out = _frames((2, 8, 12), seed=1).at[..., 5].set(0)
  longer = _NETWORK.apply(wider, jnp.concatenate([frames, left_out]))
  np.testing.assert_allclose(longer, _NETWORK.apply(variables, frames), atol=1e-3)  # LITTLE counts of what is left out.
  seen = _NETWORK.apply(wider, jnp.concatenate([frames, left_out.at[..., 5].set(1)]))
  assert jnp.abs(seen - longer).max() > 0.01
  jax.tree.map(np.testing.assert_array_equal, aligned_unet.variables_for_frames(wider, 4), variables)
