"""What is wrong with a step is named, with the scenes that are to blame."""

import json

import ml_collections
import numpy as np
import pytest

from debir_jax.training.guard import Guard, Limits, NonFiniteError, StoppedError

_LIMITS = Limits(max_grad_norm=10.0, max_grad_norm_ratio=5.0, max_saturated_fraction=0.9, min_mean_intensity=1e-3)


def _guard(directory, **section):
  defaults = dict(on_nonfinite="stop", on_bad_batch="skip", max_bad_steps=2, on_collapse="log", min_times_spread=0.02,
                  min_alternate_frame_sensitivity=1e-4)
  return Guard(ml_collections.ConfigDict(defaults | section), _LIMITS, directory, 0)


def _outputs(*, loss=(0.1, 0.2), grad_norm=1.0, usual_grad_norm=1.0, mean_intensity=(0.5, 0.5), saturated=(0.0, 0.0),
             applied=0.0):
  scenes = dict(scene_id=np.array([11, 12]), loss=np.array(loss), mean_intensity=np.array(mean_intensity),
                saturated_fraction=np.array(saturated))
  return dict(loss=np.mean(loss), grad_norm=grad_norm, usual_grad_norm=usual_grad_norm, applied=applied,
              scenes=scenes)


def _events(directory):
  return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("outputs, what, scenes", [
    (_outputs(grad_norm=20.0), "gradient norm 20 above 10", [11, 12]),
    (_outputs(grad_norm=6.0), "gradient norm 6, more than 5 times the usual 1", [11, 12]),
    (_outputs(saturated=(1.0, 0.95)), "98% of the targets at white", [11, 12]),
    (_outputs(saturated=(1.0, 0.85)), "92% of the targets at white", [11]),
    (_outputs(mean_intensity=(1e-5, 2e-5)), "targets with a mean of 1.5e-05", [11, 12])])
def test_a_batch_beyond_the_limits_is_skipped_and_told(tmp_path, outputs, what, scenes):
  """One event: step, what, scenes, action."""
  guard = _guard(tmp_path)
  guard.check_step(outputs, 7)
  assert _events(tmp_path) == [dict(step=7, event=what, scenes=scenes, action="skipped")]
  assert guard.num_skipped == 1


def test_only_the_scene_that_is_not_finite_is_blamed(tmp_path):
  """A loss that is not finite stops the run with the scene's id in the message."""
  with pytest.raises(NonFiniteError, match="Step 7: loss not finite; scenes 12"):
    _guard(tmp_path).check_step(_outputs(loss=(0.1, np.nan)), 7)
  assert _events(tmp_path)[0]["action"] == "stopped"


def test_a_step_that_was_applied_is_no_event(tmp_path):
  """And ends a row of bad ones: three bad steps, not in a row, do not stop a run that allows two."""
  guard = _guard(tmp_path)
  for step, outputs in enumerate([_outputs(grad_norm=20.0), _outputs(grad_norm=20.0), _outputs(applied=1.0),
                                  _outputs(grad_norm=20.0)]):
    guard.check_step(outputs, step)
  assert [event["step"] for event in _events(tmp_path)] == [0, 1, 3]


def test_bad_batches_can_stop_the_run(tmp_path):
  """As the config says."""
  with pytest.raises(StoppedError, match="gradient norm 20 above 10"):
    _guard(tmp_path, on_bad_batch="stop").check_step(_outputs(grad_norm=20.0), 7)


def test_one_pattern_for_all_scenes_is_a_collapse(tmp_path):
  """Told once, until times differ again; times that differ are none."""
  guard = _guard(tmp_path)
  same, different = np.full((8, 4), 0.01), np.linspace(0.01, 0.02, 32).reshape(8, 4)
  for step, times in enumerate([different, same, same, different, same]):
    guard.check_times(times, step)
  assert [event["step"] for event in _events(tmp_path)] == [1, 4]
  with pytest.raises(StoppedError, match="same exposure times for all scenes"):
    _guard(tmp_path, on_collapse="stop").check_times(same, 5)


def test_a_restorer_that_looks_at_one_frame_alone_is_a_collapse(tmp_path):
  """Told once, until the others matter again."""
  guard = _guard(tmp_path)
  for step, effect in enumerate([0.1, 0.0, 1e-5, 0.1, 0.0]):
    guard.check_alternate_frames(effect, step)
  assert [event["step"] for event in _events(tmp_path)] == [1, 4]
  with pytest.raises(StoppedError, match="owes nothing to the frames behind the first.*offset_rate"):
    _guard(tmp_path, on_collapse="stop").check_alternate_frames(0.0, 5)


def test_an_unknown_action_is_refused(tmp_path):
  """The message has the choices."""
  with pytest.raises(ValueError, match="config.guard.on_collapse='skip'; choose one of stop, log"):
    _guard(tmp_path, on_collapse="skip")
