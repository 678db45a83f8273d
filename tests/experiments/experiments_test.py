"""Experiments run from end to end at their smallest scale, go on with what was stopped, and say what they need."""

import contextlib
import csv
import importlib
import io
import json
import pathlib
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables_by_hand import check_table, of_scenes, records_by_hand

from configs import pretrain_small
from debir_jax.evaluation import Method, Record, read_records
from debir_jax.evaluation.records import records_paths
from debir_jax.policies import BurstPenalty, bracket
from debir_jax.simulator import PoissonGaussianNoise, simulate_burst, simulate_previews
from debir_jax.training.checkpoint import Checkpoints
from debir_jax.training.experiment import Experiment
from debir_jax.training.run_record import check_config
from debir_jax.training.stages import STAGES
from debir_jax.types import BurstTiming, CameraColor, Observation, Scene
from debir_jax.weights.shipped import shipped_files
from debir_jax.weights.weight_file import load_weights
from experiments import burst_size, networks, report, robustness, scales

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(name, *options):
  """What `python -m experiments.<name>` does, in this process: exit code, output and errors."""
  output, errors, code = io.StringIO(), io.StringIO(), 0
  with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors)):
    patch.setattr(sys, "argv", [name, *options])
    try:
      importlib.import_module(f"experiments.{name}").main()
    except SystemExit as end:
      errors.write(str(end.code))
      code = 1 if end.code else 0
  return code, output.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """After Table 1 with a learned, a hand-made and a fixed method."""
  workdir = tmp_path_factory.mktemp("tiny")
  code, _, errors = _run("table1", "--scale=tiny", f"--workdir={workdir}", "--methods", "Average AE", "bracketing")
  assert code == 0, errors[-3000:]
  return workdir


def _experiments():
  return [path.stem for path in (_ROOT / "experiments").glob("*.py")
          if re.search(r"^(def main\(\)|main = )", path.read_text(), re.MULTILINE)]


def test_table1_compares_every_method_with_both_restorers(workdir):
  """Rows with the paper's beside them, as Markdown, CSV and figures; free numbers as they were found."""
  table = (workdir / "table1" / "table.md").read_text()
  for text in ("| DEBIR ", "| Average AE ", "| bracketing ", "stage 1 restorer", "fine-tuned restorers", "35.32"):
    assert text in table
  with open(workdir / "table1" / "table.csv") as file:
    rows = list(csv.DictReader(file))
  assert [(row["column"], row["method"]) for row in rows] == [
      (column, method) for column in ("stage 1 restorer", "fine-tuned restorers")
      for method in ("DEBIR", "Average AE", "bracketing")]
  found = json.loads((workdir / "table1" / "calibration.json").read_text())["Average AE"]
  assert found["best"] == found["values"][found["l1"].index(min(found["l1"]))]
  check_table(workdir / "table1", "DEBIR")
  records = records_by_hand(workdir / "table1" / "records_fine-tuned_restorers.jsonl")
  for row in rows[3:]:
    assert float(row["psnr"]) == pytest.approx(of_scenes(records[row["method"]], "psnr").mean(), rel=1e-9)
    assert float(row["lpips"] or 0) == 0 and int(row["num_scenes"]) == len(records["DEBIR"])
  for picture in ("differences.png", "by_condition.png", "exposure_times.png"):
    assert (workdir / "table1" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def pretrained(workdir):
  """The run at the scale of the tests, and its networks after stage 1, where all methods start."""
  experiment = Experiment(scales.config_of("tiny"))
  return experiment, experiment.load_stage("stage1", workdir / "networks" / "restorer", experiment.initial_state())


def test_table1_measures_all_methods_with_the_restorer_of_stage_1(workdir, pretrained):
  """In its first column; in the second one each has its own."""
  experiment, start = pretrained
  paths = records_paths(workdir / "table1")
  fine_tuned, (one_for_all,) = read_records(paths.pop("fine-tuned restorers")), map(read_records, paths.values())
  method = Method("bracketing", bracket(experiment.setup.timing), start.restoration_variables)
  expected = experiment.evaluate([method])
  of = lambda records: [record.psnr for record in records if record.method == "bracketing"]
  assert of(one_for_all) == pytest.approx(of(expected), rel=1e-5)
  assert not np.allclose(of(fine_tuned), of(expected), rtol=1e-5)


@pytest.mark.parametrize("name", ["finetuned/bracketing", "finetuned/Average_AE", "DEBIR/stage3"])
def test_restorers_of_table1_are_one_step_of_fine_tuning_behind_stage_1(workdir, pretrained, name):
  """AdamW's first step moves no weight by more than its rate, and a little decay: two steps would be seen."""
  experiment, start = pretrained
  checkpoints = Checkpoints(workdir / "networks" / name / "checkpoints", experiment.compatibility)
  tuned = checkpoints.load_latest(start, ("restoration",))
  checkpoints.close()
  rate = experiment.config.stage3.learning_rate
  moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (tuned.restoration_params,
                                                                       start.restoration_params)))]
  assert 0.9 * rate < max(moved) < 1.1 * rate


