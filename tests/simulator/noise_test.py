"""Laws of the noise models and of the reparameterised draw (paper, Eq. 8), before the clip."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.simulator import IsoNoise, PaperNoise, PoissonGaussianNoise, add_noise, gains_for
from debir_jax.types import BurstTiming

_S = 1 / 1920  # One subframe in s.
MODELS = {"paper": PaperNoise(), "poisson_gaussian": PoissonGaussianNoise(), "iso": IsoNoise()}
EVERY_MODEL = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def _slow_variance(name, signal, gain):
  """The formulas of the literature, one number at a time."""
  if name == "paper":  # gain times noise of variance read + shot S
    return (gain * np.sqrt(6.8e-9 + 1.8e-7 * signal))**2
  if name == "poisson_gaussian":
    return gain * 9.3e-5 * signal + gain**2 * 7e-9
  shot = 9.2857e-7 * 100 * gain + 8.1006e-5
  return np.exp(2.2282 * np.log(shot) + 0.45982) + shot * signal


@pytest.mark.parametrize("name", MODELS)
def test_variance_is_the_formula_of_each_model(x64, name):
  """Signals from black to white, gains from 1 to 2048; signal and gain broadcast."""
  signals, gains = np.array([0.0, 0.01, 0.3, 1.0]), np.array([1.0, 64.0, 512.0, 2048.0])
  expected = [[_slow_variance(name, s, g) for s in signals] for g in gains]
  np.testing.assert_allclose(MODELS[name].variance(signals, gains[:, None]), expected, rtol=1e-12)


@pytest.mark.parametrize("gain", (16.0, 512.0, 1024.0))
@pytest.mark.parametrize("name", MODELS)
def test_mean_and_variance_by_monte_carlo(name, gain):
  """400,000 draws at each of five signals: mean, variance and fourth moment of a Gaussian within 5 standard errors.

  At black and white half of the draws leave [0, 1]: nothing is clipped here.
  """
  levels, num = np.array([0.0, 0.05, 0.3, 0.7, 1.0]), 400_000
  signal = jnp.broadcast_to(levels[:, None].astype(np.float32), (5, num))
  noisy = add_noise(jax.random.key(0), signal, jnp.full(5, gain), MODELS[name])
  noise = np.asarray(noisy, np.float64) - levels[:, None]
  variance = _slow_variance(name, levels, gain)
  assert np.all(np.abs(noise.mean(axis=1)) < 5 * np.sqrt(variance / num))
  assert np.all(np.abs(noise.var(axis=1) / variance - 1) < 5 * np.sqrt(2 / num))
  assert np.all(np.abs((noise**4).mean(axis=1) / variance**2 - 3) < 5 * np.sqrt(96 / num))
  assert np.all(np.abs(np.corrcoef(noise) - np.eye(5)) < 5 / np.sqrt(num))  # frames are independent


@pytest.mark.parametrize("iso_240, subframes, shot_noise, read_variance", (
    (102400, 8, 9.52e-2, 8.39e-3), (102400, 16, 4.76e-2, 1.79e-3), (102400, 64, 1.20e-2, 8.26e-5),
    (204800, 8, 1.90e-1, 3.93e-2), (204800, 64, 2.39e-2, 3.84e-4)))
def test_iso_noise_meets_the_table_of_the_release(x64, iso_240, subframes, shot_noise, read_variance):
  """ISO(t) = ISO_240 (1/240 s) / t to the three digits of the table; as a gain, ISO / 100 with g t constant."""
  preview_gain = iso_240 / 100 * 8 / 16  # the preview is exposed for 16 subframes
  gain = gains_for(np.full(4, subframes * _S), preview_gain, BurstTiming.paper())[0]
  np.testing.assert_allclose(gain * 100, iso_240 * 8 / subframes, rtol=1e-12)
  np.testing.assert_allclose(IsoNoise().shot_noise(gain), shot_noise, rtol=4.5e-3)
  np.testing.assert_allclose(IsoNoise().read_variance(gain), read_variance, rtol=4.5e-3)
  np.testing.assert_allclose(IsoNoise(base_iso=50.0).variance(0.5, 2 * gain), IsoNoise().variance(0.5, gain))


def test_default_parameters_of_the_models_meet(x64):
  """PaperNoise equals the ISO table at the preview with g_p = 512; PoissonGaussianNoise is close to it at every time.

  Per gain the table has shot noise 9.3e-5 and read variance 5.0e-9 to 9.4e-9 from ISO 12,800 to 204,800.
  """
  np.testing.assert_allclose(PaperNoise().variance(0.0, 512.0), IsoNoise().read_variance(512.0), rtol=0.01)
  np.testing.assert_allclose(PaperNoise().variance(1.0, 512.0), IsoNoise().variance(1.0, 512.0), rtol=0.01)
  gains = np.array([128.0, 512, 1024, 2048])
  np.testing.assert_allclose(IsoNoise().shot_noise(gains) / gains, 9.3e-5, rtol=0.01)
  read_variance = IsoNoise().read_variance(gains) / gains**2
  np.testing.assert_allclose(read_variance[jnp.array([0, 3])], [5.0e-9, 9.4e-9], rtol=0.01)
  assert read_variance[0] < PoissonGaussianNoise().read_variance < read_variance[3]


def test_paper_noise_scales_with_the_gain_and_shot_noise_with_its_root(x64):
  """Doubling the gain doubles the standard deviation of PaperNoise; of pure shot noise it takes four times the gain."""
  ratio = lambda model, factor: np.sqrt(model.variance(0.4, 100.0 * factor) / model.variance(0.4, 100.0))
  np.testing.assert_allclose(ratio(PaperNoise(), 2), 2, rtol=1e-12)
  np.testing.assert_allclose(ratio(PoissonGaussianNoise(read_variance=0.0), 4), 2, rtol=1e-12)
  np.testing.assert_allclose(ratio(PoissonGaussianNoise(shot_noise=0.0), 2), 2, rtol=1e-12)


@pytest.mark.parametrize("subframes", ([32, 32, 32, 32], [8, 24, 40, 56]), ids=("uniform", "bracket"))
def test_merging_a_static_burst_by_exposure_time_has_the_variance_of_theory(x64, subframes):
  """Weights t_i / sum t give [shot S K + n read K^2 / sum t] / sum t, K = g_p t_p, in closed form and by Monte Carlo.

  The shot noise depends on the total exposure time alone, the read noise on the number of frames too.
  """
  timing, model, level, preview_gain, num = BurstTiming.paper(), PoissonGaussianNoise(), 0.4, 700.0, 100_000
  times = np.array(subframes) * _S
  total, constant = times.sum(), preview_gain * timing.preview_exposure_s
  expected = (model.shot_noise * level * constant + 4 * model.read_variance * constant**2 / total) / total
  gains = gains_for(times, preview_gain, timing)
  np.testing.assert_allclose(jnp.sum((times / total)**2 * model.variance(level, gains)), expected, rtol=1e-12)
  frames = add_noise(jax.random.key(1), jnp.full((4, num), level), gains, model)
  merged = np.tensordot(times / total, np.asarray(frames), axes=1)
  np.testing.assert_allclose(merged.var(), expected, rtol=5 * np.sqrt(2 / num))


# The draw.


@EVERY_MODEL
def test_draw_is_the_standard_deviation_times_a_normal_of_the_key_alone(x64, model):
  """(noisy - signal) / std is the same array for every signal, gain and model, and changes with the key."""
  rng, shape = np.random.default_rng(0), (4, 3, 2, 4)
  normal = lambda key: jax.random.normal(key, shape)
  for gain in (3.0, 900.0):
    signal, gains = rng.uniform(0, 1, shape), gain * rng.uniform(1, 2, 4)
    std = np.sqrt(model.variance(signal, gains.reshape(4, 1, 1, 1)))
    noisy = add_noise(jax.random.key(2), jnp.asarray(signal), gains, model)
    np.testing.assert_allclose((noisy - signal) / std, normal(jax.random.key(2)), rtol=1e-9, atol=1e-9)
    assert np.abs(noisy - add_noise(jax.random.key(3), jnp.asarray(signal), gains, model)).max() > 0


@EVERY_MODEL
def test_gradient_of_the_draw_equals_central_differences(x64, model):
  """For a fixed key the noisy image is a smooth function of signal and gains, to 1e-6 relative."""
  rng, key = np.random.default_rng(1), jax.random.key(4)
  signal, gains = rng.uniform(0.1, 1, (4, 2, 1, 4)), rng.uniform(300, 900, 4)
  draw = jax.jit(lambda s, g: add_noise(key, s, g, model))
  by_signal, by_gains = jax.jit(jax.jacrev(draw, (0, 1)))(signal, gains)
  step = 1e-5
  numeric = (draw(signal + step, gains) - draw(signal - step, gains)) / (2 * step)  # pixels do not mix
  np.testing.assert_allclose(by_signal.reshape(32, 32), np.diag(numeric.ravel()), rtol=1e-6, atol=1e-9)
  for frame in range(4):
    shift = 1e-2 * np.eye(4)[frame]
    numeric = (draw(signal, gains + shift) - draw(signal, gains - shift)) / 2e-2
    np.testing.assert_allclose(by_gains[..., frame], numeric, rtol=1e-6, atol=1e-12)


def test_black_pixels_and_noise_free_models_have_finite_gradients(x64):
  """The square root of the variance has infinite slope at 0; black stays black and its gradient finite all the same."""
  signal = jnp.zeros((2, 1, 1, 4))
  for model in (PoissonGaussianNoise(read_variance=0.0), PaperNoise(read_variance=0.0), PoissonGaussianNoise(0.0, 0.0)):
    value, pullback = jax.vjp(functools.partial(add_noise, jax.random.key(5), noise_model=model), signal, jnp.ones(2))
    np.testing.assert_allclose(value, 0, atol=1e-9)
    assert all(np.all(np.isfinite(x)) for x in pullback(jnp.ones_like(value)))


@EVERY_MODEL
def test_plain_jitted_and_vmapped_draws_agree(model):
  """One burst at a time or a batch with a key each: the same numbers, in float32."""
  rng, keys = np.random.default_rng(2), jax.random.split(jax.random.key(6), 3)
  signal = rng.uniform(0, 1, (3, 4, 2, 2, 4)).astype(np.float32)
  gains = rng.uniform(100, 900, (3, 4)).astype(np.float32)
  draw = lambda key, s, g: add_noise(key, s, g, model)
  plain = np.stack([draw(*x) for x in zip(keys, signal, gains)])
  assert plain.dtype == np.float32
  np.testing.assert_allclose(np.stack([jax.jit(draw)(*x) for x in zip(keys, signal, gains)]), plain, atol=1e-6)
  np.testing.assert_allclose(jax.jit(jax.vmap(draw))(keys, signal, gains), plain, atol=1e-6)


def test_one_gain_for_all_frames_may_be_a_scalar(x64):
  """As for previews: a scalar is that gain in every frame."""
  signal, key = jnp.full((2, 3, 3, 4), 0.5), jax.random.key(7)
  np.testing.assert_array_equal(
      add_noise(key, signal, 512.0, IsoNoise()), add_noise(key, signal, jnp.full(2, 512.0), IsoNoise()))


def test_models_are_pytrees_with_traced_and_batched_parameters(x64):
  """A batch of cameras is a model with one more axis; derivatives to its parameters exist."""
  models = PoissonGaussianNoise(jnp.array([1e-5, 2e-5]), jnp.array([1e-9, 2e-9]))
  variances = jax.jit(jax.vmap(lambda m: m.variance(0.5, 100.0)))(models)
  np.testing.assert_allclose(variances, np.array([1, 2]) * (100 * 1e-5 * 0.5 + 1e4 * 1e-9), rtol=1e-12)
  gradient = jax.grad(lambda m: m.variance(0.5, 100.0))(PoissonGaussianNoise(1e-5, 1e-9))
  np.testing.assert_allclose([gradient.shot_noise, gradient.read_variance], [50, 1e4], rtol=1e-12)


@EVERY_MODEL
def test_models_are_values(model):
  """Equal parameters are equal, and cannot change behind a compiled program's back."""
  assert model == type(model)() and hash(model) == hash(type(model)())
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(model, dataclasses.fields(model)[0].name, 0.0)


