"""Laws of the capture conditions: what one key draws, and that its parts are independent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.simulator import CaptureSetup, IsoNoise, PaperNoise, sample_conditions, simulate_burst, simulate_previews
from debir_jax.types import BurstTiming

PAPER = BurstTiming.paper()


def _setup(**changes):
  return CaptureSetup(**dict(timing=PAPER, noise_model=IsoNoise(), min_preview_gain=512.0, max_preview_gain=1024.0)
                      | changes)


def _conditions(setup, num):
  return jax.jit(jax.vmap(sample_conditions, (0, None)))(jax.random.split(jax.random.key(0), num), setup)


def test_preview_gains_are_uniform_in_their_range(x64):
  """Never outside; mean, variance and deciles of a uniform law."""
  num = 20_000
  share = np.sort(np.asarray(_conditions(_setup(), num).preview_gain) - 512) / 512
  assert share[0] >= 0 and share[-1] <= 1
  uniform = (np.arange(num) + 0.5) / num
  assert np.abs(share - uniform).max() < 2 / np.sqrt(num)  # Kolmogorov-Smirnov, far beyond the 1e-3 level


def test_one_gain_is_a_range_too(x64):
  """Minimum equal to maximum draws that gain."""
  np.testing.assert_allclose(_conditions(_setup(max_preview_gain=512.0), 10).preview_gain, 512)


def test_same_key_same_capture_and_another_key_another(x64):
  """All that is random comes from the key."""
  def draw(seed):
    conditions = sample_conditions(jax.random.key(seed), _setup(camera_jitter=True))
    keys = (conditions.preview_key, conditions.burst_key, conditions.exposure_key)
    return [conditions.preview_gain, conditions.noise_model.shot_jitter, conditions.noise_model.log_read_jitter,
            *map(jax.random.key_data, keys)]

  for first, again, other in zip(draw(1), draw(1), draw(2)):
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_keys_of_a_capture_differ_from_each_other_and_from_its_own():
  """Noise of previews, noise of the burst and random exposure times never share a key."""
  key = jax.random.key(3)
  conditions = sample_conditions(key, _setup())
  drawn = (key, conditions.preview_key, conditions.burst_key, conditions.exposure_key)
  keys = [tuple(np.ravel(jax.random.key_data(k))) for k in drawn]
  assert len(set(keys)) == 4


def test_noise_of_previews_and_burst_is_uncorrelated(x64):
  """Two previews and four frames of one capture of a static scene: all correlations within 5 standard errors of 0."""
  radiance, conditions = jnp.full((230, 20, 20, 4), 0.5), sample_conditions(jax.random.key(4), _setup())
  take = dict(preview_gain=20.0, noise_model=IsoNoise(), timing=PAPER)
  previews = simulate_previews(conditions.preview_key, radiance, **take)
  burst = simulate_burst(conditions.burst_key, radiance, np.full(4, 32 / 1920), **take)
  correlation = np.corrcoef(np.concatenate([previews, burst]).reshape(6, -1))
  assert np.abs(correlation - np.eye(6)).max() < 5 / np.sqrt(1600)


def test_camera_is_drawn_only_where_asked_for(x64):
  """Without camera_jitter the calibration itself; with it one camera per capture, for previews and burst alike."""
  assert sample_conditions(jax.random.key(5), _setup()).noise_model == IsoNoise()
  cameras = _conditions(_setup(camera_jitter=True), 1000).noise_model
  assert len(np.unique(cameras.shot_jitter)) == 1000
  np.testing.assert_allclose(np.std(cameras.log_read_jitter), 0.25, rtol=0.1)
  gains = np.asarray(_conditions(_setup(camera_jitter=True), 1000).preview_gain)
  assert abs(np.corrcoef(gains, cameras.log_read_jitter)[0, 1]) < 5 / np.sqrt(1000)


def test_jitter_leaves_gains_and_keys_as_they_are(x64):
  """Each random part has its own tag: switching the camera on does not change what else is drawn."""
  plain, jittered = (sample_conditions(jax.random.key(6), _setup(camera_jitter=on)) for on in (False, True))
  assert plain.preview_gain == jittered.preview_gain
  for name in ("preview_key", "burst_key", "exposure_key"):
    np.testing.assert_array_equal(*(jax.random.key_data(getattr(conditions, name)) for conditions in (plain, jittered)))


def test_setup_is_a_pytree_whose_conditions_are_static():
  """Only the parameters of the noise model are leaves; it passes through jit and comes back equal."""
  setup = _setup(camera_jitter=True)
  assert jax.tree.leaves(setup) == [100.0, 0.0, 0.0]
  back = jax.jit(lambda x: x)(setup)
  assert (back.timing, back.min_preview_gain, back.max_preview_gain, back.camera_jitter) == (PAPER, 512, 1024, True)


@pytest.mark.parametrize("lo, hi", ((0.0, 10.0), (-1.0, 10.0), (20.0, 10.0), (float("nan"), 10.0), (1.0, float("nan")),
                                    (1.0, float("inf"))))
def test_impossible_ranges_of_gains_are_an_error(lo, hi):
  """Positive, finite, in order."""
  with pytest.raises(ValueError, match="0 < min_preview_gain <= max_preview_gain.*got"):
    _setup(min_preview_gain=lo, max_preview_gain=hi)


def test_camera_jitter_without_cameras_is_an_error():
  """PaperNoise knows no spread; the remedy is named."""
  with pytest.raises(ValueError, match="PaperNoise has none. Use IsoNoise or switch camera_jitter off"):
    _setup(noise_model=PaperNoise(), camera_jitter=True)


@pytest.mark.parametrize("black_level", (-0.1, 1.0))
def test_impossible_black_levels_are_an_error(black_level):
  """A fraction of white."""
  with pytest.raises(ValueError, match="black_level"):
    _setup(black_level=black_level)


def test_every_frame_and_preview_has_a_camera_of_its_own_where_asked_for(x64):
  """As the code of the authors' release draws them: n and two, all different, with the spread of the calibration."""
  conditions = _conditions(_setup(camera_jitter=True, jitter_each_frame=True), 500)
  assert conditions.noise_model.shot_jitter.shape == (500, 4, 1, 1, 1)
  assert conditions.preview_noise_model.log_read_jitter.shape == (500, 2, 1, 1, 1)
  drawn = np.concatenate([np.ravel(model.log_read_jitter) for model in (
      conditions.noise_model, conditions.preview_noise_model)])
  assert len(np.unique(drawn)) == 500 * 6 and np.std(drawn) == pytest.approx(0.25, rel=0.1)
  one = sample_conditions(jax.random.key(1), _setup(camera_jitter=True, jitter_each_frame=True))
  burst = simulate_burst(one.burst_key, jnp.full((230, 4, 4, 4), 0.5), np.full(4, 32 / 1920), one.preview_gain,
                         one.noise_model, PAPER)
  assert burst.shape == (4, 4, 4, 4)


def test_previews_and_burst_share_a_camera_otherwise():
  """The default: one camera takes both."""
  one = sample_conditions(jax.random.key(1), _setup(camera_jitter=True))
  assert one.noise_model == one.preview_noise_model