def test_the_oracle_is_compared_on_the_captures_of_table1(workdir):
  """Regret of every method, by hand; scenes that were searched are not searched again."""
  options, folder = ("--scale=tiny", f"--workdir={workdir}"), workdir / "oracle"
  code, _, errors = _run("oracle", *options)
  assert code == 0, errors[-3000:]
  shared = "oracle of one time"
  assert set(json.loads((folder / "regret.json").read_text())) == {
      "oracle", shared, "DEBIR", "Average AE", "bracketing"}
  paths = records_paths(workdir / "table1")
  del paths["fine-tuned restorers"]
  (one_for_all,) = map(records_by_hand, paths.values())
  searched = {method: records_by_hand(folder / f"records_{name}.jsonl")[method]
              for method, name in (("oracle", "oracle"), (shared, "oracle_of_one_time"))}
  assert np.ptp(of_scenes(searched[shared], "exposure_times"), axis=-1).max() < 1e-9
  best = of_scenes(searched["oracle"], "psnr")
  for method, regret in json.loads((folder / "regret.json").read_text()).items():
    others = of_scenes((searched | one_for_all)[method], "psnr")
    assert regret["regret_db"] == pytest.approx((best - others).mean(), abs=1e-6)
  records = (folder / "records_oracle.jsonl").read_text()
  code, _, errors = _run("oracle", *options)
  assert code == 0 and "oracle: 0 of" not in errors and (folder / "records_oracle.jsonl").read_text() == records


def test_the_scale_of_hours_goes_on_with_its_own_config(tmp_path):
  """Stage 1 of a run of `configs/pretrain_small.py` is accepted at its scale, and not at another."""
  run = pretrain_small.get_config()
  run.data.photos = "photos"
  check_config(run, STAGES["stage1"], tmp_path)
  check_config(scales.config_of("medium", "elsewhere/photos"), STAGES["stage1"], tmp_path)
  with pytest.raises(ValueError, match="crop_size"):
    check_config(scales.config_of("small"), STAGES["stage1"], tmp_path)


