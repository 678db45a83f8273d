"""`python -m debir_jax.convert --from=<workdir>`: the networks of a run, as its next stage would load them."""

import jax
import numpy as np
import pytest

from configs import quickstart
from debir_jax.convert.__main__ import write
from debir_jax.convert.run import run_networks
from debir_jax.training.checkpoint import Checkpoints
from debir_jax.training.experiment import Experiment


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


def test_a_run_without_baenet_gives_a_restorer(saved):
  workdir, _ = saved("stage1", 2.0)
  assert list(run_networks(workdir, quickstart.get_config("debug"))) == ["restorer"]


def test_other_folders_and_other_configs_are_refused(saved, tmp_path):
  workdir, _ = saved("stage1", 1.0)
  other = quickstart.get_config("debug")
  other.capture.max_preview_gain = 777.0
  with pytest.raises(ValueError, match="max_preview_gain"):
    run_networks(workdir, other)
  with pytest.raises(FileNotFoundError, match="not the workdir of a run"):
    run_networks(tmp_path / "stage1", other)
