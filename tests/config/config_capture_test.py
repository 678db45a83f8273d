"""How a config takes bursts: timing, noise, gains, sizes of bursts and the candidates of the warm-up."""

import pathlib

import numpy as np
import pytest

from debir_jax.config.capture import burst_sizes_of, candidates_of, capture_setup_of, timing_of
from debir_jax.policies import candidate_set, pair_set
from debir_jax.simulator import CaptureSetup, IsoNoise, PaperNoise, PoissonGaussianNoise
from debir_jax.types import BurstTiming

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def config(monkeypatch):
  """The default config."""
  monkeypatch.syspath_prepend(str(_ROOT))
  from configs import default  # pylint: disable=import-outside-toplevel
  return default.get_config()


@pytest.mark.parametrize("num_frames", (2, 4, 8))
@pytest.mark.parametrize("name, preset", (("paper", BurstTiming.paper), ("release", BurstTiming.release)))
def test_timings_are_the_presets_for_any_number_of_frames(config, name, preset, num_frames):
  config.capture.update(dict(timing=name, num_frames=num_frames))
  assert timing_of(config) == preset(num_frames)


def test_cameras_are_jittered_in_training_only(config):
  """And only where the config wants it; all else is the same for training and evaluation."""
  setup = dict(timing=BurstTiming.paper(), noise_model=IsoNoise(), min_preview_gain=512.0, max_preview_gain=1024.0)
  assert capture_setup_of(config, training=True) == CaptureSetup(**setup, camera_jitter=True)
  assert capture_setup_of(config, training=False) == CaptureSetup(**setup, camera_jitter=False)
  config.capture.camera_jitter = False
  assert capture_setup_of(config, training=True) == CaptureSetup(**setup, camera_jitter=False)


@pytest.mark.parametrize("name, model", (("iso", IsoNoise()), ("paper", PaperNoise()),
                                         ("poisson_gaussian", PoissonGaussianNoise())))
def test_noise_models_go_by_name(config, name, model):
  config.capture.noise = name
  assert capture_setup_of(config, training=False).noise_model == model


def test_sizes_of_bursts_are_all_frames_unless_they_are_told(config):
  """Those that mean nothing are refused."""
  assert burst_sizes_of(config) == ()
  config.capture.update(dict(num_frames=8, burst_sizes=(2, 4, 8)))
  assert burst_sizes_of(config) == (2, 4, 8)
  config.capture.burst_sizes = (2, 4)
  with pytest.raises(ValueError, match=r"num_frames=8, which is the last one, got \(2, 4\)"):
    burst_sizes_of(config)


def test_active_sl_has_candidates_of_its_own(config):
  """All others look for the best of the set E."""
  np.testing.assert_array_equal(candidates_of(config).exposure_times, candidate_set(BurstTiming.paper()).exposure_times)
  config.bae.network, config.capture.num_frames = "active_sl", 2
  assert candidates_of(config).names == pair_set(BurstTiming.paper(2)).names


@pytest.mark.parametrize("field, choices", (("timing", "'paper', 'release'"),
                                            ("noise", "'iso', 'paper', 'poisson_gaussian'")))
def test_unknown_names_are_refused(config, field, choices):
  config.capture[field] = "none"
  with pytest.raises(ValueError, match=f"config.capture.{field}='none'; choose one of {choices}"):
    capture_setup_of(config, training=True)
