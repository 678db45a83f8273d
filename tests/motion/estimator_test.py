"""How much moved between two previews: the motion magnitude is a speed, and estimators see developed previews."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import binned_srgb, half_resolution_srgb
from debir_jax.motion import LucasKanade, MotionEstimator, Raft, develop_previews
from debir_jax.types import BurstTiming, CameraColor

COLOR = CameraColor(white_balance=jnp.array([2.0, 1.0, 1.7]), ccm=jnp.array(
    [[1.5, -0.4, -0.1], [-0.2, 1.4, -0.2], [0.0, -0.5, 1.5]]))


@dataclasses.dataclass(frozen=True)
class _ConstantFlow:
  """A stand-in that reports the same flow everywhere, scaled by the mean of the second image times `content`."""

  flow: tuple[float, float]
  content: float = 0.0
  preview_rendering: str = "binned"
  name = "constant"

  def apply(self, variables, image1, image2):
    assert variables == {} and image1.shape == image2.shape
    return jnp.broadcast_to(jnp.array(self.flow) * (1 + self.content * image2.mean()), (*image1.shape[:2], 2))


@dataclasses.dataclass(frozen=True)
class _WeightIsFlow:
  """A stand-in whose only weight is the flow along x."""

  name = "weight"
  preview_rendering = "binned"

  def apply(self, variables, image1, image2):
    del image2
    return jnp.broadcast_to(jnp.stack([variables["flow"], jnp.zeros(())]), (*image1.shape[:2], 2))


def _previews(seed=0, size=16):
  return jax.random.uniform(jax.random.key(seed), (2, size, size, 4), maxval=0.4)


@pytest.mark.parametrize("timing,full_scale_px", (
    (BurstTiming.paper(), 10 * 55 / 41), (BurstTiming.release(), 10.0)), ids=("paper", "release"))
@pytest.mark.parametrize("flow_px", (0.0, 2.5, 9.0, 40.0))
def test_motion_magnitude_is_a_speed(timing, full_scale_px, flow_px):
  """m_p = clip(mean flow / full scale, 0, 1); 10 px is full scale at the release's 41 subframes, 13.4 px at 55."""
  motion = MotionEstimator(estimator=_ConstantFlow((0.6 * flow_px, -0.8 * flow_px)))
  mean_flow_px, motion_magnitude = motion(_previews(), COLOR, timing)
  np.testing.assert_allclose(mean_flow_px, flow_px, rtol=1e-6)
  np.testing.assert_allclose(motion_magnitude, min(flow_px / full_scale_px, 1), rtol=1e-6)


def test_full_scale_can_be_set():
  """With full scale v px/s and T s between previews, m_p = flow / (v T)."""
  motion = MotionEstimator(estimator=_ConstantFlow((3.0, 0.0)), full_scale_px_per_s=240.0)
  _, motion_magnitude = motion(_previews(), COLOR, BurstTiming.paper())
  np.testing.assert_allclose(motion_magnitude, 3 / (240 * 55 / 1920), rtol=1e-6)


def test_estimator_sees_the_developed_previews_in_order():
  """Lucas-Kanade in a `MotionEstimator` sees the binned sRGB previews, the earlier one first."""
  seen = []

  class Spy(LucasKanade):
    def apply(self, variables, image1, image2):
      seen.extend([image1, image2])
      return super().apply(variables, image1, image2)

  previews = _previews()
  MotionEstimator(estimator=Spy())(previews, COLOR, BurstTiming.paper())
  for image, preview in zip(seen, previews, strict=True):
    np.testing.assert_allclose(image, binned_srgb(preview, COLOR), atol=1e-6)


@pytest.mark.parametrize("estimator,develop", (
    (LucasKanade(), binned_srgb), (Raft("small"), half_resolution_srgb), (Raft("large"), half_resolution_srgb)),
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", None)))
def test_previews_are_developed_as_the_estimator_wants_them(estimator, develop):
  """At half the mosaic's size: cells binned for Lucas-Kanade, demosaicked first for RAFT."""
  previews = _previews()
  developed = develop_previews(previews, COLOR, estimator)
  assert developed.shape == (2, 16, 16, 3)
  np.testing.assert_allclose(developed, jnp.stack([develop(preview, COLOR) for preview in previews]), atol=1e-6)


def test_no_gradient_flows_through_the_flow():
  """The motion depends on the previews, its derivative is 0 all the same (as in the release)."""
  estimator = MotionEstimator(estimator=_ConstantFlow((1.0, 0.0), content=1.0))
  motion = lambda x: estimator(x, COLOR, BurstTiming.paper())[1]
  previews = _previews()
  assert abs(motion(previews) - motion(previews / 2)) > 1e-3
  assert np.all(np.asarray(jax.grad(motion)(previews)) == 0)


def test_only_the_weights_are_leaves():
  """New weights do not compile again what takes the estimator as an argument; another full scale does."""
  compiled = []

  @jax.jit
  def flow_of(motion, previews):
    compiled.append(motion.full_scale_px_per_s)
    return motion(previews, COLOR, BurstTiming.paper())[0]

  motion = MotionEstimator(estimator=_WeightIsFlow(), variables={"flow": jnp.array(2.0)})
  assert jax.tree.leaves(motion) == [motion.variables["flow"]] and not jax.tree.leaves(MotionEstimator())
  for flow_px in (2.0, 5.0):
    other = dataclasses.replace(motion, variables={"flow": jnp.array(flow_px)})
    np.testing.assert_allclose(flow_of(other, _previews()), flow_px, rtol=1e-6)
  flow_of(dataclasses.replace(motion, full_scale_px_per_s=100.0), _previews())
  assert compiled == [motion.full_scale_px_per_s, 100.0]


def test_wrong_settings_are_refused():
  """A full scale of 0, and a rendering of previews that there is not."""
  timing = BurstTiming.paper()
  with pytest.raises(ValueError, match="full_scale_px_per_s must be positive, got 0"):
    MotionEstimator(full_scale_px_per_s=0)(_previews(), COLOR, timing)
  strange = _ConstantFlow((0.0, 0.0), preview_rendering="huge")
  with pytest.raises(ValueError, match="'huge'; use one of 'binned', 'half_resolution'"):
    MotionEstimator(estimator=strange)(_previews(), COLOR, timing)
