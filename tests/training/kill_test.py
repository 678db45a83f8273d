"""Kill -9 at any moment, also in the middle of a save: the run goes on and ends with the same numbers, bit for bit."""

import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

_HERE = pathlib.Path(__file__).resolve().parent
# A toy run that saves at almost every step, and prints its final weights as bytes.
_PROGRAM = """
import pathlib, sys
sys.path.insert(0, {here!r})
import numpy as np
from toy import toy_config, toy_experiment, toy_state, toy_step
from debir_jax.training.loop import train_stage
from debir_jax.training.stages import STAGES
config = toy_config(log_every_steps=7, checkpoint_every_steps=2)
state = train_stage(toy_experiment(config), STAGES["stage1"], pathlib.Path(sys.argv[1]), toy_state(), toy_step, 60,
                    lambda state: None)
print("final", np.asarray(state.restoration_params["kernel"]).tobytes().hex())
"""


def _start(directory):
  program = _PROGRAM.format(here=str(_HERE))
  return subprocess.Popen([sys.executable, "-c", program, directory], cwd=_HERE.parents[1], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def _finish(directory):
  process = _start(directory)
  output, errors = process.communicate(timeout=120)
  assert process.returncode == 0, errors[-3000:]
  return output.splitlines()[-1]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_at_random_moments_ends_with_the_same_numbers(tmp_path, seed):
  """Twice killed, each time a random while after its first new checkpoint; then left to finish."""
  expected, moments = _finish(tmp_path / "whole"), random.Random(seed)
  directory, num_killed = tmp_path / "killed", 0
  for _ in range(2):
    known = set(directory.glob("checkpoints/*"))
    process = _start(directory)
    deadline = time.monotonic() + 60
    while not set(directory.glob("checkpoints/*")) - known and process.poll() is None and time.monotonic() < deadline:
      time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    num_killed += process.wait() == -signal.SIGKILL
    process.communicate()
  assert num_killed > 0
  assert _finish(directory) == expected
