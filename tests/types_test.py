"""Laws of the shared data types: the timing presets, how long a sequence must be, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.simulator import PoissonGaussianNoise
from debir_jax.types import Burst, BurstTiming, CameraColor, Observation, Preview, SampledMotion, Scene

_S = 1 / 1920  # One subframe in s.
PAPER, RELEASE = BurstTiming.paper(), BurstTiming.release()


def test_paper_preset_has_the_numbers_of_the_paper():
  """Sec. 4 to 6: e_S = 1/1920, delta = 7/1920, t_p = 1/120, delta_p = 39/1920, t^0 = 80/1920, t_u = 128/1920 s."""
  np.testing.assert_allclose(PAPER.subframe_interval_s, 1 / 1920)
  np.testing.assert_allclose(PAPER.frame_gap_s, 7 / 1920)
  np.testing.assert_allclose(PAPER.preview_exposure_s, 1 / 120)
  np.testing.assert_allclose(PAPER.preview_gap_s, 39 / 1920)
  np.testing.assert_allclose(PAPER.burst_start_s, 80 / 1920)
  np.testing.assert_allclose(PAPER.min_exposure_s, 1 / 240)
  np.testing.assert_allclose(PAPER.max_exposure_s, 1 / 30)
  np.testing.assert_allclose(PAPER.budget_s, 128 / 1920)
  assert (PAPER.num_frames, PAPER.subframe_support, PAPER.target_index) == (4, 1, 80)


def test_release_preset_has_the_numbers_of_the_release():
  """Support 8, no gap, t^0 = 57, delta_p = 25 subframes, and a budget of 128 - 4 * 7 = 100 entries."""
  np.testing.assert_allclose(RELEASE.frame_gap_s, 0)
  np.testing.assert_allclose(RELEASE.preview_gap_s, 25 * _S)
  np.testing.assert_allclose(RELEASE.budget_s - 4 * RELEASE.exposure_offset_s, 100 * _S)
  assert (RELEASE.num_frames, RELEASE.subframe_support, RELEASE.target_index) == (4, 8, 57)


def test_smallest_shares_are_one_sixteenth_and_one_hundredth():
  """epsilon = t_min / t_u in the paper; (t_min - t_off) / (t_u - n t_off) in the release."""
  np.testing.assert_allclose([PAPER.min_share, RELEASE.min_share], [1 / 16, 1 / 100], rtol=1e-12)


@pytest.mark.parametrize("timing, total, expected", ((PAPER, 128, 230), (PAPER, 4 * 64, 358), (RELEASE, 128, 179),
                                                     (PAPER, 127.5, 230), (PAPER, 127.0, 229)))
def test_sequence_holds_the_burst_and_one_guard_subframe(timing, total, expected):
  """t^0 + total + gaps - (support - 1), rounded up, + 1: 230 within the budget, 358 for stage 1, 179 in the release."""
  assert timing.num_subframes(total * _S) == expected
  assert timing.num_subframes(np.float32(total / 1920)) == expected


@pytest.mark.parametrize("num_frames", range(2, 14, 2))
def test_any_even_burst_length_has_32_subframes_of_budget_per_frame(num_frames):
  """The length of its sequence follows: 80 + 32 n + 7 (n - 1) + 1, and 57 + 32 n - 7 + 1 in the release."""
  paper, release = BurstTiming.paper(num_frames), BurstTiming.release(num_frames)
  np.testing.assert_allclose([paper.budget_s, release.budget_s], 32 * num_frames * _S)
  assert paper.num_subframes(paper.budget_s) == 80 + 32 * num_frames + 7 * (num_frames - 1) + 1
  assert release.num_subframes(release.budget_s) == 57 + 32 * num_frames - 7 + 1


@pytest.mark.parametrize("preset", (BurstTiming.paper, BurstTiming.release))
@pytest.mark.parametrize("num_frames", (-2, 0, 1, 3, 5))
def test_odd_and_empty_bursts_are_refused(preset, num_frames):
  """Frames are fused in pairs."""
  with pytest.raises(ValueError, match=f"even and at least 2.*got {num_frames}"):
    preset(num_frames)


@pytest.mark.parametrize("changes, message", (
    (dict(subframe_support=0), "subframe_support must be at least 1, got 0"),
    (dict(subframe_interval_s=0.0), "subframe_interval_s"),
    (dict(subframe_interval_s=-_S), "subframe_interval_s"),
    (dict(frame_gap_s=-_S), "frame_gap_s"),
    (dict(preview_gap_s=-_S), "preview_gap_s"),
    (dict(frame_gap_s=float("nan")), "frame_gap_s"),
    (dict(budget_s=float("nan")), "budget_s"),
    (dict(budget_s=float("inf")), "budget_s"),
    (dict(burst_start_s=float("nan")), "burst_start_s"),
    (dict(min_exposure_s=0.0), "0 < min_exposure_s <= max_exposure_s, got 0.0"),
    (dict(min_exposure_s=65 * _S), "0 < min_exposure_s <= max_exposure_s"),
    (dict(subframe_support=9), r"longer than \(subframe_support - 1\) \* subframe_interval_s"),
    (dict(budget_s=31 * _S), "cannot hold 4 frames"),
    (dict(burst_start_s=77.5 * _S), "too early.*Use at least 0.040625 s"),
))
def test_impossible_timings_are_refused_with_the_value_and_the_remedy(changes, message):
  """Whatever would let frames overlap, start before the sequence, or never fit the budget."""
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(PAPER, **changes)


def test_earliest_start_of_the_burst_is_accepted():
  """2 t_p + delta_p + delta = 78 subframes: the first preview starts with the sequence."""
  assert dataclasses.replace(PAPER, burst_start_s=78 * _S).target_index == 78


def test_timing_is_static():
  """No array leaves; equal timings are one jit cache entry, different ones are not confused."""
  assert jax.tree.leaves(PAPER) == [] and hash(PAPER) == hash(BurstTiming.paper()) and PAPER == BurstTiming.paper()
  traces = []

  @jax.jit
  def budget(timing, scale):
    traces.append(timing)
    return timing.budget_s * scale

  np.testing.assert_allclose(budget(PAPER, 1.0), 128 * _S, rtol=1e-6)
  np.testing.assert_allclose(budget(BurstTiming.paper(), 2.0), 256 * _S, rtol=1e-6)
  np.testing.assert_allclose(budget(BurstTiming.paper(2), 1.0), 64 * _S, rtol=1e-6)
  assert traces == [PAPER, BurstTiming.paper(2)]
  with pytest.raises(dataclasses.FrozenInstanceError):
    PAPER.budget_s = 1.0


def _examples():
  color = CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3))
  motion = SampledMotion(flow_px=jnp.zeros((3, 2, 2, 2)), interval_s=0.004)
  preview = Preview(raw=jnp.ones((2, 2, 4)), exposure_time=jnp.float32(1), gain=jnp.float32(1), start_s=jnp.float32(-1))
  burst = Burst(raw=jnp.ones((4, 2, 2, 4)), exposure_times=jnp.ones(4), gains=jnp.ones(4), frame_mask=jnp.ones(4),
                start_s=jnp.ones(4), motion=motion, preview=preview)
  return {
      "CameraColor": color,
      "Scene": Scene(radiance=jnp.ones((5, 2, 2, 4)), color=color, scene_id=jnp.int32(7),
                     motion=motion),
      "Observation": Observation(
          previews=jnp.ones((2, 2, 2, 4)), preview_gain=jnp.float32(512), mean_flow_px=jnp.float32(1),
          motion_magnitude=jnp.float32(0.1), color=color),
      "Preview": preview,
      "Burst": burst,
      "Burst of a known camera": dataclasses.replace(
          burst, noise_model=PoissonGaussianNoise(jnp.float32(1e-4), jnp.float32(1e-8))),
  }


@pytest.mark.parametrize("name", (
    "CameraColor", "Scene", "Observation", "Preview", "Burst", "Burst of a known camera"))
def test_data_types_pass_through_jit_and_vmap(name):
  """Every field is a leaf, or a few of them, so a batch is the same type with one more axis on each."""
  example = _examples()[name]
  batch = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), example)
  doubled = jax.jit(jax.vmap(lambda x: jax.tree.map(lambda leaf: 2 * leaf, x)))(batch)
  assert type(doubled) is type(example)
  jax.tree.map(lambda got, x: np.testing.assert_array_equal(got, np.stack([2 * x, 4 * x])), doubled, example)
  unknown = name in ("Burst", "Preview")
  of_field = dict(color=2, preview=4, noise_model=0 if unknown else 2)  # Leaves; a noise that is not known has none.
  assert len(jax.tree.leaves(example)) == sum(of_field.get(field.name, 1) for field in dataclasses.fields(example))


def test_a_neutral_color_changes_nothing():
  """White balance of 1 and the unit matrix, whose rows sum to 1."""
  neutral = CameraColor.neutral()
  np.testing.assert_array_equal(neutral.white_balance, np.ones(3))
  np.testing.assert_array_equal(neutral.ccm, np.eye(3))