def test_wrong_number_of_gains_is_an_error():
  """One gain per frame."""
  for gains in (jnp.ones(3), jnp.ones((4, 1))):
    with pytest.raises(ValueError, match=r"scalar or have shape \(4,\), got"):
      add_noise(jax.random.key(0), jnp.ones((4, 2, 2, 4)), gains, PaperNoise())


# Cameras around the calibration.


@functools.partial(jax.jit, static_argnums=0)
def _cameras(num, base_iso):
  return jax.vmap(IsoNoise(base_iso).sample)(jax.random.split(jax.random.key(8), num))


def test_sampled_cameras_spread_as_in_the_release(x64):
  """Shot noise + N(0, 5e-5), ln read variance + N(0, 0.25), independent, around the calibration."""
  num = 40_000
  cameras = _cameras(num, 100.0)
  shot_jitter = np.asarray(cameras.shot_noise(512.0) - IsoNoise().shot_noise(512.0)) / 5e-5
  expected = 2.2282 * np.log(cameras.shot_noise(512.0)) + 0.45982
  read_jitter = np.asarray(jnp.log(cameras.read_variance(512.0)) - expected) / 0.25
  for jitter in (shot_jitter, read_jitter):  # cut at -3.5 standard deviations, which is below the standard errors
    assert abs(jitter.mean()) < 5 / np.sqrt(num)
    assert abs(jitter.var() - 1) < 5 * np.sqrt(2 / num)
  assert abs(np.corrcoef(shot_jitter, read_jitter)[0, 1]) < 5 / np.sqrt(num)


