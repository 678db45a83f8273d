"""Laws of frames made by flow: translations are exact, what covers stays in front, flows arrive where they lead."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from debir_jax.scenes import flow_interpolation
from debir_jax.scenes.flow_interpolation import FlowInterpolator, MatchedPair, carried_flow, projected_flow
from debir_jax.scenes.interpolate import CrossFade, interpolate_pair

_PHOTO = skimage.data.astronaut()[..., :3].astype(np.float32) / 255
_FLOWS = (carried_flow, projected_flow)


@dataclasses.dataclass(frozen=True)
class KnownFlow:
  """A flow estimator that is told the flows of a pair, to look at interpolation alone."""

  name = "known"
  preview_rendering = "binned"

  def apply(self, variables, image1, image2):
    del image2
    is_first = jnp.all(image1 == variables["first"])
    return jnp.where(is_first, variables["flows"][0], variables["flows"][1])


def _interpolator(first, forward, backward, flow_at=carried_flow):
  return FlowInterpolator(estimator=KnownFlow(), flow_at=flow_at, variables=dict(
      first=jnp.asarray(first), flows=jnp.stack([jnp.asarray(forward), jnp.asarray(backward)])))


def _pair(forward, backward, weights=None):
  shape = forward.shape[:2]
  weights = jnp.ones((2, *shape)) if weights is None else jnp.asarray(weights)
  return MatchedPair(frames=jnp.zeros((2, *shape, 3)), flows=jnp.stack([forward, backward]), weights=weights)


@pytest.mark.parametrize("flow_at", _FLOWS)
def test_a_known_translation_is_exact(flow_at):
  """At whole pixels to rounding, between them to the error of cubic splines; away from the border."""
  shift = np.array([8.0, -4.0], np.float32)
  crop = lambda step: _PHOTO[100 + step:156 + step, 180 - 2 * step:236 - 2 * step]
  flow = np.broadcast_to(shift, (56, 56, 2)).copy()
  found = interpolate_pair(_interpolator(crop(0), flow, -flow, flow_at), crop(0), crop(4), 8)
  for step in (1, 2, 3):
    np.testing.assert_allclose(found[2 * step - 1][12:-12, 12:-12], crop(step)[12:-12, 12:-12], atol=2e-5)
  assert np.abs(found[2] - (crop(1) + crop(2)) / 2)[12:-12, 12:-12].mean() < 0.05


def test_a_measured_translation_is_nearly_exact():
  """With the flow that it finds: 0.3 % of white, where a cross-fade is wrong by several."""
  first, middle, last = (_PHOTO[100 - step:164 - step, 180 + 2 * step:244 + 2 * step] for step in (0, 1, 2))
  error = lambda interpolator: np.abs(interpolate_pair(interpolator, first, last, 2)[0] - middle)[8:-8, 8:-8].mean()
  assert error(FlowInterpolator()) < 0.003 < 0.02 < error(CrossFade())


def test_what_is_in_front_stays_in_front():
  """A bright square moves by 8 px over a dark ramp, which is covered on one side and uncovered on the other: its inside
  is whole, and around it a third of what a cross-fade gets wrong is wrong, near the edges that move."""
  size, top, left, side, shift = 48, 14, 12, 16, 8
  ramp = np.repeat(np.linspace(0.1, 0.4, size, dtype=np.float32)[None, :, None], size, 0).repeat(3, 2)
  frames, flows = [], []
  for offset, motion in ((0, shift), (shift // 2, 0), (shift, -shift)):
    frame, flow = ramp.copy(), np.zeros((size, size, 2), np.float32)
    frame[top:top + side, left + offset:left + offset + side] = 0.9
    flow[top:top + side, left + offset:left + offset + side, 0] = motion
    frames.append(frame)
    flows.append(flow)
  found = interpolate_pair(_interpolator(frames[0], flows[0], flows[2]), frames[0], frames[2], 2)[0]
  wrong = lambda frame: np.abs(frame - frames[1]).max(-1) > 0.05
  faded = CrossFade().frame_at((frames[0], frames[2]), 0.5)
  assert wrong(found).mean() < 0.4 * wrong(faded).mean()
  assert not wrong(found)[top + 1:top + side - 1, left + 5:left + 3 + side].any()


@pytest.mark.parametrize("flow_at", _FLOWS)
@pytest.mark.parametrize("time", (0.125, 0.5))
def test_a_constant_flow_stays_constant(flow_at, time):
  """Also at the border that nothing reaches, which is filled."""
  flow = jnp.broadcast_to(jnp.array([5.3, -2.1]), (24, 32, 2))
  np.testing.assert_allclose(flow_at(_pair(flow, -flow), time), flow, rtol=1e-5)


def test_flows_are_carried_to_where_they_lead():
  """A block that moves by 6 px is at half of the way at half of the time, over what stands still and finds no way
  back."""
  forward, backward = jnp.zeros((24, 32, 2)), jnp.zeros((24, 32, 2))
  forward = forward.at[8:16, 8:16, 0].set(6)
  backward = backward.at[8:16, 14:22, 0].set(-6)
  weights = jnp.ones((2, 24, 32)).at[0, 8:16, 16:22].set(1e-3).at[1, 8:16, 8:14].set(1e-3)
  flow = carried_flow(_pair(forward, backward, weights), 0.5)
  np.testing.assert_allclose(flow[8:16, 11:19, 0], 6, atol=0.05)
  assert float(jnp.abs(flow[:, :8]).max()) < 0.05 and float(jnp.abs(flow[:, 24:]).max()) < 0.05


def test_splatting_keeps_weights_that_stay_inside_and_drops_the_others():
  """Their sum, and nothing comes in again on the other side."""
  rng = np.random.default_rng(0)
  weights = jnp.asarray(rng.uniform(size=(12, 16)), jnp.float32)
  vectors = jnp.ones((12, 16, 2))
  inner = jnp.zeros((12, 16)).at[3:9, 3:13].set(weights[3:9, 3:13])
  sums = flow_interpolation._splat(vectors, jnp.full((12, 16, 2), 2.25), inner)
  np.testing.assert_allclose(sums.sum((0, 1)), jnp.sum(inner), rtol=1e-5)
  np.testing.assert_allclose(flow_interpolation._splat(vectors, jnp.full((12, 16, 2), 40.0), weights), 0)
  moved = flow_interpolation._splat(vectors, jnp.full((12, 16, 2), -14.0), weights)
  np.testing.assert_allclose(moved, 0)


def test_holes_are_filled_from_around():
  """Far ones too; nothing that is known changes."""
  sums = jnp.zeros((40, 40, 2)).at[:, :4].set(jnp.array([3.0, -1.0]))
  weights = jnp.zeros((40, 40, 1)).at[:, :4].set(1.0)
  np.testing.assert_allclose(flow_interpolation._filled(sums, weights),
                             jnp.broadcast_to(jnp.array([3.0, -1.0]), (40, 40, 2)), rtol=1e-4)


def test_agreement_compares_with_each_pixel_and_not_with_their_mean():
  """Half-way between two flows of 0 and 10 px, either agrees by half, and 5 px not at all."""
  other = jnp.zeros((4, 6, 2)).at[:, 3:, 0].set(10.0)
  agreement = lambda length: flow_interpolation._agreement(
      jnp.zeros((4, 6, 2)).at[..., 0].set(length), other, jnp.full((4, 6, 2), 0.5).at[..., 1].set(0))[1, 2]
  np.testing.assert_allclose([agreement(0.0), agreement(10.0), agreement(5.0)], [0.5, 0.5, 0], atol=1e-4)


def test_it_goes_through_jit_as_a_pytree():
  """Its weights are its leaves."""
  interpolator = FlowInterpolator(variables=dict(a=jnp.ones(3)))
  assert jax.tree.leaves(interpolator)[0].shape == (3,) and not jax.tree.leaves(FlowInterpolator())
