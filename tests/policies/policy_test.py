"""What a policy sees: motion in the right units, the planes of BAENet, and refusal of what cannot be right."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import binned_srgb, srgb_to_linear, view
from debir_jax.motion import LucasKanade
from debir_jax.policies import network_planes, num_planes, observe
from debir_jax.types import BurstTiming, CameraColor

COLOUR = CameraColor(white_balance=jnp.array([2.0, 1.0, 1.7]), ccm=jnp.array(
    [[1.5, -0.4, -0.1], [-0.2, 1.4, -0.2], [0.0, -0.5, 1.5]]))


@dataclasses.dataclass(frozen=True)
class _ConstantFlow:
  """A stand-in that reports the same flow everywhere, scaled by the mean of the second image times `content`."""

  flow: tuple[float, float]
  content: float = 0.0
  name = "constant"
  preview_size = "binned"

  def apply(self, variables, image1, image2):
    assert variables == {} and image1.shape == image2.shape
    return jnp.broadcast_to(jnp.array(self.flow) * (1 + self.content * image2.mean()), (*image1.shape[:2], 2))


def _previews(seed=0, size=16):
  return jax.random.uniform(jax.random.key(seed), (2, size, size, 4), maxval=0.4)


@pytest.mark.parametrize("timing,full_scale_px", (
    (BurstTiming.paper(), 10 * 55 / 41), (BurstTiming.release(), 10.0)), ids=("paper", "release"))
@pytest.mark.parametrize("flow_px", (0.0, 2.5, 9.0, 40.0))
def test_motion_magnitude_is_a_speed(timing, full_scale_px, flow_px):
  """m_p = clip(mean flow / full scale, 0, 1); 10 px is full scale at the release's 41 subframes, 13.4 px at 55."""
  observation = observe(_previews(), 600.0, COLOUR, _ConstantFlow((0.6 * flow_px, -0.8 * flow_px)), timing)
  np.testing.assert_allclose(observation.mean_flow_px, flow_px, rtol=1e-6)
  np.testing.assert_allclose(observation.motion_magnitude, min(flow_px / full_scale_px, 1), rtol=1e-6)


def test_full_scale_can_be_set():
  """With full scale v px/s and T s between previews, m_p = flow / (v T)."""
  observation = observe(_previews(), 600.0, COLOUR, _ConstantFlow((3.0, 0.0)), BurstTiming.paper(),
                        full_scale_px_per_s=240.0)
  np.testing.assert_allclose(observation.motion_magnitude, 3 / (240 * 55 / 1920), rtol=1e-6)


def test_estimator_sees_the_developed_previews_in_order():
  """Lucas-Kanade through `observe` equals Lucas-Kanade on the binned sRGB previews, the earlier one first."""
  seen = []

  class Spy(LucasKanade):
    def apply(self, variables, image1, image2):
      seen.extend([image1, image2])
      return super().apply(variables, image1, image2)

  previews = _previews()
  observe(previews, 600.0, COLOUR, Spy(), BurstTiming.paper())
  for image, preview in zip(seen, previews, strict=True):
    np.testing.assert_allclose(image, binned_srgb(preview, COLOUR.white_balance, COLOUR.ccm), atol=1e-6)


def test_no_gradient_flows_through_the_flow():
  """The motion depends on the previews, its derivative is 0 all the same (as in the release)."""
  flow_estimator = _ConstantFlow((1.0, 0.0), content=1.0)
  motion = lambda x: observe(x, 600.0, COLOUR, flow_estimator, BurstTiming.paper()).motion_magnitude
  previews = _previews()
  assert abs(motion(previews) - motion(previews / 2)) > 1e-3
  assert np.all(np.asarray(jax.grad(motion)(previews)) == 0)


def test_plain_jitted_and_vmapped_observations_agree():
  """One scene at a time or a batch of them under jit: the same leaves."""
  see = lambda previews, gain: observe(previews, gain, COLOUR, LucasKanade(), BurstTiming.paper())
  previews, gains = jnp.stack([_previews(1), _previews(2)]), jnp.array([512.0, 800.0])
  batched = jax.jit(jax.vmap(see, in_axes=(0, 0)))(previews, gains)
  plain = jax.tree.map(lambda *x: jnp.stack(x), *map(see, previews, gains))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), batched, plain)


def _observation(preview_gain=768.0):
  return observe(_previews(), preview_gain, COLOUR, _ConstantFlow((4.0, 0.0)), BurstTiming.paper())


def test_planes_are_later_preview_gain_and_motion():
  """[h, w, 6] = I_p, g_p / g_min - 1 and m_p, the scalars constant over the image."""
  observation = _observation()
  planes = network_planes(observation, min_preview_gain=512.0)
  assert planes.shape == (16, 16, 6) and planes.dtype == jnp.float32
  np.testing.assert_array_equal(planes[..., :4], observation.previews[1])
  np.testing.assert_allclose(planes[..., 4], 0.5)
  np.testing.assert_allclose(planes[..., 5], 4 / (10 * 55 / 41), rtol=1e-6)


