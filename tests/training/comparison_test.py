"""The comparison is fair: one restorer for all, or one for each, trained in the same way from the same start."""

import json
import pathlib
import types

import jax
import numpy as np
import pytest
from small_run import NormedMean, small_config, wave_scenes
from tables_by_hand import check_table

from debir_jax.evaluation import Method, headroom, read_records
from debir_jax.evaluation.records import records_paths
from debir_jax.policies import candidate_set, uniform
from debir_jax.training import comparison, runner
from debir_jax.training.experiment import Experiment

_STAGES = ("stage1", "stage2", "stage3")
# Two steps of every stage, long enough to tell its networks from those of the others.
_STEPS = {f"{stage}.num_steps": 2 for stage in _STAGES} | {f"{stage}.learning_rate": 1e-2 for stage in _STAGES}
_MINE = uniform(12 / 1920)  # By a name in front of DEBIR's, in the order of letters too.
_FINE_TUNED = "fine-tuned restorers"


def _config():
  return small_config(**_STEPS, **{"comparison.finetune": True, "comparison.headroom_scenes": 2})


@pytest.fixture(scope="module")
def drawn():
  """What would have been drawn below, by function: drawing takes as long as all the rest."""
  return {}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, drawn):
  """After all stages and the comparison, with few fixed exposure times."""
  folder = tmp_path_factory.mktemp("compared")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(comparison, "_UNIFORM_SUBFRAMES", (16,))
    for name in ("comparison_sheet", "exposure_scatter", "training_curves"):
      patch.setattr(comparison.plots, name, lambda *args, name=name, **options: drawn.update({name: (args, options)}))
    runner.run(_config(), folder, restorer=NormedMean(), scenes=wave_scenes(), policies={"Auto": _MINE})
  return folder


@pytest.fixture(scope="module")
def experiment():
  return Experiment(_config(), restorer=NormedMean(), scenes=wave_scenes())


@pytest.fixture(scope="module")
def states(workdir, experiment):
  """At the end of every stage."""
  return {stage: experiment.load_stage(stage, workdir, experiment.initial_state()) for stage in _STAGES}


@pytest.fixture(scope="module")
def columns(workdir):
  """Records of the two columns of the table: one restorer for all, one for each."""
  paths = records_paths(workdir / "results")
  for_each = read_records(paths.pop(_FINE_TUNED))
  (one_for_all,) = paths.values()
  return read_records(one_for_all), for_each


def _of(records, name):
  return [record for record in records if record.method == name]


def _assert_measured_with(experiment, records, name, policy, variables):
  """Records are those of a policy with this restorer, measured once more."""
  for found, expected in zip(_of(records, name), experiment.evaluate([Method(name, policy, variables)]), strict=True):
    assert (found.scene_id, found.draw, found.preview_gain) == (
        expected.scene_id, expected.draw, expected.preview_gain)
    np.testing.assert_allclose(found.exposure_times, expected.exposure_times, rtol=1e-5)
    np.testing.assert_allclose([found.psnr, found.l1], [expected.psnr, expected.l1], rtol=1e-5)


def _assert_close(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def test_the_stages_give_restorers_that_can_be_told_apart(states):
  """Otherwise nothing below could fail."""
  first, last = [states[stage].restoration_variables["params"] for stage in ("stage1", "stage3")]
  moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last))]
  assert min(moved) > 1e-3


def test_with_one_restorer_it_is_that_of_stage_1(experiment, states, columns):
  """For DEBIR, too, and for policies of one's own: the restorer that has seen no exposure times of any method."""
  pretrained = states["stage1"].restoration_variables
  policies = {comparison.OURS: experiment.bae_policy(states["stage3"]), "Auto": _MINE,
              "uniform {16}": uniform(16 / 1920)}
  for name, policy in policies.items():
    _assert_measured_with(experiment, columns[0], name, policy, pretrained)


