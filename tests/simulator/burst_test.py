"""Laws of the burst simulator as a whole: shutter, noise, clip and quantisation in one (paper, Eq. 1, 5, 6)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.simulator import (
  IsoNoise,
  PaperNoise,
  PoissonGaussianNoise,
  capture_time,
  frame_mask,
  gains_for,
  simulate_burst,
  simulate_previews,
  target_of,
)
from debir_jax.types import BurstTiming

_S = 1 / 1920  # One subframe in s.
PAPER, RELEASE = BurstTiming.paper(), BurstTiming.release()
NOISELESS = PoissonGaussianNoise(0.0, 0.0)
BOTH_TIMINGS = pytest.mark.parametrize("timing", (PAPER, RELEASE), ids=("paper", "release"))
MODELS = {"paper": PaperNoise(), "poisson_gaussian": PoissonGaussianNoise(), "iso": IsoNoise(), "none": NOISELESS}
EVERY_MODEL = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
KEY = jax.random.key(11)
QUICK_KEY = jax.random.key(11, impl="rbg")  # compiles in a fraction of the time; the laws hold for any normal numbers


def _smooth_scene(num_subframes=230, seed=0, shape=(2, 3, 4)):
  rng = np.random.default_rng(seed)
  k = np.arange(num_subframes).reshape(-1, 1, 1, 1)
  rate, phase = rng.uniform(0.02, 0.2, shape), rng.uniform(0, 2 * np.pi, shape)
  return 0.5 + 0.2 * np.sin(rate * k + phase)


def _slow_mean(radiance, start, end, support):
  """Box mean of one window in subframes, entry by entry."""
  end = end - (support - 1)
  overlaps = [max(0.0, min(end, k + 1) - max(start, k)) for k in range(len(radiance))]
  return sum(w * entry for w, entry in zip(overlaps, radiance)) / (end - start)


def _slow_raw(key, means, gains, model, bits=None):
  """Eq. 6 written out: mean + sqrt(variance) z, clipped, rounded to whole steps."""
  normal = np.asarray(jax.random.normal(key, means.shape, means.dtype))
  variances = [np.asarray(model.variance(mean, gain)) for mean, gain in zip(means, gains)]
  raw = np.clip(means + np.sqrt(variances) * normal, 0, 1)
  return raw if bits is None else np.round(raw * (2**bits - 1)) / (2**bits - 1)


@BOTH_TIMINGS
def test_total_exposure_is_constant_within_a_burst(x64, timing):
  """t_i g_i = t_p g_p for all frames, so that they have one brightness (Eq. 1)."""
  times = np.random.default_rng(0).uniform(8, 64, 4) * _S
  gains = gains_for(times, 700.0, timing)
  np.testing.assert_allclose(times * gains, timing.preview_exposure_s * 700.0, rtol=1e-14)
  np.testing.assert_allclose(gains_for(np.full(4, timing.preview_exposure_s), 700.0, timing), 700.0, rtol=1e-14)


@BOTH_TIMINGS
@EVERY_MODEL
@pytest.mark.parametrize("bits", (None, 12))
def test_burst_equals_the_slow_simulator(x64, timing, model, bits):
  """Start times by addition, box means entry by entry, variance per frame, clip, rounding: one loop in numpy."""
  radiance, times, gain = _smooth_scene(), np.array([8.7, 24.2, 40.0, 31.9]), 600.0
  means, now = [], timing.burst_start_s / _S
  for time in times:
    means.append(_slow_mean(radiance, now, now + time, timing.subframe_support))
    now += time + timing.frame_gap_s / _S
  expected = _slow_raw(KEY, np.stack(means), gain * 16 / times, model, bits)
  raw = simulate_burst(KEY, radiance, times * _S, gain, model, timing, bits=bits)
  np.testing.assert_allclose(raw, expected, rtol=0, atol=1e-9)


@BOTH_TIMINGS
def test_previews_equal_the_slow_simulator(x64, timing):
  """Two windows of 16 subframes before the burst, both at the preview's gain; the earlier one comes first."""
  radiance = _smooth_scene()
  starts = {PAPER: (2, 57), RELEASE: (0, 41)}[timing]
  means = np.stack([_slow_mean(radiance, s, s + 16, timing.subframe_support) for s in starts])
  expected = _slow_raw(KEY, means, (600.0, 600.0), IsoNoise(), bits=10)
  raw = simulate_previews(KEY, radiance, 600.0, IsoNoise(), timing, bits=10)
  np.testing.assert_allclose(raw, expected, rtol=0, atol=1e-9)