@pytest.mark.parametrize("off,kept", (
    ("use_preview", [4, 5]), ("use_gain", [0, 1, 2, 3, 5]), ("use_motion", [0, 1, 2, 3, 4])))
def test_an_input_that_is_off_leaves_its_planes_out(off, kept):
  """The others stay as they are, and `num_planes` counts them."""
  full = network_planes(_observation(), min_preview_gain=512.0)
  planes = network_planes(_observation(), min_preview_gain=512.0, **{off: False})
  np.testing.assert_array_equal(planes, full[..., kept])
  assert num_planes(**{off: False}) == len(kept) and num_planes() == 6


def test_planes_of_the_release_are_linear_srgb_motion_and_gain():
  """[2h, 2w, 5]: the later preview without gamma at the mosaic's size, m_p before g_p / g_min - 1."""
  observation = _observation()
  planes = network_planes(observation, min_preview_gain=512.0, preview="linear_srgb")
  assert planes.shape == (32, 32, 5) and planes.dtype == jnp.float32
  np.testing.assert_allclose(planes[..., :3], srgb_to_linear(view(observation.previews[1], COLOUR)), atol=1e-6)
  np.testing.assert_allclose(planes[..., 3], 4 / (10 * 55 / 41), rtol=1e-6)
  np.testing.assert_allclose(planes[..., 4], 0.5)


@pytest.mark.parametrize("off,kept", (
    ("use_preview", [3, 4]), ("use_motion", [0, 1, 2, 4]), ("use_gain", [0, 1, 2, 3])))
def test_inputs_of_the_release_can_be_switched_off_too(off, kept):
  """Order and size of the others stay."""
  release = dict(min_preview_gain=512.0, preview="linear_srgb")
  planes = network_planes(_observation(), **release, **{off: False})
  np.testing.assert_array_equal(planes, network_planes(_observation(), **release)[..., kept])
  assert num_planes(preview="linear_srgb", **{off: False}) == len(kept) and num_planes(preview="linear_srgb") == 5


@pytest.mark.parametrize("preview_gain,expected", ((256.0, 0.0), (2048.0, 1.0)))
def test_gain_outside_the_range_is_clipped_with_a_warning(preview_gain, expected):
  """The plane stays in [0, 1] and the warning names gain and range; under jit there is no warning."""
  observation = _observation(preview_gain)
  with pytest.warns(UserWarning, match=rf"{preview_gain}.*\[512.0, 1024.0\]"):
    planes = network_planes(observation, min_preview_gain=512.0)
  np.testing.assert_array_equal(planes[..., 4], expected)


@pytest.mark.parametrize("preview_gain", (512.0, 700.0, 1024.0))
def test_gain_in_the_range_does_not_warn(preview_gain):
  """Both ends of the range belong to it."""
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    network_planes(_observation(preview_gain), min_preview_gain=512.0)


@pytest.mark.parametrize("change,message", (
    (lambda x: x[:1], r"\(1, 16, 16, 4\)"), (lambda x: x[..., :3], r"\(2, 16, 16, 3\)"),
    (lambda x: x[None], "use jax.vmap"), (lambda x: 1023 * x, "divide by white minus black"),
    (lambda x: x - 0.5, "from -0.5"), (lambda x: x.at[0, 0, 0, 0].set(jnp.nan), "from nan")))
def test_wrong_previews_are_refused(change, message):
  """One preview, RGB, a batch, raw counts, negative values, NaN: named with the remedy."""
  with pytest.raises(ValueError, match=message):
    observe(change(_previews().at[0, 0, 0, 1].set(0.0)), 600.0, COLOUR, LucasKanade(), BurstTiming.paper())


def test_wrong_settings_are_refused():
  """A gain of 0, a full scale of 0, an unknown kind of preview, no input at all."""
  timing = BurstTiming.paper()
  with pytest.raises(ValueError, match="preview_gain must be positive.*got 0.0"):
    observe(_previews(), 0.0, COLOUR, LucasKanade(), timing)
  with pytest.raises(ValueError, match="full_scale_px_per_s must be positive, got 0"):
    observe(_previews(), 600.0, COLOUR, LucasKanade(), timing, full_scale_px_per_s=0)
  strange = _ConstantFlow((0.0, 0.0))
  object.__setattr__(strange, "preview_size", "huge")
  with pytest.raises(ValueError, match="'huge'; use one of 'binned', 'halved'"):
    observe(_previews(), 600.0, COLOUR, strange, timing)
  with pytest.raises(ValueError, match="use at least one"):
    network_planes(_observation(), min_preview_gain=512.0, use_preview=False, use_gain=False, use_motion=False)
  with pytest.raises(ValueError, match="Unknown kind of preview 'srgb'; use one of 'packed', 'linear_srgb'"):
    network_planes(_observation(), min_preview_gain=512.0, preview="srgb")
  with pytest.raises(ValueError, match="min_preview_gain must be positive, got -1"):
    network_planes(_observation(), min_preview_gain=-1)