def test_debir_s_own_restorer_has_a_column_where_it_is_another_than_that_of_stage_1(states):
  """Without fine-tuned baselines, whose column it would stand in."""
  experiment, policies = types.SimpleNamespace(config=small_config()), {comparison.OURS: _MINE, "Auto": _MINE}
  columns_of = lambda trained, pretrained: comparison._columns(
      experiment, None, states[trained], states[pretrained], policies)
  for trained, pretrained in (("stage3", "stage1"), ("stage1", "stage3")):
    columns = columns_of(trained, pretrained)
    assert list(columns) == [comparison.STAGE1_COLUMN, comparison.OWN_COLUMN]
    (own,) = columns[comparison.OWN_COLUMN]
    assert own.name == comparison.OURS and own.restorer_variables == states[trained].restoration_variables
  assert list(columns_of("stage1", "stage1")) == [comparison.STAGE1_COLUMN]


def test_after_stage_1_alone_fixed_times_are_compared_under_its_restorer(states, tmp_path, monkeypatch):
  """The one at hand: nothing is loaded."""
  monkeypatch.setattr(comparison, "_UNIFORM_SUBFRAMES", (16,))
  monkeypatch.setattr(comparison, "plots", types.SimpleNamespace(comparison_sheet=lambda *args: None))
  experiment = Experiment(small_config(), restorer=NormedMean(), scenes=wave_scenes())
  comparison.compare(experiment, tmp_path, states["stage1"], with_bae=False)
  paths = records_paths(tmp_path / "results")
  assert list(paths) == [comparison.STAGE1_COLUMN]
  records = read_records(paths[comparison.STAGE1_COLUMN])
  assert {record.method for record in records} == {"bracket {8,24,40,56}", "uniform {16}"}
  _assert_measured_with(experiment, records, "uniform {16}", uniform(16 / 1920),
                        states["stage1"].restoration_variables)


def test_a_fine_tuned_restorer_starts_from_that_of_stage_1(experiment, states, columns, tmp_path):
  """That of a baseline is stage 1's after stage 3 under its own times; DEBIR's is that of stage 3."""
  tuned = comparison.finetuned(experiment, "Auto", _MINE, states["stage1"], tmp_path)
  _assert_measured_with(experiment, columns[1], "Auto", _MINE, tuned)
  _assert_measured_with(experiment, columns[1], comparison.OURS, experiment.bae_policy(states["stage3"]),
                        states["stage3"].restoration_variables)


def test_a_baseline_is_trained_exactly_as_debir_is(experiment, states, tmp_path):
  """With BAENet itself as the baseline, the restorer of stage 3 comes out: same start, scenes, noise, steps, rates."""
  policy = experiment.bae_policy(states["stage2"])
  tuned = comparison.finetuned(experiment, "BAENet once more", policy, states["stage1"], tmp_path)
  _assert_close(tuned, states["stage3"].restoration_variables)


def test_methods_are_measured_on_the_same_captures(columns):
  """In both columns: all scenes, one gain for each capture."""
  captures = {name: {(r.scene_id, r.draw): r.preview_gain for r in _of(records, name)}
              for records in columns for name in {r.method for r in records}}
  assert len(captures) == 4 and all(found == captures["Auto"] for found in captures.values())
  assert {scene_id for scene_id, _ in captures["Auto"]} == set(range(3))


def test_the_table_holds_the_numbers_of_the_records(workdir):
  """In both columns, as Markdown."""
  check_table(workdir / "results", comparison.OURS)


def test_pictures_show_the_last_column(workdir, drawn, columns):
  """Three captures of DEBIR and the next method, each with its own restorer; DEBIR's times; curves of all stages."""
  results = workdir / "results"
  (path, examples), _ = drawn["comparison_sheet"]
  psnr = {(record.method, record.scene_id, record.draw): record.psnr for record in columns[1]}
  assert path == results / "comparison.png" and len(examples) == 2 * 3
  assert [example.method for example in examples[:2]] == [comparison.OURS, "Auto"]
  assert [example.psnr for example in examples] == pytest.approx([
      psnr[example.method, example.scene_id, example.draw] for example in examples], rel=1e-5)
  (path, records), options = drawn["exposure_scatter"]
  assert (path, records, options) == (results / "exposure_times.png", columns[1], dict(method=comparison.OURS))
  assert drawn["training_curves"] == (
      (results / "training.png", [workdir / stage / "log.jsonl" for stage in _STAGES]), {})


