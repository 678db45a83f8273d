"""The weights of this repository: what they were made for, and that they do it."""

import pathlib

import numpy as np
import pytest

from configs import evaluate
from debir_jax.evaluation.evaluate import Method
from debir_jax.policies import uniform
from debir_jax.training.experiment import Experiment

_WEIGHTS = pathlib.Path(__file__).resolve().parents[2] / "debir_jax" / "weights" / "small"


@pytest.fixture(scope="module")
def measured():
  """Experiment, restorer's weights and the records of a few held-out scenes, DEBIR's first."""
  experiment = Experiment(evaluate.get_config("quickstart"))
  state = experiment.load_stage("stage3", _WEIGHTS, experiment.initial_state())
  methods = [Method("DEBIR", experiment.bae_policy(state), state.restoration_variables),
             Method("short", uniform(8 / 1920), state.restoration_variables)]
  scenes = list(experiment.all_scenes("test", 8))
  return experiment, methods, scenes, experiment.evaluator.evaluate(methods, scenes)


def test_they_restore_better_under_their_own_exposure_times(measured):
  """As in their README: about 32 dB, and far ahead of short exposures."""
  mean = lambda name: np.mean([record.psnr for record in measured[3] if record.method == name])
  ours, short = mean("DEBIR"), mean("short")
  assert ours > 30 and ours > short + 2


def test_times_get_shorter_with_motion(measured):
  """The fastest of the captures gets the shortest first frame, or nearly."""
  ours = [record for record in measured[3] if record.method == "DEBIR"]
  first = [record.exposure_times[0] for record in sorted(ours, key=lambda record: record.motion_magnitude)]
  assert np.mean(first[-4:]) < np.mean(first[:4]) - 2 / 1920


def test_the_restorer_takes_from_all_frames(measured):
  """Unlike one whose alignment has died."""
  experiment, methods, scenes, _ = measured
  examples = experiment.evaluator.examples(methods[:1], scenes, alternate_frame_sensitivity=True)
  assert np.mean([example.alternate_frame_sensitivity for example in examples]) > 0.05