@pytest.mark.parametrize("base_iso", (1.0, 20.0, 100.0))
def test_sampled_shot_noise_is_positive_and_cut_not_piled_up(x64, base_iso):
  """Redrawn until positive, from gain 1 upwards: a normal cut at 0, whose mean is that of a truncated normal."""
  num = 40_000
  cameras = _cameras(num, base_iso)
  shot_noise = np.asarray(cameras.shot_noise(1.0))
  assert shot_noise.min() > 0
  assert np.all(np.isfinite(cameras.variance(np.full(num, 0.5), 1.0)))
  assert len(np.unique(shot_noise)) > num * 0.999  # clamped draws would repeat
  center = (9.2857e-7 * base_iso + 8.1006e-5) / 5e-5
  draws = np.random.default_rng(3).standard_normal(1_000_000) + center
  kept = draws[draws > 0] * 5e-5  # redraw until positive, literally
  np.testing.assert_allclose(shot_noise.mean(), kept.mean(), atol=6 * kept.std() / np.sqrt(num))
  np.testing.assert_allclose(shot_noise.std(), kept.std(), rtol=0.03)


def test_a_sample_keeps_base_iso_and_depends_on_the_key(x64):
  """One key, one camera."""
  first, again, other = (IsoNoise(50.0).sample(jax.random.key(i)) for i in (1, 1, 2))
  assert first == again and first.base_iso == 50.0
  assert first.shot_jitter != other.shot_jitter and first.log_read_jitter != other.log_read_jitter