def test_the_scale_of_hours_starts_from_the_weights_inside_the_package(tmp_path, monkeypatch):
  """Stage 1 is theirs, and nothing is trained for it; for bursts of another length it is trained on from there, for
  another black level from the beginning."""
  config = scales.config_of("medium", "builtin")
  config.data.update(dict(photo_list="", num_restore_scenes=8, num_bae_scenes=8))
  experiment, start = networks.pretrained(config, tmp_path)
  expected = load_weights(shipped_files("small_stage1")[0])[0]
  jax.tree.map(np.testing.assert_array_equal, start.restoration_variables["params"], expected["params"])
  assert not list(tmp_path.iterdir())
  weights = shipped_files("small_stage1")[0].parent
  for stage, name in (("stage2_warmup", "small_stage1"), ("stage2", "small_stage1"), ("stage3", "small")):
    loaded = experiment.load_stage(stage, weights, experiment.initial_state()).restoration_params
    jax.tree.map(np.testing.assert_array_equal, loaded, load_weights(shipped_files(name)[0])[0]["params"])
  of_two, root = networks.with_frames(config, tmp_path, 2)
  for name in ("restorer", networks.DEBIR):
    assert networks._source(config, tmp_path, name) == weights
    assert networks._source(of_two, root, name) == root / "networks" / name
  one_time = config.copy_and_resolve_references()
  one_time.bae.network = "uniform_exposure"
  assert networks._source(one_time, tmp_path, networks.UNIFORM_EXPOSURE).name == "small_one_time"
  assert networks._source(one_time, tmp_path, networks.DEBIR) == tmp_path / "networks" / "DEBIR"  # Another network.
  seed_1, root_1 = config.copy_and_resolve_references(), networks.of_seed(tmp_path, 1)
  seed_1.seed = 1
  assert networks._source(seed_1, root_1, "restorer") == weights
  assert networks._source(seed_1, root_1, networks.DEBIR) == tmp_path / "seed_1" / "networks" / "DEBIR"
  ran = []
  monkeypatch.setattr("debir_jax.training.runner.run", lambda config, folder: ran.append(config))
  black = config.copy_and_resolve_references()
  black.capture.black_level = 0.05
  for its_config, root in ((of_two, root), (black, tmp_path / "black")):
    with pytest.raises(FileNotFoundError):  # Nothing was trained.
      networks.pretrained(its_config, root)
  assert [(run.stages, run.init_from_other_bursts, run.stage1.num_steps) for run in ran] == [
      (("stage1",), True, 3000), (("stage1",), False, config.stage1.num_steps)]
  assert [run.init_from for run in ran] == [str(weights), ""]


def test_labels_are_searched_once_for_all_networks(workdir, monkeypatch):
  """A network begins with those of another one of the same scenes and restorer, also of another training seed, but not
  with those of other ones."""
  monkeypatch.setattr("debir_jax.training.runner.run", lambda config, workdir: None)
  labels = lambda name: workdir / "networks" / name / "stage2_warmup" / "labels.json"
  for name, changes in (("same", {"bae.use_gain": False}), ("another", {"stage2_warmup.label_draws": 5})):
    with pytest.raises(FileNotFoundError, match=f"There is no {name}"):  # Nothing is trained.
      networks.trained(scales.config_of("tiny"), workdir, name, changes)
  assert labels("same").read_text() == labels("DEBIR").read_text()
  assert not labels("another").exists()
  config, root = scales.config_of("tiny"), networks.of_seed(workdir, 1)
  config.seed = 1
  shutil.copytree(workdir / "networks" / "restorer", root / "networks" / "restorer")
  with pytest.raises(FileNotFoundError, match="There is no DEBIR"):
    networks.trained(config, root, networks.DEBIR, {})
  assert (root / labels(networks.DEBIR).relative_to(workdir)).read_text() == labels(networks.DEBIR).read_text()


