"""The weights of this repository: what they were made for, and that they do it."""

import pathlib

import numpy as np
import pytest

from configs import evaluate
from debir_jax.evaluation.evaluate import Method
from debir_jax.policies import bracket, uniform
from debir_jax.training.experiment import Experiment

_WEIGHTS = pathlib.Path(__file__).resolve().parents[2] / "debir_jax" / "weights" / "small"


@pytest.fixture(scope="module")
def measured():
  """Experiment, restorer's weights and the records of a few held-out scenes, DEBIR's first."""
  experiment = Experiment(evaluate.get_config("quickstart"))
  state = experiment.load_stage("stage3", _WEIGHTS, experiment.initial_state())
  policies = {"DEBIR": experiment.bae_policy(state), "bracketing": bracket(experiment.setup.timing)} | {
      f"uniform {count}": uniform(count / 1920) for count in (8, 16, 24, 32)}
  methods = [Method(name, policy, state.restoration_variables) for name, policy in policies.items()]
  scenes = list(experiment.all_scenes("test", 8))
  return experiment, methods, scenes, experiment.evaluator.evaluate(methods, scenes)


def test_they_restore_better_under_their_own_exposure_times(measured):
  """Than under bracketing and long uniform ones; from {8}x4 and {16}x4 eight scenes of two photos cannot tell them; and
  always as well as at first."""
  mean = lambda name: np.mean([record.psnr for record in measured[3] if record.method == name])
  psnr = {method.name: mean(method.name) for method in measured[1]}
  ours, short = psnr.pop("DEBIR"), [psnr.pop(f"uniform {count}") for count in (8, 16)]
  assert max(psnr.values()) + 0.3 < ours < max(short) + 1 and ours == pytest.approx(29.17, abs=0.02)
  assert max(short) - min(psnr.values()) > 1  # Exposure times matter at all.


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
