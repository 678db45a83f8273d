"""Laws of local ratios: one where frames are alike, each place by itself, over the frames that see it."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.resample import gaussian_blur
from debir_jax.motion.burst_flow import detail_of
from debir_jax.motion.local_ratios import local_ratios

_ELAPSED = jnp.array([0.5, 1.5, 3.0])
_AXES = jnp.broadcast_to(jnp.eye(2), (24, 20, 2, 2))
_STILL = jnp.zeros((3, 24, 20, 2))


def _moving(velocity, seed=0):
  """A texture that moves by whole px per 10 ms times 2, `[3, 48, 40]`."""
  canvas = gaussian_blur(jax.random.normal(jax.random.key(seed), (96, 96)), 1.5)
  starts = [(20 - int(velocity[1] * t), 20 - int(velocity[0] * t)) for t in _ELAPSED]
  return jnp.stack([canvas[y:y + 48, x:x + 40] for y, x in starts])


def _ratios(frames, candidates, *, flow=_STILL, axes=_AXES, weights=(0.5, 0.3, 0.2), stride=1):
  return local_ratios(frames, jnp.asarray(weights), _ELAPSED, flow, jnp.asarray(candidates, jnp.float32), axes, (1.5,),
                      stride)[0][..., 0]


def test_ratio_is_one_along_the_motion():
  """And less elsewhere; the same where the motion is the one that candidates are added to."""
  frames = _moving((2.0, -2.0))
  ratios = _ratios(frames, [[0, 0, 0, 0], [2, -2, 0, 0]])
  np.testing.assert_allclose(ratios[6:-6, 6:-6, 1], 1, atol=0.02)
  assert ratios[6:-6, 6:-6, 0].mean() < 0.5
  moved = _ratios(frames, [[0, 0, 0, 0]], flow=jnp.broadcast_to(
      _ELAPSED[:, None, None, None] * jnp.array([2.0, -2.0]), _STILL.shape))
  np.testing.assert_allclose(moved[..., 0], ratios[..., 1], atol=0.01)  # But for the floor of the energy.


def test_candidates_are_along_the_local_axes():
  """Velocity (2, -2) in the image is (-2, -2) along axes that are turned by a quarter."""
  frames = _moving((2.0, -2.0))
  turned = jnp.broadcast_to(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), _AXES.shape)
  np.testing.assert_allclose(_ratios(frames, [[-2, -2, 0, 0]], axes=turned), _ratios(frames, [[2, -2, 0, 0]]),
                             rtol=1e-5)


def test_two_motions_beside_each_other_are_told_apart():
  """Left and right halves have the best ratio each at its own candidate."""
  frames = jnp.concatenate([_moving((2.0, 0.0))[..., :20], _moving((0.0, 0.0), seed=1)[..., 20:]], -1)
  best = _ratios(frames, [[0, 0, 0, 0], [2, 0, 0, 0]]).argmax(-1)
  assert best[6:-6, 2:5].mean() > 0.9 and best[6:-6, 14:18].mean() < 0.1


def test_frames_of_no_weight_do_not_matter():
  """A frame that was left out may hold anything."""
  frames = _moving((2.0, 0.0))
  ratios = _ratios(frames, [[2, 0, 0, 0]], weights=(0.6, 0.4, 0.0))
  np.testing.assert_allclose(ratios, _ratios(frames.at[2].set(3.0), [[2, 0, 0, 0]], weights=(0.6, 0.4, 0.0)))


def test_a_coarser_result_is_at_every_second_place():
  """Half as many, rounded up."""
  assert _ratios(_moving((0.0, 0.0)), [[0, 0, 0, 0]], stride=2).shape == (12, 10, 1)


def test_detail_is_neither_brightness_nor_slow_change():
  """A ramp leaves nothing in the middle."""
  ramp = jnp.broadcast_to(0.3 + 0.01 * jnp.arange(64.0), (2, 64, 64))
  assert jnp.abs(detail_of(ramp, 1.3)[:, 24:-24, 24:-24]).max() < 1e-4
