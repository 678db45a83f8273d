"""How bursts are taken: `config.capture`."""

import ml_collections

from debir_jax.config.choices import chosen
from debir_jax.policies import CandidateSet, candidate_set, check_burst_sizes, pair_set
from debir_jax.simulator import CaptureSetup
from debir_jax.types import BurstTiming
from debir_jax.weights.descriptions import NOISE_MODELS

_TIMINGS = dict(paper=BurstTiming.paper, release=BurstTiming.release)


def timing_of(config: ml_collections.ConfigDict) -> BurstTiming:
  """Timing of `config.capture`."""
  return chosen(_TIMINGS, config.capture.timing, "capture.timing")(config.capture.num_frames)


def capture_setup_of(config: ml_collections.ConfigDict, *, training: bool) -> CaptureSetup:
  """Conditions of `config.capture`; cameras are jittered in training only."""
  capture = config.capture
  return CaptureSetup(
      timing=timing_of(config), noise_model=chosen(NOISE_MODELS, capture.noise, "capture.noise")(),
      min_preview_gain=capture.min_preview_gain, max_preview_gain=capture.max_preview_gain,
      camera_jitter=training and capture.camera_jitter, jitter_each_frame=capture.jitter_each_frame,
      black_level=capture.black_level)


def burst_sizes_of(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Sizes of the bursts that one pair of networks is for; () where all bursts have all frames."""
  sizes = tuple(config.capture.burst_sizes)
  if sizes:
    check_burst_sizes(sizes, config.capture.num_frames)
  return sizes


def candidates_of(config: ml_collections.ConfigDict) -> CandidateSet:
  """Exposure times that the warm-up looks for the best of: the set E, or what Active S-L chooses from."""
  return (pair_set if config.bae.network == "active_sl" else candidate_set)(timing_of(config))