@BOTH_TIMINGS
def test_target_is_the_entry_at_the_start_of_the_burst(timing):
  """Entry 80 in the paper, 57 in the release: the sharp scene as the first frame begins."""
  radiance = np.arange(100.0).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 4))
  np.testing.assert_array_equal(target_of(radiance, timing), {PAPER: 80, RELEASE: 57}[timing])


@BOTH_TIMINGS
def test_previews_and_burst_share_nothing_but_the_scene(timing):
  """What happens after t^0 leaves the previews as they are, what happens before it leaves the burst as it is."""
  radiance, start = _smooth_scene().astype(np.float32), timing.target_index
  later, earlier = radiance.copy(), radiance.copy()
  later[start:], earlier[:start] = 0.1, 0.1
  times = np.full(4, 32 * _S, np.float32)
  previews = jax.jit(lambda x: simulate_previews(QUICK_KEY, x, 600.0, IsoNoise(), timing))
  burst = jax.jit(lambda x: simulate_burst(QUICK_KEY, x, times, 600.0, IsoNoise(), timing))
  np.testing.assert_allclose(previews(later), previews(radiance), atol=2e-6)  # rounding of t^0 in float32
  np.testing.assert_allclose(burst(earlier), burst(radiance), atol=2e-6)
  assert np.abs(previews(earlier) - previews(radiance)).max() > 0.1
  assert np.abs(burst(later) - burst(radiance)).max() > 0.1


@BOTH_TIMINGS
def test_static_noise_free_scene_looks_the_same_at_every_exposure(x64, timing):
  """Neither times nor gains change a frame; the gradient to the times is 0 (the authors' release gives -S / e)."""
  image = _smooth_scene(1, seed=3)
  radiance = jnp.asarray(np.repeat(image, 230, axis=0))
  burst = lambda t: simulate_burst(QUICK_KEY, radiance, t, 600.0, NOISELESS, timing)
  value_and_jacobian = jax.jit(lambda t: (burst(t), jax.jacrev(burst)(t)))
  for times in ([32, 32, 32, 32], [8, 24, 40, 56], [8.4, 9.6, 33.3, 21.7]):
    times = np.array(times) * _S
    value, jacobian = value_and_jacobian(times)
    np.testing.assert_allclose(value, np.repeat(image, 4, axis=0), atol=1e-9)
    np.testing.assert_allclose(jacobian * _S, 0, atol=1e-12)


def test_noise_is_what_a_static_scene_loses_by_short_exposures(x64):
  """On a static scene the gradient to the times is that of the noise alone: d std / dt z, which shrinks the noise."""
  radiance, times = jnp.full((230, 2, 2, 4), 0.4), np.array([9.3, 21.1, 30.2, 44.7]) * _S
  burst = lambda t: simulate_burst(QUICK_KEY, radiance, t, 30.0, IsoNoise(), PAPER)
  std = lambda t: jnp.sqrt(IsoNoise().variance(0.4, gains_for(t, 30.0, PAPER)))
  normal = jax.random.normal(QUICK_KEY, (4, 2, 2, 4))
  slopes = jnp.diagonal(jax.jit(jax.jacfwd(std))(times))
  assert np.all(slopes < 0)
  by_time = np.einsum("ihwci->ihwc", jax.jit(jax.jacrev(burst))(times))
  np.testing.assert_allclose(by_time, slopes.reshape(4, 1, 1, 1) * normal, rtol=1e-9)


@BOTH_TIMINGS
@EVERY_MODEL
def test_gradient_to_every_exposure_time_equals_central_differences(x64, timing, model):
  """Blur, shift of later frames, gains and noise level together, for a fixed key, to 1e-6 relative; no pixel saturates.

  The differences are taken in the slow simulator's terms: through `simulate_burst` at t +- h, whose values are tested
  above against the loop.
  """
  radiance, times, step = jnp.asarray(_smooth_scene(seed=4)), np.array([9.3, 24.2, 40.35, 31.4]), 1e-4
  gain = 2.0 if model is MODELS["paper"] else 20.0
  burst = lambda t: simulate_burst(QUICK_KEY, radiance, t * _S, gain, model, timing)
  every = jax.jit(lambda t: (burst(t), jax.jacrev(burst)(t), jax.jacfwd(burst)(t)))
  raw, by_reverse, by_forward = every(times)
  assert raw.min() > 0.01 and raw.max() < 0.99
  shifts = step * np.eye(4)
  numeric = np.stack([(every(times + x)[0] - every(times - x)[0]) / (2 * step) for x in shifts], axis=-1)
  assert np.abs(numeric).max() > 1e-2
  np.testing.assert_allclose(by_reverse, numeric, rtol=1e-6, atol=2e-9)
  np.testing.assert_allclose(by_forward, numeric, rtol=1e-6, atol=2e-9)


