"""The loop: resuming changes nothing, nothing that is not finite is saved, and folders are not mixed up."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_config, toy_experiment, toy_state, toy_step

from debir_jax.training.logs import StageLog
from debir_jax.training.loop import INTERRUPTED, NonFiniteError, train_stage
from debir_jax.training.stages import STAGES
from debir_jax.training.workdir import WorkdirError, locked


def _train(directory, num_steps=10, step_fn=toy_step, config=None):
  return train_stage(toy_experiment(config), STAGES["stage1"], directory, toy_state(), step_fn, num_steps)


def _assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _stopping_at(stop_step, stop):
  def step_fn(state, batch):
    if int(state.step) + 1 == stop_step:
      stop()
    return toy_step(state, batch)
  return step_fn


class _Crash(Exception):
  """Stands for whatever ends a process."""


def _crash():
  raise _Crash


@pytest.mark.parametrize("crash_step", [2, 4, 5, 10])
def test_a_run_that_crashed_and_was_started_again_ends_with_the_same_numbers(tmp_path, crash_step):
  """Bit-identical final state, wherever the run was when it died."""
  expected = _train(tmp_path / "whole")
  with pytest.raises(_Crash):
    _train(tmp_path / "killed", step_fn=_stopping_at(crash_step, _crash))
  _assert_same(_train(tmp_path / "killed"), expected)


def test_a_signal_saves_and_exits_with_its_own_code(tmp_path):
  """After SIGTERM the step at hand is saved, and the run goes on from there to the same numbers."""
  expected = _train(tmp_path / "whole")
  terminate = lambda: os.kill(os.getpid(), signal.SIGTERM)
  with pytest.raises(SystemExit) as stopped:
    _train(tmp_path / "stopped", step_fn=_stopping_at(5, terminate))
  assert stopped.value.code == INTERRUPTED
  assert (tmp_path / "stopped" / "checkpoints" / "5").is_dir()
  _assert_same(_train(tmp_path / "stopped"), expected)


def test_a_signal_while_a_step_is_being_logged_is_obeyed_after_the_next_one(tmp_path, monkeypatch):
  """Whenever it comes, the run only stops after a step that is saved."""
  write = StageLog.write

  def write_and_terminate(log, step, scalars):
    write(log, step, scalars)
    if step == 4:  # Logged, but no checkpoint is due.
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(StageLog, "write", write_and_terminate)
  with pytest.raises(SystemExit):
    _train(tmp_path)
  assert (tmp_path / "checkpoints" / "5").is_dir()


def test_a_finished_stage_is_not_trained_again(tmp_path):
  """The second call takes no step and returns the same state."""
  expected = _train(tmp_path)
  _assert_same(_train(tmp_path, step_fn=_stopping_at(1, _crash)), expected)


def test_the_log_has_every_step_once_after_a_crash(tmp_path):
  """Lines behind the checkpoint that the run goes on from are written again, not twice."""
  with pytest.raises(_Crash):
    _train(tmp_path, step_fn=_stopping_at(6, _crash))
  _train(tmp_path)
  steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
  assert steps == sorted(set(steps)) and steps[-1] == 10


@pytest.mark.parametrize("bad_step", [2, 5, 10])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, bad_step):
  """No checkpoint from the bad step on is ever written."""
  def step_fn(state, batch):
    state, outputs = toy_step(state, batch)
    return state, outputs | dict(loss=jnp.where(state.step == bad_step, jnp.nan, outputs["loss"]))

  with pytest.raises(NonFiniteError, match=f"Step {bad_step}: loss"):
    _train(tmp_path, step_fn=step_fn)
  saved = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
  assert max(saved, default=0) == (bad_step - 1) // 3 * 3


def test_another_learning_rate_is_refused_and_named(tmp_path):
  """A run is not continued with settings that it was not started with."""
  _train(tmp_path)
  config = toy_config(stage1=dict(learning_rate=0.2))
  with pytest.raises(ValueError, match=r"stage1\.learning_rate: 0\.1 there, 0\.2 here"):
    _train(tmp_path, config=config)


def test_how_often_is_logged_may_change(tmp_path):
  """Fields that do not change the numbers do not stop a run from going on."""
  _train(tmp_path)
  _train(tmp_path, config=toy_config(log_every_steps=5))


def test_the_file_with_the_weights_of_the_motion_meter_may_move(tmp_path):
  """The estimator is part of the settings, where its file lies is not."""
  _train(tmp_path, config=toy_config(motion=dict(estimator="raft_small", weights="here")))
  _train(tmp_path, config=toy_config(motion=dict(estimator="raft_small", weights="there")))
  with pytest.raises(ValueError, match="motion.estimator: raft_small there, lucas_kanade here"):
    _train(tmp_path, config=toy_config(motion=dict(estimator="lucas_kanade", weights="there")))


def test_a_workdir_in_use_is_refused(tmp_path):
  """Only one run at a time; the folder is free again afterwards."""
  with locked(str(tmp_path)):
    with pytest.raises(WorkdirError, match="in use"):
      with locked(str(tmp_path)):
        pass
  with locked(str(tmp_path)):
    pass


def test_a_file_in_place_of_the_workdir_is_refused(tmp_path):
  """The message says that a folder is wanted."""
  (tmp_path / "file").write_text("")
  with pytest.raises(WorkdirError, match="is a file"):
    with locked(str(tmp_path / "file")):
      pass
