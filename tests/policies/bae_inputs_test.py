"""What BAENet sees: planes of the later preview, of the gain and of the motion, each of which can be left out."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import srgb_to_linear, view
from debir_jax.policies import BaeInputs
from debir_jax.types import CameraColor, Observation

COLOR = CameraColor(white_balance=jnp.array([2.0, 1.0, 1.7]), ccm=jnp.array(
    [[1.5, -0.4, -0.1], [-0.2, 1.4, -0.2], [0.0, -0.5, 1.5]]))
MOTION = 4 / (10 * 55 / 41)
PAPER = BaeInputs(min_preview_gain=512.0)
RELEASE = BaeInputs(min_preview_gain=512.0, preview="linear_srgb")


def _observation(preview_gain=768.0):
  return Observation(
      previews=jax.random.uniform(jax.random.key(0), (2, 16, 16, 4), maxval=0.4), preview_gain=jnp.array(preview_gain),
      mean_flow_px=jnp.array(4.0), motion_magnitude=jnp.array(MOTION), color=COLOR)


def test_planes_are_later_preview_gain_and_motion():
  """[h, w, 6] = I_p, g_p / g_min - 1 and m_p, the scalars constant over the image."""
  observation = _observation()
  planes = PAPER(observation)
  assert planes.shape == (16, 16, 6) and planes.dtype == jnp.float32
  np.testing.assert_array_equal(planes[..., :4], observation.previews[1])
  np.testing.assert_allclose(planes[..., 4], 0.5)
  np.testing.assert_allclose(planes[..., 5], MOTION, rtol=1e-6)


@pytest.mark.parametrize("off,kept", (
    ("use_preview", [4, 5]), ("use_gain", [0, 1, 2, 3, 5]), ("use_motion", [0, 1, 2, 3, 4])))
def test_an_input_that_is_off_leaves_its_planes_out(off, kept):
  """The others stay as they are, and `num_channels` counts them."""
  inputs = BaeInputs(min_preview_gain=512.0, **{off: False})
  np.testing.assert_array_equal(inputs(_observation()), PAPER(_observation())[..., kept])
  assert inputs.num_channels == len(kept) and PAPER.num_channels == 6


def test_planes_of_the_release_are_linear_srgb_motion_and_gain():
  """[2h, 2w, 5]: the later preview without gamma at the mosaic's size, m_p before g_p / g_min - 1."""
  observation = _observation()
  planes = RELEASE(observation)
  assert planes.shape == (32, 32, 5) and planes.dtype == jnp.float32
  np.testing.assert_allclose(planes[..., :3], srgb_to_linear(view(observation.previews[1], COLOR)), atol=1e-6)
  np.testing.assert_allclose(planes[..., 3], MOTION, rtol=1e-6)
  np.testing.assert_allclose(planes[..., 4], 0.5)


@pytest.mark.parametrize("off,kept", (
    ("use_preview", [3, 4]), ("use_motion", [0, 1, 2, 4]), ("use_gain", [0, 1, 2, 3])))
def test_inputs_of_the_release_can_be_switched_off_too(off, kept):
  """Order and size of the others stay."""
  inputs = BaeInputs(min_preview_gain=512.0, preview="linear_srgb", **{off: False})
  np.testing.assert_array_equal(inputs(_observation()), RELEASE(_observation())[..., kept])
  assert inputs.num_channels == len(kept) and RELEASE.num_channels == 5


@pytest.mark.parametrize("preview_gain,expected", ((256.0, 0.0), (2048.0, 1.0)))
def test_gain_outside_the_range_is_clipped_with_a_warning(preview_gain, expected):
  """The plane stays in [0, 1] and the warning names gain and range; under jit there is no warning."""
  observation = _observation(preview_gain)
  with pytest.warns(UserWarning, match=rf"{preview_gain}.*\[512.0, 1024.0\]"):
    planes = PAPER(observation)
  np.testing.assert_array_equal(planes[..., 4], expected)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    np.testing.assert_array_equal(jax.jit(PAPER)(observation), planes)


@pytest.mark.parametrize("preview_gain", (512.0, 700.0, 1024.0))
def test_gain_in_the_range_does_not_warn(preview_gain):
  """Both ends of the range belong to it."""
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    PAPER(_observation(preview_gain))


@pytest.mark.parametrize("inputs", (PAPER, RELEASE), ids=("paper", "release"))
def test_plain_jitted_and_vmapped_planes_agree(inputs):
  """A batch of scenes under jit, or one after the other."""
  observations = [_observation(512.0), _observation(900.0)]
  batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)
  np.testing.assert_allclose(jax.jit(jax.vmap(inputs))(batch), jnp.stack([inputs(one) for one in observations]),
                             atol=1e-6)


def test_inputs_are_values():
  """Equal settings are equal, so that a compiled program serves both."""
  assert hash(PAPER) == hash(BaeInputs(min_preview_gain=512.0)) and PAPER == BaeInputs(min_preview_gain=512.0)
  assert PAPER != RELEASE


def test_wrong_settings_are_refused():
  """At construction: an unknown kind of preview, no input at all, a gain that is not positive."""
  with pytest.raises(ValueError, match="no input: switch on use_preview, use_gain or use_motion"):
    BaeInputs(min_preview_gain=512.0, use_preview=False, use_gain=False, use_motion=False)
  with pytest.raises(ValueError, match="Unknown kind of preview 'srgb'; use one of 'packed', 'linear_srgb'"):
    BaeInputs(min_preview_gain=512.0, preview="srgb")
  with pytest.raises(ValueError, match="min_preview_gain must be positive, got -1"):
    BaeInputs(min_preview_gain=-1)