def test_gradient_to_gains_given_by_the_caller(x64):
  """The gains of Eq. 1 are the default; any others may be given, and the noise depends on them as differences say."""
  radiance, times = jnp.asarray(_smooth_scene(seed=5)), np.array([9.3, 24.2, 40.35, 31.4]) * _S
  gains, step = np.array([20.0, 11, 7, 9]), 1e-3
  burst = lambda g: simulate_burst(QUICK_KEY, radiance, times, 600.0, IsoNoise(), PAPER, gains=g)
  every = jax.jit(lambda g: (burst(g), jax.jacrev(burst)(g)))
  np.testing.assert_allclose(every(gains_for(times, 20.0, PAPER))[0],
                             simulate_burst(QUICK_KEY, radiance, times, 20.0, IsoNoise(), PAPER), atol=1e-12)
  by_gain = every(gains)[1]
  for frame, shift in enumerate(step * np.eye(4)):
    numeric = (every(gains + shift)[0] - every(gains - shift)[0]) / (2 * step)
    np.testing.assert_allclose(by_gain[..., frame], numeric, rtol=1e-6, atol=1e-10)


def test_saturated_pixels_have_no_gradient(x64):
  """Where a pixel is clipped at 0 or 1, no exposure time matters; elsewhere it does."""
  radiance, times = jnp.asarray(1.2 * _smooth_scene(seed=6)), np.array([9.3, 24.2, 40.35, 31.4]) * _S
  burst = lambda t: simulate_burst(QUICK_KEY, radiance, t, 3000.0, IsoNoise(), PAPER)
  raw, jacobian = map(np.asarray, jax.jit(lambda t: (burst(t), jax.jacrev(burst)(t)))(times))
  saturated = (raw == 0) | (raw == 1)
  assert 10 < saturated.sum() < raw.size - 10
  np.testing.assert_array_equal(jacobian[saturated], 0)
  assert np.all(np.abs(jacobian[~saturated]).max(axis=-1) > 0)


def test_quantisation_does_not_touch_the_gradient(x64):
  """Straight through: the value is a level, the derivative that of the burst without quantisation."""
  radiance, times = jnp.asarray(_smooth_scene(seed=7)), np.array([9.3, 24.2, 40.35, 31.4]) * _S
  burst = lambda t, bits: simulate_burst(QUICK_KEY, radiance, t, 600.0, IsoNoise(), PAPER, bits=bits)
  every = jax.jit(lambda t, bits: (burst(t, bits), jax.jacrev(burst)(t, bits)), static_argnums=1)
  expected = every(times, None)[1]
  raw, jacobian = every(times, 12)
  levels = np.asarray(raw) * (2**12 - 1)
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-8)
  np.testing.assert_allclose(jacobian, expected, rtol=1e-9)


def test_key_decides_the_noise_and_candidates_may_share_it(x64):
  """One key, one draw: bursts of other times differ by their noise level, not by their normal numbers."""
  radiance, times = np.full((230, 2, 2, 4), 0.4), np.full(4, 32 * _S)
  burst = lambda key, t: np.asarray(simulate_burst(key, radiance, t, 30.0, IsoNoise(), PAPER))
  np.testing.assert_array_equal(burst(KEY, times), burst(KEY, times))
  assert np.all(burst(KEY, times) != burst(jax.random.key(12), times))
  standard = lambda t: (burst(KEY, t) - 0.4) / np.sqrt(IsoNoise().variance(0.4, gains_for(t, 30.0, PAPER)))[0]
  np.testing.assert_allclose(standard(times), standard(times / 4), rtol=1e-8)


