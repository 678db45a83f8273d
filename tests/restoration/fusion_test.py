"""Which frames are fused with which."""

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration.burstormer import channels_to_frames, frames_to_channels
from debir_jax.restoration.fusion import cyclic_pairs, reference_pairs


@pytest.mark.parametrize("num_frames, pairs", [
    (2, [(0, 1), (1, 0)]),
    (4, [(0, 1), (2, 3), (3, 0), (1, 2)]),
    (6, [(0, 1), (2, 3), (4, 5), (5, 0), (1, 2), (3, 4)]),
])
def test_cyclic_pairs_are_in_the_published_order(num_frames, pairs):
  frames = jnp.arange(num_frames).reshape(num_frames, 1, 1, 1)
  np.testing.assert_array_equal(cyclic_pairs(frames)[:, 0, 0], pairs)
  batch = jnp.stack([frames, frames + 100])
  np.testing.assert_array_equal(cyclic_pairs(batch)[1, :, 0, 0], np.array(pairs) + 100)


def test_every_frame_is_paired_with_its_own_base_frame():
  bursts = jnp.arange(6).reshape(2, 3, 1, 1, 1)
  np.testing.assert_array_equal(reference_pairs(bursts)[..., 0, 0, :],
                                [[(0, 0), (0, 1), (0, 2)], [(3, 3), (3, 4), (3, 5)]])


def test_frames_become_blocks_of_channels_and_back():
  frames = jnp.arange(2 * 3 * 4 * 5 * 2).reshape(2, 3, 4, 5, 2)
  images = frames_to_channels(frames)
  np.testing.assert_array_equal(images[..., 2:4], frames[:, 1])
  np.testing.assert_array_equal(channels_to_frames(images, 3), frames)
