"""Flow of clean frames: right where things move as one, and right up to the edge where they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from debir_jax.motion import LucasKanade, SharpFlow
from debir_jax.motion.sharp_flow import CLEAN_LUCAS_KANADE

_PHOTOS = [getattr(skimage.data, name)()[..., :3].astype(np.float32) / 255 for name in ("astronaut", "coffee")]
_estimates = jax.jit(lambda image1, image2: jnp.stack(
    [estimator.apply({}, image1, image2) for estimator in (SharpFlow(), CLEAN_LUCAS_KANADE)]))


def _square_over_photo(shift=6):
  """Frames `[2, 64, 64, 3]` in which a square of another photo moves by so many px over one that stands still, and the
  flow."""
  behind, front = (photo[100:164, 180:244] for photo in _PHOTOS)
  frames, flow = np.stack([behind, behind]), np.zeros((64, 64, 2), np.float32)
  for frame, left in zip(frames, (20, 20 + shift)):
    frame[20:44, left:left + 24] = front[20:44, 20:44]
  flow[20:44, 20:44, 0] = shift
  return frames, flow


def test_edges_of_motion_are_sharper_than_those_of_lucas_kanade():
  """A square over a photo at rest, where its window sees both; what will be covered has no true match and is left
  out."""
  frames, flow = _square_over_photo()
  errors = np.linalg.norm(np.asarray(_estimates(*frames)) - flow, axis=-1)
  seen = np.ones((64, 64), bool)
  seen[20:44, 44:50] = False
  sharp, smooth = errors[:, seen].mean(1)
  assert sharp < 0.15 and sharp < 0.5 * smooth, (sharp, smooth)


@pytest.mark.parametrize("shift", ((3, 0), (-2, 5)))
def test_a_translation_is_found(shift):
  """Of a photo, to a tenth of a pixel far from the border."""
  photo = _PHOTOS[0]
  right, down = shift
  image1, image2 = photo[100:164, 180:244], photo[100 - down:164 - down, 180 - right:244 - right]
  flow = np.asarray(_estimates(image1, image2))[0]
  assert np.abs(flow - shift)[12:-12, 12:-12].mean() < 0.1


def test_without_motion_the_flow_is_zero():
  """Exactly, also where nothing is to be seen: so a static pair is interpolated by itself."""
  image = _PHOTOS[1][100:164, 180:244].copy()
  image[:20] = 0.5
  np.testing.assert_array_equal(np.asarray(_estimates(image, image))[0], 0)


def test_what_cannot_be_matched_is_refused():
  with pytest.raises(ValueError, match="two sRGB images of one shape"):
    SharpFlow().apply({}, jnp.zeros((8, 8, 3)), jnp.zeros((8, 9, 3)))
  with pytest.raises(ValueError, match="at least 4 px"):
    SharpFlow().apply({}, jnp.zeros((3, 8, 3)), jnp.zeros((3, 8, 3)))
  assert hash(SharpFlow()) == hash(SharpFlow(matcher=LucasKanade(
      num_levels=7, num_iterations=6, window_sigma_px=3.0, blur_sigma_px=0.7)))