def test_plain_jitted_and_vmapped_agree():
  """A batch has a key, scene, times and gain each; raw and gradients are those of single bursts, in float32."""
  rng, num = np.random.default_rng(8), 3
  radiance = np.stack([_smooth_scene(seed=i) for i in range(num)]).astype(np.float32)
  times = (rng.uniform(8, 32, (num, 4)) * _S).astype(np.float32)
  gains = rng.uniform(100, 300, num).astype(np.float32)
  batch = (jax.random.split(KEY, num), radiance, times, gains)

  def raw_and_gradient(key, one, t, gain):
    burst = lambda t: simulate_burst(key, one, t, gain, IsoNoise(), PAPER)
    return burst(t), jax.grad(lambda t: jnp.sum(burst(t)**2))(t), simulate_previews(key, one, gain, IsoNoise(), PAPER)

  jitted = jax.jit(raw_and_gradient)
  singles = [jitted(*(x[i] for x in batch)) for i in range(num)]
  batched = jax.jit(jax.vmap(raw_and_gradient))(*batch)
  plain = raw_and_gradient(*(x[0] for x in batch))
  for index, name in enumerate(("raw", "gradient", "previews")):
    tolerance = dict(rtol=2e-4, atol=1e-5 * np.abs(singles[0][index]).max(), err_msg=name)
    np.testing.assert_allclose(plain[index], singles[0][index], **tolerance)
    np.testing.assert_allclose(batched[index], np.stack([x[index] for x in singles]), **tolerance)
    assert batched[index].dtype == np.float32


def test_vmap_over_candidates_shares_scene_and_noise(x64):
  """Four candidates of one scene under one key, vmapped, are the four single bursts."""
  radiance = jnp.asarray(_smooth_scene(seed=9))
  candidates = np.array([[8, 24, 40, 56], [32] * 4, [16] * 4, [9.5, 8.1, 60, 11]]) * _S
  burst = functools.partial(simulate_burst, KEY, radiance, preview_gain=600.0, noise_model=IsoNoise(), timing=PAPER)
  np.testing.assert_allclose(jax.jit(jax.vmap(lambda t: burst(exposure_times=t)))(candidates),
                             np.stack([burst(exposure_times=t) for t in candidates]), atol=1e-12)


@pytest.mark.parametrize("num_frames", (2, 6, 8))
def test_any_even_burst_length(x64, num_frames):
  """The whole budget of any preset fits its own sequence and gives n frames with finite gradients."""
  timing = BurstTiming.paper(num_frames)
  radiance = jnp.asarray(_smooth_scene(timing.num_subframes(timing.budget_s), shape=(1, 1, 4)))
  times = np.linspace(8, 56, num_frames) * _S
  jacobian = jax.jit(jax.jacrev(lambda t: simulate_burst(QUICK_KEY, radiance, t, 20.0, IsoNoise(), timing)))(times)
  assert jacobian.shape == (num_frames, 1, 1, 4, num_frames) and np.all(np.isfinite(jacobian))


# Bad input.


def _take(radiance=None, times=None, **changes):
  arguments = dict(preview_gain=600.0, noise_model=IsoNoise(), timing=PAPER) | changes
  radiance = np.ones((230, 2, 2, 4), np.float32) if radiance is None else radiance
  return simulate_burst(KEY, radiance, np.full(4, 32 * _S) if times is None else times, **arguments)


@pytest.mark.parametrize("shape", ((230, 2, 2, 3), (230, 4, 4), (2, 230, 2, 2, 4), (230, 4, 4, 1)))
def test_radiance_that_is_not_packed_bayer_is_an_error(shape):
  """RGB, an unpacked mosaic, a batch: shape and remedy are named, by burst, previews and target alike."""
  radiance, message = np.ones(shape, np.float32), r"packed Bayer planes.*use jax.vmap.*got shape"
  for call in (_take, lambda x: simulate_previews(KEY, x, 600.0, IsoNoise(), PAPER), lambda x: target_of(x, PAPER)):
    with pytest.raises(ValueError, match=message):
      call(radiance)


def test_sequences_that_are_too_short_are_an_error():
  """Too short for any burst: by shape, even under jit. Too short for this burst: by its windows."""
  with pytest.raises(ValueError, match="100 subframes.*at least 134 here, and 230 for a burst that spends the whole"):
    _take(np.ones((100, 2, 2, 4), np.float32))
  with pytest.raises(ValueError, match="100 subframes.*at least 134"):
    jax.jit(_take)(np.ones((100, 2, 2, 4), np.float32))
  with pytest.raises(ValueError, match="leave the sequence of 200 subframes"):
    _take(np.ones((200, 2, 2, 4), np.float32))
  with pytest.raises(ValueError, match="79 subframes.*at least 80"):
    simulate_previews(KEY, np.ones((79, 2, 2, 4), np.float32), 600.0, IsoNoise(), PAPER)
  with pytest.raises(ValueError, match="80 subframes.*at least 81"):
    target_of(np.ones((80, 2, 2, 4), np.float32), PAPER)
  np.testing.assert_array_equal(target_of(np.ones((81, 2, 2, 4), np.float32), PAPER), 1)  # Just long enough.


