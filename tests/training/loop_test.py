"""The loop: resuming changes nothing, nothing that is not finite is saved, and folders are not mixed up."""

import json
import os
import signal
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from toy import toy_config, toy_experiment, toy_state, toy_step

from debir_jax.runtime.progress import with_progress
from debir_jax.training.checkpoint import CheckpointError, Checkpoints
from debir_jax.training.guard import NonFiniteError
from debir_jax.training.logs import StageLog
from debir_jax.training.loop import INTERRUPTED, StageRun, train_stage
from debir_jax.training.stages import STAGES


def _train(directory, num_steps=10, step_fn=toy_step, config=None, stage="stage1", experiment=None, **options):
  run = StageRun(stage=STAGES[stage], directory=directory, num_steps=num_steps, step_fn=step_fn,
                 policy_of=lambda state: None, **options)
  return train_stage(experiment or toy_experiment(config), run, toy_state())


def _assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The final state of a run that nothing disturbed."""
  return _train(tmp_path_factory.mktemp("whole"))


def _stopping_at(stop_step, stop):
  def step_fn(state, batch):
    if int(state.step) + 1 == stop_step:
      stop()
    return toy_step(state, batch)
  return step_fn


def _as_if_not_finite(outputs):
  scenes = outputs["scenes"] | dict(loss=jnp.array([jnp.nan]))
  return outputs | dict(loss=jnp.nan, applied=jnp.zeros(()), scenes=scenes)


class _Crash(Exception):
  """Stands for whatever ends a process."""


def _crash():
  raise _Crash


@pytest.mark.parametrize("crash_step", [2, 4, 5, 10])
def test_a_run_that_crashed_and_was_started_again_ends_with_the_same_numbers(tmp_path, whole, crash_step):
  """Bit-identical final state, wherever the run was when it died."""
  with pytest.raises(_Crash):
    _train(tmp_path / "killed", step_fn=_stopping_at(crash_step, _crash))
  _assert_same(_train(tmp_path / "killed"), whole)


def test_a_signal_saves_and_exits_with_its_own_code(tmp_path, whole):
  """After SIGTERM the step at hand is saved, and the run goes on from there to the same numbers."""
  terminate = lambda: os.kill(os.getpid(), signal.SIGTERM)
  with pytest.raises(SystemExit) as stopped:
    _train(tmp_path / "stopped", step_fn=_stopping_at(5, terminate))
  assert stopped.value.code == INTERRUPTED
  assert (tmp_path / "stopped" / "checkpoints" / "5").is_dir()
  _assert_same(_train(tmp_path / "stopped"), whole)


def test_a_signal_while_a_step_is_being_logged_is_obeyed_after_the_next_one(tmp_path, monkeypatch):
  """Whenever it comes, the run only stops after a step that is saved."""
  write = StageLog.write

  def write_and_terminate(log, step, *args):
    write(log, step, *args)
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
    return state, _as_if_not_finite(outputs) if int(state.step) == bad_step else outputs

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


def test_the_file_with_the_weights_of_the_motion_estimator_may_move(tmp_path):
  """The estimator is part of the settings, where its file lies is not."""
  _train(tmp_path, config=toy_config(motion=dict(estimator="raft_small", weights="here")))
  _train(tmp_path, config=toy_config(motion=dict(estimator="raft_small", weights="there")))
  with pytest.raises(ValueError, match="motion.estimator: raft_small there, lucas_kanade here"):
    _train(tmp_path, config=toy_config(motion=dict(estimator="lucas_kanade", weights="there")))


def test_a_bad_step_can_be_skipped_and_is_told_with_its_scene(tmp_path):
  """The run ends as it would have; the event has step, scene and action, and the means leave the step out."""
  def step_fn(state, batch):
    state, outputs = toy_step(state, batch)
    return state, _as_if_not_finite(outputs) if int(state.step) == 5 else outputs

  config = toy_config()
  config.guard.on_nonfinite = "skip"
  _train(tmp_path, step_fn=step_fn, config=config)
  event, = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
  assert event == dict(step=5, event="loss not finite", scenes=[4], action="skipped")
  lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
  assert all(np.isfinite(line["loss"]) for line in lines)
  line, = [line for line in lines if line["step"] == 6]
  assert line["skipped"] == 1 and line["applied"] == 0.5  # Of steps 5 and 6.


def test_too_many_bad_steps_in_a_row_stop_the_run(tmp_path):
  """A run in which nothing is applied does not go on for days."""
  config = toy_config()
  config.guard.on_nonfinite = "skip"
  with pytest.raises(NonFiniteError, match="bad step number 4 in a row"):
    _train(tmp_path, step_fn=lambda state, batch: (toy_step(state, batch)[0], _as_if_not_finite(
        toy_step(state, batch)[1])), config=config)


def test_an_older_checkpoint_can_be_chosen_and_newer_ones_are_set_aside(tmp_path):
  """From step 6 the run goes on to the same end; the damaged checkpoint of step 9 is not deleted."""
  expected = _train(tmp_path / "run", num_steps=9)
  name = (tmp_path / "run").name
  again = _train(tmp_path / "run", num_steps=9, config=toy_config(resume_from=f"{name}/6"))
  _assert_same(again, expected)
  assert (tmp_path / "run" / "checkpoints_set_aside" / "9").is_dir()


def test_a_checkpoint_that_is_not_there_is_not_chosen(tmp_path):
  """The message lists those that are."""
  _train(tmp_path / "run", num_steps=9)
  with pytest.raises(ValueError, match="no finished checkpoint of step 5"):
    _train(tmp_path / "run", num_steps=9, config=toy_config(resume_from="run/5"))


def test_event_files_have_every_step_once_after_going_back(tmp_path, monkeypatch):
  """What TensorBoard shows of later steps is dropped where the run writes them again, within the same second too."""
  monkeypatch.setattr("time.time", lambda: 1.8e9)
  _train(tmp_path / "run", num_steps=9)
  _train(tmp_path / "run", num_steps=9, config=toy_config(resume_from="run/6"))
  steps = [step for step, tag in _scalars(tmp_path / "run" / "tensorboard") if tag == "loss"]
  assert steps == [2, 3, 4, 6, 8, 9]


def _scalars(folder):
  """Step and name of every number in the event files, read as TensorBoard would."""
  found = []
  for path in sorted(folder.iterdir()):
    content, start = path.read_bytes(), 0
    while start < len(content):
      size, = struct.unpack_from("<Q", content, start)
      event = Event.FromString(content[start + 12:start + 12 + size])
      found += [(event.step, value.tag) for value in event.summary.value]
      start += 16 + size
  return sorted(found)


def test_a_checkpoint_that_cannot_be_read_back_stops_the_run_at_once(tmp_path, monkeypatch):
  """At the first of a stage, not when it is wanted after days."""
  saved = []

  def save_elsewhere(self, state, psnr):
    del self, psnr
    saved.append(int(state.step))

  monkeypatch.setattr(Checkpoints, "save", save_elsewhere)
  with pytest.raises(CheckpointError, match="cannot be read back: It is not found again"):
    _train(tmp_path, num_steps=9)
  assert saved == [3]


@pytest.mark.parametrize("content", ("", "{\"format\":"))
def test_an_empty_record_of_a_run_is_named_with_the_way_on(tmp_path, content):
  """As a crash of the machine leaves it."""
  _train(tmp_path / "run")
  (tmp_path / "run" / "config.json").write_text(content)
  with pytest.raises(ValueError, match="run/config.json is damaged.*delete the file and run the same command again"):
    _train(tmp_path / "run")
  (tmp_path / "run" / "config.json").unlink()
  _train(tmp_path / "run")


def test_a_stage_ends_with_a_summary(tmp_path):
  """Steps, last numbers, exposure times, where the checkpoints are."""
  _train(tmp_path)
  summary = (tmp_path / "summary.txt").read_text()
  assert "10 steps" in summary and "19.2±0.0" in summary and str(tmp_path / "checkpoints") in summary


def test_steps_can_be_profiled(tmp_path):
  """A trace of the asked steps lies in the stage's folder."""
  config = toy_config(profile=dict(first_step=2, num_steps=2))
  _train(tmp_path, num_steps=4, config=config)
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("fixed_times", [False, True])
def test_only_times_of_baenet_collapse(tmp_path, fixed_times):
  """A baseline that exposes every scene alike, as it should, is no event."""
  _train(tmp_path, stage="stage3", fixed_times=fixed_times)
  assert (tmp_path / "events.jsonl").exists() != fixed_times


def test_a_restorer_of_the_first_frame_is_told_at_checkpoints(tmp_path):
  """Not in the first fifth of a stage, where alternate frames do not reach the image yet."""
  experiment = toy_experiment()
  experiment.watch = lambda state, policy_of: (dict(watched_psnr=20.0, alternate_frame_sensitivity=0.0), {})
  _train(tmp_path, num_steps=20, experiment=experiment)
  event, = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
  assert event["step"] == 6 and "frames behind the first" in event["event"]
  lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines if line.get("alternate_frame_sensitivity") == 0.0] == [3, 6, 9, 12, 15, 18, 20]


def test_long_evaluations_tell_how_far_they_are(capsys, monkeypatch):
  """Every item comes once; items of 20 s are told of at most every 30 s, with the time that the others will take."""
  clock = iter(np.arange(0, 1000, 20.0))
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  assert list(with_progress("abcdef", 6, "scenes")) == list("abcdef")
  assert capsys.readouterr().err.splitlines() == ["  1/6 scenes, 200 s left", "  3/6 scenes, 80 s left",
                                                  "  5/6 scenes, 24 s left"]
