"""`python -m debir_jax.convert --from=<workdir>`: the networks of a run, as its next stage would load them."""

import json

import jax
import numpy as np
import pytest

from configs import quickstart
from debir_jax.convert.__main__ import write
from debir_jax.convert.model_card import model_card
from debir_jax.convert.run import run_config, run_networks
from debir_jax.training.checkpoint import Checkpoints
from debir_jax.training.experiment import Experiment
from debir_jax.training.run_record import write_environment


@pytest.fixture(scope="module")
def experiment():
  return Experiment(quickstart.get_config("debug"))


@pytest.fixture
def saved(experiment, tmp_path):
  """Saves other weights as the newest checkpoint of a stage; returns the workdir and those weights."""
  def save(stage, scale):
    state = jax.tree.map(lambda leaf: leaf * scale if leaf.dtype == np.float32 else leaf, experiment.initial_state())
    checkpoints = Checkpoints(tmp_path / stage / "checkpoints", experiment.compatibility)
    checkpoints.save(state, None)
    checkpoints.close()
    return tmp_path, state

  return save


def test_weights_of_a_run_come_back_as_they_were(experiment, saved, tmp_path):
  """Those of the last stage, through files, under the same config."""
  saved("stage1", 2.0)
  workdir, state = saved("stage2", 3.0)
  folder = tmp_path / "weights"
  write(run_networks(workdir, quickstart.get_config("debug")), folder, overwrite=False)
  loaded = experiment.load_stage("stage3", folder, experiment.initial_state())
  for name in ("restoration_params", "restoration_stats", "bae_params", "bae_stats"):
    jax.tree.map(np.testing.assert_array_equal, getattr(loaded, name), getattr(state, name))


def test_a_run_knows_its_config(tmp_path):
  """As it was, types included, whatever the command line said; a field that came later has its default."""
  config = quickstart.get_config()
  config.capture.update(dict(num_frames=8, burst_sizes=(2, 4, 8)))
  config.stage1.learning_rate = 3.5e-4
  write_environment(config, tmp_path)
  assert run_config(tmp_path).to_dict() == config.to_dict()
  record = tmp_path / "config.json"
  older = json.loads(record.read_text())
  del older["data"]["bae_photos"]
  record.write_text(json.dumps(older))
  assert run_config(tmp_path).data.bae_photos == "bae"


@pytest.mark.parametrize("change, message", [
    (lambda record: record.unlink(), "not the workdir of a run"),
    (lambda record: record.write_text("{"), "Give --config"),
    (lambda record: record.write_text(json.dumps(dict(sharpness=3))), "of another version.*sharpness"),
    (lambda record: record.write_text(json.dumps(dict(stage1=dict(num_steps="many")))), "of another version"),
    (lambda record: record.write_text("[1]"), "of another version|Give --config")])
def test_a_record_that_cannot_be_read_is_refused(tmp_path, change, message):
  """With the remedy."""
  write_environment(quickstart.get_config(), tmp_path)
  change(tmp_path / "config.json")
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    run_config(tmp_path)


def test_a_run_without_baenet_gives_a_restorer(saved):
  workdir, _ = saved("stage1", 2.0)
  assert list(run_networks(workdir, quickstart.get_config("debug"))) == ["restorer"]


def test_the_card_of_a_run_tells_what_was_done(saved):
  """Networks, conditions, steps and hours by stage, and the notes; steps that were logged twice count once."""
  workdir, _ = saved("stage2", 2.0)
  config = quickstart.get_config("debug")
  config.init_from = str(workdir / "earlier")
  write_environment(config, workdir)
  lines = [dict(step=100, step_s=18.0), dict(step=200, step_s=18.0), dict(step=200, step_s=36.0)]
  (workdir / "stage2" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  card = model_card(workdir, run_networks(workdir, config), "Photos of mine, CC0.")
  for text in ("| restorer | burstormer, ", "| baenet | baenet, ", "4 frames, each 8 to 64/1920 s, 128/1920 s in all",
               "preview gains from 512 to 1024", "| stage2 | 200 steps of 2, 1.50 h |", "| versions | debir_jax",
               "| started from | earlier |", "Photos of mine, CC0."):
    assert text in card
  assert str(workdir) not in card


def test_other_folders_and_other_configs_are_refused(saved, tmp_path):
  workdir, _ = saved("stage1", 1.0)
  other = quickstart.get_config("debug")
  other.capture.max_preview_gain = 777.0
  with pytest.raises(ValueError, match="max_preview_gain"):
    run_networks(workdir, other)
  with pytest.raises(FileNotFoundError, match="not the workdir of a run"):
    run_networks(tmp_path / "stage1", other)