@pytest.mark.parametrize("bad", (np.nan, np.inf, 0.0, -1e-3))
def test_times_and_gains_must_be_positive_and_finite(bad):
  """Each is named with the value seen."""
  with pytest.raises(ValueError, match="exposure_times must be positive and finite.*got"):
    _take(times=np.array([bad, 0.01, 0.01, 0.01]))
  with pytest.raises(ValueError, match="preview_gain must be positive and finite, got"):
    _take(preview_gain=bad)
  with pytest.raises(ValueError, match="gains must be positive and finite, got"):
    _take(gains=np.array([bad, 1, 1, 1]))
  with pytest.raises(ValueError, match="preview_gain must be positive and finite, got"):
    simulate_previews(KEY, np.ones((230, 2, 2, 4)), bad, IsoNoise(), PAPER)


def test_wrong_numbers_of_frames_and_gains_and_bits_are_an_error():
  """Three times for four frames; two gains; eleven and a half bits; sensor counts instead of radiance."""
  with pytest.raises(ValueError, match=r"exposure_times must have shape \(4,\)"):
    _take(times=np.full(3, 0.01))
  with pytest.raises(ValueError, match=r"gains must be a scalar or have shape \(4,\)"):
    _take(gains=np.ones(2))
  with pytest.raises(ValueError, match="integer from 1 to 16"):
    _take(bits=11.5)
  with pytest.raises(ValueError, match="floating point"):
    _take(np.ones((230, 2, 2, 4), np.uint16))


@pytest.mark.parametrize("slots", [(0, 1), (0, 3), (0, 2, 3, 5)], ids=str)
def test_a_burst_with_frames_left_out_is_the_shorter_burst(x64, slots):
  """Neither the frame nor its gap takes time: what is taken equals a burst of that many frames, wherever it stands."""
  whole, part = BurstTiming.paper(6), BurstTiming.paper(len(slots))
  rng = np.random.default_rng(3)
  radiance, times = _smooth_scene(whole.num_subframes(whole.budget_s)), rng.uniform(8, 40, len(slots)) * _S
  padded = np.zeros(6)
  padded[list(slots)] = times
  burst = simulate_burst(KEY, radiance, padded, 600.0, NOISELESS, whole)
  expected = simulate_burst(KEY, radiance, times, 600.0, NOISELESS, part)
  np.testing.assert_allclose(burst[np.array(slots)], expected, atol=1e-8)  # No noise is a tiny one.
  left_out = np.setdiff1d(np.arange(6), slots)
  assert not np.any(burst[left_out]) and not np.any(gains_for(padded, 600.0, whole)[left_out])
  np.testing.assert_array_equal(np.flatnonzero(frame_mask(padded)), slots)
  np.testing.assert_allclose(capture_time(padded, whole), times.sum() + 7 * (len(slots) - 1) * _S, rtol=1e-13)


def test_left_out_frames_have_no_gradient_and_the_others_that_of_the_shorter_burst(x64):
  """With noise of a model that does not know a gain of 0; nothing is NaN."""
  whole, part = BurstTiming.paper(6), BurstTiming.paper(4)
  radiance, model = _smooth_scene(whole.num_subframes(whole.budget_s)), IsoNoise(shot_jitter=-1.5e-4)
  times = np.random.default_rng(4).uniform(8, 40, 4) * _S

  def loss(times, timing):
    raw = simulate_burst(QUICK_KEY, radiance, times, 600.0, model, timing)
    return jnp.sum(jnp.cos(3 * raw[:1]))  # Only of frame 0: alternate frames draw other noise in the longer burst.

  gradient = jax.grad(loss)(np.append(times, [0.0, 0.0]), whole)
  assert np.all(np.isfinite(gradient)) and not np.any(gradient[4:])
  taken = jax.grad(lambda times: jnp.sum(simulate_burst(KEY, radiance, times, 600.0, NOISELESS, whole) ** 2))(
      np.append(times, [0.0, 0.0]))
  expected = jax.grad(lambda times: jnp.sum(simulate_burst(KEY, radiance, times, 600.0, NOISELESS, part) ** 2))(times)
  np.testing.assert_allclose(taken[:4], expected, rtol=1e-10)


def test_the_first_frame_is_never_left_out():
  """It is the base that all others are aligned to."""
  with pytest.raises(ValueError, match="behind the first one"):
    _take(times=np.array([0.0, 0.01, 0.01, 0.01]))
