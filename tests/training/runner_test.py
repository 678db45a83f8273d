"""A run with a restorer, scenes and a policy of one's own, from the first stage to the table."""

import json
import shutil

import jax
import numpy as np
import pytest
from small_run import NormedMean, small_config, wave_scenes

from configs import burst_sizes
from debir_jax.evaluation import read_records
from debir_jax.policies import uniform
from debir_jax.restoration.aligned_unet import variables_for_frames
from debir_jax.training import runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES
from debir_jax.weights.shipped import shipped_files
from debir_jax.weights.weight_file import load_weights

_STAGES = ("stage1", "stage2", "stage3")
# Two steps of every stage, both saved.
_STEPS = {f"{stage}.num_steps": 2 for stage in _STAGES} | {f"{stage}.learning_rate": 1e-2 for stage in _STAGES}


def _run(workdir, scenes=None, **fields):
  runner.run(small_config(**_STEPS, **fields), workdir, restorer=NormedMean(), scenes=scenes or wave_scenes(),
             policies={"mine": uniform(12 / 1920)})


@pytest.fixture(scope="module")
def scenes():
  """That the run below is given."""
  return wave_scenes()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, scenes):
  """Of a run of all stages, with everything handed in that can be."""
  folder = tmp_path_factory.mktemp("own") / "run"
  _run(folder, scenes)
  return folder


def _states(workdir):
  """At first and at the end of every stage."""
  experiment = Experiment(small_config(**_STEPS), restorer=NormedMean(), scenes=wave_scenes())
  first = experiment.initial_state()
  return first, *[experiment.load_stage(stage, workdir, first) for stage in _STAGES]


def _same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_statistics_of_a_restorer_of_ones_own_are_trained_and_saved(workdir):
  """BatchNorm's move where the restorer is trained, in stages 1 and 3, and stay in stage 2, as the weights do."""
  first, *ends = _states(workdir)
  for name in ("restoration_stats", "restoration_params"):
    start, after1, after2, after3 = [getattr(state, name) for state in (first, *ends)]
    assert jax.tree.leaves(start)
    assert not _same(start, after1) and _same(after1, after2) and not _same(after2, after3)
  assert set(first.restoration_stats) == {"batch_stats"}
  assert not _same(ends[0].bae_params, ends[1].bae_params)


@pytest.mark.parametrize("init_stage", ["", "stage3"])
def test_stage_1_goes_on_with_a_restorer_that_is_named(workdir, tmp_path, init_stage):
  """`init_from` means stage 1 too: it was ignored there once, and a restorer to be fine-tuned began at random."""
  first, after1, _, after3 = _states(workdir)
  config = small_config(**_STEPS, init_from=str(workdir), init_stage=init_stage, start_from_scratch=False)
  experiment = Experiment(config, restorer=NormedMean(), scenes=wave_scenes())
  start = runner.start_state(experiment, STAGES["stage1"], tmp_path)
  assert _same(start.restoration_params, (after3 if init_stage else after1).restoration_params)
  assert not _same(start.restoration_params, first.restoration_params)
  if not init_stage:
    assert _same(start.bae_params, first.bae_params)


def test_stage_1_does_not_begin_at_random_where_a_restorer_was_meant(tmp_path):
  """A folder without one is named; files of another network, such as RAFT's, mean nothing to it."""
  config = small_config(init_from=str(tmp_path), start_from_scratch=False)
  experiment = Experiment(config, restorer=NormedMean(), scenes=wave_scenes())
  with pytest.raises(FileNotFoundError, match="stage1 starts from the last checkpoint of stage1, but there is none"):
    runner.start_state(experiment, STAGES["stage1"], tmp_path / "run")
  (tmp_path / "raft.safetensors").write_bytes(b"")
  assert _same(runner.start_state(experiment, STAGES["stage1"], tmp_path / "run"), experiment.initial_state())


def _of_eight_frames(**fields):
  """The recipe for several burst sizes with few scenes."""
  config = burst_sizes.get_config()
  config.data.update(dict(crop_size=32, num_restore_scenes=4, num_bae_scenes=4))
  config.update_from_flattened_dict(fields)
  return config


def test_stage_1_starts_from_a_restorer_for_other_bursts_where_that_is_said(tmp_path, workdir):
  """That inside the package, for eight frames in the place of four; else that is refused."""
  config = _of_eight_frames()
  start = runner.start_state(experiment := Experiment(config), STAGES["stage1"], tmp_path)
  known = load_weights(shipped_files("small_stage1")[0])[0]
  expected = variables_for_frames(known, 8)["params"]
  assert _same(start.restoration_params, expected) and not _same(known["params"], expected)
  assert _same(start.bae_params, experiment.initial_state().bae_params)
  for fields, error in (({"init_from_other_bursts": False}, "num_frames: 4 there, 8 here"),
                        ({"init_from": str(workdir)}, "is no folder of weight files"),
                        ({"capture.max_preview_gain": 700.0}, "max_preview_gain: 1024.0 there, 700.0 here"),
                        ({"restorer.network": "burstormer", "restorer_inputs.aligned": False}, "only aligned_unet")):
    config = _of_eight_frames(**fields)
    with pytest.raises((ValueError, FileNotFoundError), match=error):
      runner.start_state(Experiment(config), STAGES["stage1"], tmp_path)
  for fields in ({"init_from": ""}, {"stages": ("stage2",)}):
    config = _of_eight_frames(**fields)
    with pytest.raises(ValueError, match="begin with stage1"):
      runner.run(config, tmp_path / "run")


def test_a_run_with_such_statistics_goes_on_bit_for_bit(workdir, tmp_path):
  """From the middle of stage 3, whose first step moved them, it ends with the same state."""
  shutil.copytree(workdir, tmp_path / "run")
  _run(tmp_path / "run", resume_from="stage3/1", **{"comparison.enabled": False})
  assert (tmp_path / "run" / "stage3" / "checkpoints_set_aside" / "2").is_dir()
  assert _same(_states(tmp_path / "run")[-1], _states(workdir)[-1])


def test_a_policy_of_ones_own_is_a_row_of_the_table(workdir):
  """Beside DEBIR and the fixed exposure times, on the same captures."""
  table = (workdir / "results" / "table.md").read_text()
  for method in ("DEBIR", "mine", "uniform {16}"):
    assert f"| {method} " in table
  records = read_records(workdir / "results" / "records_stage_1_restorer.jsonl")
  times = [record.exposure_times for record in records if record.method == "mine"]
  np.testing.assert_allclose(times, np.full((3, 4), 12 / 1920), rtol=1e-6)


def test_scenes_of_ones_own_are_those_that_are_used(workdir, scenes):
  """All held-out scenes are measured, none of the config's; the others are trained on."""
  records = read_records(workdir / "results" / "records_stage_1_restorer.jsonl")
  assert {record.scene_id for record in records} == set(range(3)) == scenes["test"].asked
  for split in ("restore", "bae"):
    assert scenes[split].asked


def test_a_run_of_an_earlier_version_is_refused(workdir, tmp_path):
  """Its folders say no format; the message says what can be done."""
  shutil.copytree(workdir, tmp_path / "run")
  path = tmp_path / "run" / "stage1" / "config.json"
  record = json.loads(path.read_text())
  del record["format"]
  path.write_text(json.dumps(record))
  with pytest.raises(ValueError, match="run in .*stage1 has format 1 and was written by another version of debir_jax.*"
                                       "Go on with that version, or train again in another --workdir"):
    _run(tmp_path / "run")