@pytest.mark.slow
def test_sensitivity_of_the_networks_of_table1(workdir):
  """Numbers for every frame and speed, a landscape with the budget's edge, and three figures."""
  code, _, errors = _run("exposure_sensitivity", "--scale=tiny", f"--workdir={workdir}", "--points=3", "--draws=2",
                         "--speeds", "1")
  assert code == 0, errors[-3000:]
  found = json.loads((workdir / "exposure_sensitivity" / "sensitivity.json").read_text())
  assert len(found["speeds"]["1 x"]["mean"]) == len(found["mean_absolute_change"]) == 4
  assert len(found["landscape"]["loss"]) == 3 and None in found["landscape"]["loss"][2]
  for picture in ("gradients", "landscape", "maps"):
    assert (workdir / "exposure_sensitivity" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name, options, texts", [
    ("table2", (), ("NIQE", "PSNR", "true image", "uniform {32}", "0.363")),
    ("table3", (), ("without preview", "without gain", "without motion", "uniform exposure (BAENet)")),
    ("table4", ("--frames", "2", "4"), ("2 frames", "4 frames", "bracketing", "uniform {32}")),
    ("table5", (), ("S1, S2-2 ", "S1, S2-1, E2E", "| E2E ")),
    ("active_sl", (), ("Active S-L", "DEBIR", "bracketing")),
    ("gain_range", (), ("Gain 256", "Gain 2048", "uniform {32}")),
    ("speed", (), ("BAENet", "burst to image")),
    ("exposure_time_penalty", (), ("DEBIR, 0.3 per second", "uniform {12}")),
    ("black_level", (), ("0.03125", "Black level 0.0625", "uniform {8}", "What black level 0.0625 changes against")),
    ("patches", (), ("64 px, patches overlapping", "with attention", "PSNR in patches", "What patches change")),
    ("burst_size", (), ("8 frames", "one pair for all", "0.0005 per frame", "best size always", "| penalty |")),
    ("robustness", (), ("As it is", "Motion stops", "Jolt", "Flicker"))])
def test_the_other_tables(workdir, name, options, texts):
  """They share networks with Table 1 and end with a table, which a second start leaves as it is."""
  for _ in range(2):
    code, _, errors = _run(name, "--scale=tiny", f"--workdir={workdir}", *options)
    assert code == 0, errors[-3000:]
    table = (workdir / name / "table.md").read_text()
    assert all(text in table for text in texts)
  for path in (workdir / name).glob("*.json"):
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path} is no JSON"))
  if "PSNR, " in table:  # In columns that have files of records; differences are taken to the method of their heading.
    check_table(workdir / name, re.search(r"\| vs (.*?) +\|", table)[1])