def test_the_headroom_is_that_of_the_restorer_of_stage_1(experiment, states, workdir):
  """Every candidate of the set E under one restorer, on the first of the held-out scenes."""
  found = json.loads((workdir / "results" / "headroom.json").read_text())
  evaluator = experiment.evaluator_with(num_draws=experiment.config.comparison.headroom_draws)
  scores = experiment.score_candidates(
      evaluator, candidate_set(experiment.setup.timing).exposure_times, "test",
      states["stage1"].restoration_variables, 2)
  expected = headroom(scores.psnr)
  names = candidate_set(experiment.setup.timing).names
  assert (found["num_scenes"], found["num_draws"]) == scores.psnr.shape[:2] == (2, 2)
  assert (found["candidates"], found["best_fixed"]) == (list(names), names[expected.best_fixed])
  for name, value in dict(
      mean_psnr=expected.mean_psnr, best_fraction=expected.best_fraction, gain_per_scene_db=expected.per_scene,
      gain_per_capture_db=expected.per_capture, gain_cross_validated_db=expected.unbiased,
      gain_cross_validated_error_db=expected.unbiased_error).items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
  assert names[0] in (workdir / "results" / "headroom.md").read_text()


def test_fixed_policies_are_bracketing_and_the_paper_s_uniform_exposures(experiment):
  """{8, 24, 40, 56} and {8}, {16}, {24}, {32} x 4, in 1/1920 s."""
  timing = experiment.setup.timing
  found = {name: 1920 * np.asarray(policy(None, None, timing))
           for name, policy in comparison.fixed_policies(timing).items()}
  expected = {"bracket {8,24,40,56}": [8, 24, 40, 56]} | {f"uniform {{{t}}}": [t] * 4 for t in (8, 16, 24, 32)}
  assert list(found) == list(expected)
  for name, times in expected.items():
    np.testing.assert_allclose(found[name], times, rtol=1e-6)


@pytest.mark.parametrize("stages, refused", [
    (("stage1",), True), (("stage1", "stage2"), True), (_STAGES, False), (("end_to_end",), True), ((), False)])
def test_fine_tuned_baselines_want_debir_fine_tuned_too(stages, refused):
  """Otherwise they would have had more steps; the message says what to do."""
  config = _config()
  config.comparison.enabled, config.stages = True, stages
  if not refused:
    return comparison.check_comparable(config)
  with pytest.raises(ValueError, match=f"ends with {stages[-1]}.*Add stage3, or set config.comparison.finetune=False"):
    comparison.check_comparable(config)
  config.comparison.finetune = False
  comparison.check_comparable(config)


def test_nothing_that_is_fine_tuned_is_trained_twice(workdir, experiment, states):
  """Each baseline has a folder of its own, where it goes on; a second start returns what is there."""
  folders = sorted(path.name for path in (workdir / "finetuned").iterdir())
  assert folders == ["Auto", "bracket_8_24_40_56", "uniform_16"]
  checkpoints = pathlib.Path(workdir, "finetuned", "Auto", "checkpoints")
  before = {path.name: path.stat().st_mtime for path in checkpoints.iterdir()}
  tuned = comparison.finetuned(experiment, "Auto", _MINE, states["stage3"], workdir)
  assert {path.name: path.stat().st_mtime for path in checkpoints.iterdir()} == before
  assert not np.array_equal(*[jax.tree.leaves(v["params"])[0] for v in (tuned, states["stage3"].restoration_variables)])
