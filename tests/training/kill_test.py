"""Kill -9 at any moment, also in the middle of a save: the run goes on and ends with the same numbers, bit for bit."""

import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from toy import toy_config, toy_experiment, toy_state, toy_step

from debir_jax.training.loop import StageRun, train_stage
from debir_jax.training.stages import STAGES

_HERE = pathlib.Path(__file__).resolve().parent
# A toy run that saves at almost every step.
_PROGRAM = """
import pathlib, sys
sys.path.insert(0, {here!r})
from kill_test import finish
finish(pathlib.Path(sys.argv[1]))
"""


def finish(directory):
  """Trains to the end, in this process; returns the final weights as bytes."""
  config = toy_config(log_every_steps=7, checkpoint_every_steps=2)
  run = StageRun(stage=STAGES["stage1"], directory=directory, num_steps=60, step_fn=toy_step,
                 policy_of=lambda state: None)
  return np.asarray(train_stage(toy_experiment(config), run, toy_state()).restoration_params["kernel"]).tobytes()


def _start(directory):
  program = _PROGRAM.format(here=str(_HERE))
  return subprocess.Popen([sys.executable, "-c", program, directory], cwd=_HERE.parents[1])


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_at_random_moments_ends_with_the_same_numbers(tmp_path, seed):
  """Twice killed, each time a random while after its first new checkpoint; then another process finishes it."""
  expected, moments = finish(tmp_path / "whole"), random.Random(seed)
  directory, num_killed = tmp_path / "killed", 0
  for _ in range(2):
    known = set(directory.glob("checkpoints/*"))
    process = _start(directory)
    while not set(directory.glob("checkpoints/*")) - known and process.poll() is None:
      time.sleep(0.02)
    time.sleep(moments.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    num_killed += process.wait() == -signal.SIGKILL
  assert num_killed > 0
  assert finish(directory) == expected