@pytest.mark.slow
def test_figures_are_drawn(workdir):
  """The sheet of methods, exposure times against motion and by gain, and large scenes."""
  code, _, errors = _run("figures", "--scale=tiny", f"--workdir={workdir}")
  assert code == 0, errors[-3000:]
  for picture in ("figure2.png", "figure3.png", "figure4.png"):
    assert (workdir / "figures" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", _experiments())
def test_every_experiment_explains_itself(name, monkeypatch, capsys):
  """`--help` shows its commands and the scales."""
  monkeypatch.setattr(sys, "argv", [name, "--help"])
  with pytest.raises(SystemExit) as end:
    importlib.import_module(f"experiments.{name}").main()
  output = capsys.readouterr().out
  assert end.value.code == 0 and f"python -m experiments.{name}" in output and "tiny" in output


def test_other_test_scenes_have_results_of_their_own_and_share_networks(monkeypatch):
  """Also those of other burst lengths; without the option all is in the workdir."""
  def parsed(*options):
    monkeypatch.setattr(sys, "argv", ["table3", "--workdir=runs/x", *options])
    return scales.parse(scales.parser("", "table3"))

  plain, other = parsed(), parsed("--test_source=high_fps_video", "--data_dir=data")
  assert plain.config.data.test_source is None and plain.workdir == pathlib.Path("runs/x")
  assert (other.config.data.test_source, other.config.data.data_dir) == ("high_fps_video", "data")
  assert other.workdir == pathlib.Path("runs/x/on_high_fps_video")
  _, of_two = networks.with_frames(other.config, other.workdir, 2)
  assert of_two == pathlib.Path("runs/x/2_frames/on_high_fps_video")
  on_mine = pathlib.Path("runs/on_mine")  # Which somebody called so.
  for config, workdir, folder in (
      (plain.config, plain.workdir, "runs/x"), (plain.config, on_mine, "runs/on_mine"),
      (other.config, other.workdir, "runs/x"), (other.config, of_two, "runs/x/2_frames")):
    assert networks._folder(config, workdir, "DEBIR") == pathlib.Path(folder, "networks", "DEBIR")


@pytest.mark.parametrize("name", ["oracle", "exposure_sensitivity"])
def test_what_rests_on_table1_says_so(tmp_path, name):
  """The command that has to come first."""
  code, _, errors = _run(name, "--scale=tiny", f"--workdir={tmp_path}")
  assert code == 1 and "python -m experiments.table1" in errors


@pytest.mark.parametrize("change, previews_stay, burst_moves", [
    (robustness.motion_stops, True, False), (robustness.motion_starts, False, True)])
def test_motion_changes_at_the_start_of_the_burst(change, previews_stay, burst_moves):
  """What was before it, or what comes after it, is as it was; the rest stands still."""
  timing = BurstTiming.paper()
  ramp = jnp.linspace(0.2, 0.8, 230)[None, :, None, None, None] * jnp.ones((1, 230, 4, 4, 4))
  color = CameraColor(white_balance=jnp.ones((1, 3)), ccm=jnp.eye(3)[None])
  scene = Scene(radiance=ramp, color=color, scene_id=jnp.arange(1))
  changed = change(scene, timing).radiance[0]
  noise, key = PoissonGaussianNoise(0.0, 0.0), jax.random.key(0)
  previews = [simulate_previews(key, radiance, 16.0, noise, timing) for radiance in (ramp[0], changed)]
  times = jnp.full(4, 30 / 1920)
  bursts = [simulate_burst(key, radiance, times, 16.0, noise, timing) for radiance in (ramp[0], changed)]
  assert (jnp.abs(previews[0] - previews[1]).max() < 1e-6) == previews_stay
  assert (jnp.ptp(previews[1].mean((1, 2, 3))) > 1e-3) == previews_stay
  assert (jnp.abs(bursts[0] - bursts[1]).max() < 1e-6) == burst_moves
  assert (jnp.ptp(bursts[1].mean((1, 2, 3))) > 1e-3) == burst_moves


def test_a_jolt_moves_the_first_frame_only_and_lets_the_target_be():
  """Every row comes from a row further down, by half a sine; before the burst and after 20 ms nothing has moved."""
  timing, start = BurstTiming.paper(), 80
  radiance = jax.random.uniform(jax.random.key(0), (1, 230, 6, 2, 4))
  scene = Scene(radiance=radiance, scene_id=jnp.arange(1),
                color=CameraColor(white_balance=jnp.ones((1, 3)), ccm=jnp.eye(3)[None]))
  moved, radiance = np.asarray(robustness.jolt(scene, timing).radiance[0]), np.asarray(radiance[0])
  np.testing.assert_allclose(moved[:start + 1], radiance[:start + 1], atol=1e-6)
  np.testing.assert_allclose(moved[start + 39:], radiance[start + 39:], atol=1e-6)
  for entry in (start + 5, start + 19, start + 30):
    shift = 2 * np.sin(np.pi * (entry - start) / 1920 / 0.02)
    for row in range(6):
      expected = [[np.interp(row + shift, range(6), radiance[entry, :, column, plane]) for plane in range(4)]
                  for column in range(2)]
      np.testing.assert_allclose(moved[entry, row], expected, atol=1e-5)


def test_flicker_swings_around_the_light_of_the_scene():
  scene = Scene(radiance=jnp.full((1, 192, 2, 2, 4), 0.5), scene_id=jnp.arange(1),  # Ten periods of 100 Hz.
                color=CameraColor(white_balance=jnp.ones((1, 3)), ccm=jnp.eye(3)[None]))
  light = robustness.flicker(scene, BurstTiming.paper()).radiance[0, :, 0, 0, 0] / 0.5
  assert light.mean() == pytest.approx(1, abs=1e-3) and jnp.ptp(light) == pytest.approx(0.6, rel=0.02)


def _penalized_record(method, scene_id, counts, l1):
  times = tuple(count / 1920 for count in (*counts, *[0] * (8 - len(counts))))
  return Record(method=method, scene_id=scene_id, draw=0, psnr=30.0, ssim=0.9, l1=l1, preview_gain=700.0,
                exposure_times=times, motion_magnitude=0.1)


def test_losses_of_the_choice_among_burst_sizes():
  """Error plus penalty of time, with the gaps of what was taken, and of frames; against the best size on the whole."""
  short, long_ = (20, 20), (20, 20, 20, 20)
  records = [_penalized_record("chosen", 0, short, 0.020), _penalized_record("chosen", 1, long_, 0.030),
             _penalized_record("always 2", 0, short, 0.020), _penalized_record("always 2", 1, short, 0.050),
             _penalized_record("always 4", 0, long_, 0.019), _penalized_record("always 4", 1, long_, 0.030)]
  penalty = BurstPenalty(exposure_time=0.1, frame=0.001)
  found = burst_size.compare_choice(records, penalty, BurstTiming.paper(8))
  of_2, of_4 = 0.1 * 47 / 1920 + 0.002, 0.1 * 101 / 1920 + 0.004
  assert found["chosen_loss"] == pytest.approx((0.020 + of_2 + 0.030 + of_4) / 2, rel=1e-5)
  assert found["best_always"] == "always 4" and found["frames"] == 3 and found["fractions"]["2"] == 0.5
  assert found["difference"] == pytest.approx((0.019 + of_4 - 0.020 - of_2) / 2, rel=1e-4)
  assert found["hindsight_loss"] == pytest.approx(found["chosen_loss"], rel=1e-5)
  assert found["seconds"] == pytest.approx((47 + 101) / 2 / 1920, rel=1e-5)
  assert found["num_groups"] == 2 and burst_size.format_choices({"both": found}).endswith("10 are the least.")


def test_a_misled_policy_decides_by_what_it_is_told():
  """The gain and the motion that it is told, and nothing else."""
  told = lambda key, observation, timing: jnp.stack([observation.preview_gain, observation.motion_magnitude])
  observation = Observation(
      previews=jnp.zeros((2, 4, 4, 4)), preview_gain=jnp.array(700.0), mean_flow_px=jnp.array(3.0),
      motion_magnitude=jnp.array(0.7), color=CameraColor.neutral())
  misled = robustness.Misled(told, gain_factor=0.5, motion_factor=2.0)
  assert misled(None, observation, None).tolist() == [350.0, 1.0]


def _row(method, difference, low, high):
  return dict(column="fine-tuned restorers", method=method, difference=difference, difference_error=0.1,
              difference_low=low, difference_high=high)


def test_the_page_of_results_says_who_is_ahead_of_whom(tmp_path):
  """Also where the reference is behind; with tables, figures and remarks, in the order of the paper."""
  for name in ("table4", "table1"):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "table.md").write_text(f"a table of {name}")
    (folder / "differences.png").write_bytes(b"")
  rows = [_row("DEBIR", 0, 0, 0), _row("A", -0.3, -0.5, -0.1), _row("B", 0.3, 0.1, 0.5), _row("C", 0.0, -0.1, 0.1),
          _row("D", -0.3, "nan", "nan")]
  with open(tmp_path / "table1" / "table.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, fieldnames=rows[0])
    writer.writeheader()
    writer.writerows(rows)
  (tmp_path / "table1" / "notes.md").write_text("B wins, because.")
  text = report.page(tmp_path)
  assert "DEBIR is ahead of A, D; is **behind** B; cannot be told apart from C" in text
  assert text.index("a table of table1") < text.index("B wins, because.") < text.index("a table of table4")
  assert "](table1/differences.png)" in text and "python -m experiments.table4" in text
  with pytest.raises(FileNotFoundError, match="run_all"):
    report.page(tmp_path / "table1")
