"""Every config runs one step of each of its stages through `main`; what is misspelt is answered with the remedy."""

import json
import os
import pathlib
import subprocess
import sys

from absl import flags
import pytest
from tables_by_hand import check_table

from debir_jax import main
from debir_jax.runtime import command_line

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _in_checkout(monkeypatch):
  monkeypatch.chdir(_ROOT)
  monkeypatch.syspath_prepend(str(_ROOT))


def _run(config, workdir, *options, mode="debug"):
  """What `python -m debir_jax.main` does, in this process, so that compiled programs are shared."""
  main.main(_parsed(f"--config=configs/{config}.py:{mode}", f"--workdir={workdir}", *options))


def _parsed(*arguments):
  """Parses flags as for the first time; ml_collections looks for overrides in `sys.argv` itself."""
  flags.FLAGS.unparse_flags()
  for name in list(flags.FLAGS):
    if name.startswith("config."):
      delattr(flags.FLAGS, name)
  argv = ["main", *arguments]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "argv", argv)
    return command_line.parse_flags(argv)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """One folder for all configs: each stage goes on from the one before it."""
  return tmp_path_factory.mktemp("run")


def _steps(log):
  return [json.loads(line)["step"] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("config, stages", [
    ("stage1", ["stage1"]), ("stage2", ["stage2_warmup", "stage2"]), ("stage3", ["stage3"])])
def test_the_stages_run_after_each_other_into_one_workdir(workdir, config, stages):
  """One step each, with a checkpoint, a log and event files; the next config goes on from there."""
  _run(config, workdir, "--config.start_from_scratch=False")
  for stage in stages:
    assert _steps(workdir / stage / "log.jsonl") == [1]
    assert (workdir / stage / "checkpoints" / "1").is_dir()
    assert list((workdir / stage / "tensorboard").iterdir())


def test_all_stages_find_everything_finished(workdir):
  """After the three configs above there is nothing left to do, and nothing is done again."""
  _run("all_stages", workdir)
  assert _steps(workdir / "stage3" / "log.jsonl") == [1]


def test_a_stage_goes_on_from_another_workdir(workdir, tmp_path):
  """`init_from` names the run whose last checkpoint is the start; that run stays as it is."""
  _run("stage3", tmp_path, "--config.start_from_scratch=False", f"--config.init_from={workdir}")
  assert _steps(tmp_path / "stage3" / "log.jsonl") == [1]


def test_the_tuned_stage_2_starts_from_the_same_restorer(workdir, tmp_path):
  """With its own learning rates and clipping."""
  _run("stage2_tuned", tmp_path, "--config.start_from_scratch=False", f"--config.init_from={workdir}")
  assert _steps(tmp_path / "stage2" / "log.jsonl") == [1]
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["stage2"]["learning_rate"] == 1e-3 and config["bae_optimizer"]["clip_norm"] == 1.0


def test_the_recipe_for_a_gpu_starts_like_any_other(workdir, tmp_path):
  """Its stage 3 starts where any other does; in float32, whose programs are compiled already."""
  _run("pretrain", tmp_path, "--config.start_from_scratch=False", f"--config.init_from={workdir}",
       "--config.stages=('stage3',)", "--config.compute.dtype=float32")
  assert _steps(tmp_path / "stage3" / "log.jsonl") == [1]


def test_a_restorer_of_aligned_frames_goes_through_the_stages(tmp_path):
  """Aligned by exact motion in stage 1, by motion that is found in the frames in stage 3; one step of each."""
  _run("pretrain_small", tmp_path, "--config.restorer.network=aligned_unet", "--config.restorer_inputs.aligned",
       "--config.aligned_unet.num_features=8", "--config.aligned_unet.blocks_per_level=0",
       "--config.stages=('stage1','stage3')", "--config.comparison.enabled=False",
       "--config.evaluation.watched_scenes=0")
  for stage in ("stage1", "stage3"):
    assert _steps(tmp_path / stage / "log.jsonl") == [1]
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["stage1"]["exact_motion"] and not config["stage3"]["exact_motion"]


@pytest.mark.slow
def test_the_digital_gimbal_goes_through_the_same_stages(workdir, tmp_path):
  """Warm-up, main step, evaluation; that its times are the same for all scenes is no collapse."""
  _run("stage2", tmp_path, "--config.start_from_scratch=False", f"--config.init_from={workdir}",
       "--config.bae.network=digital_gimbal", "--config.comparison.enabled=True", "--config.comparison.finetune=False")
  assert "DEBIR" in (tmp_path / "results" / "table.md").read_text()
  assert "same exposure times" not in "".join(path.read_text() for path in tmp_path.glob("stage2*/events.jsonl"))


def test_the_quickstart_ends_with_tables_and_pictures(tmp_path):
  """All stages, baselines, headroom, table, pictures."""
  _run("quickstart", tmp_path)
  results = tmp_path / "results"
  table = (results / "table.md").read_text()
  for method in ("DEBIR", "bracket {8,24,40,56}", "uniform {8}", "uniform {32}"):
    assert method in table
  check_table(results, "DEBIR")
  assert "cross-validated" in (results / "headroom.md").read_text()
  for picture in ("comparison.png", "exposure_times.png", "training.png"):
    assert (results / picture).read_bytes().startswith(b"\x89PNG")


def test_the_release_trains(tmp_path):
  """Its timing, inputs and metric move both networks; without weights of RAFT, Lucas-Kanade measures the motion."""
  _run("release", tmp_path, "--config.stages=('end_to_end',)", "--config.evaluation.watched_scenes=0")
  assert _steps(tmp_path / "end_to_end" / "log.jsonl") == [1]


def test_networks_of_a_run_are_evaluated_without_training(workdir, tmp_path):
  """One column, every capture with every method, pictures; no stage and no fine-tuning."""
  _run("evaluate", tmp_path, f"--config.init_from={workdir}", "--config.start_from_scratch=False", mode="default,debug")
  results = tmp_path / "results"
  assert "DEBIR" in (table := (results / "table.md").read_text()) and "uniform {32}" in table
  check_table(results, "DEBIR")
  assert len((results / "records_stage_1_restorer.jsonl").read_text().splitlines()) == 2 * 6
  assert len((results / "records_restorer_of_DEBIR.jsonl").read_text().splitlines()) == 2
  assert (results / "comparison.png").exists() and (results / "exposure_times.png").exists()
  assert not list(tmp_path.glob("stage*")) and not (tmp_path / "finetuned").exists()


def test_without_networks_there_is_nothing_to_evaluate(tmp_path):
  """The message names what may stand in `init_from`."""
  with pytest.raises(SystemExit, match="there are none.*debir_jax.convert"):
    _run("evaluate", tmp_path, "--config.start_from_scratch=False", mode="default,debug")
  with pytest.raises(SystemExit, match="There is nothing to do: config.stages is empty"):
    _run("evaluate", tmp_path, "--config.comparison.enabled=False", mode="default,debug")


def test_evaluation_knows_whose_settings_there_are(tmp_path):
  """A misspelt name is answered with the right ones."""
  with pytest.raises(SystemExit, match="Unknown settings 'relase'.*release, default, quickstart"):
    _run("evaluate", tmp_path, mode="relase")


def test_a_missing_stage_is_named_with_the_remedy(tmp_path):
  """Stage 2 does not silently start from random weights."""
  with pytest.raises(SystemExit, match="Run stage1 into the same --workdir first"):
    _run("stage2", tmp_path, "--config.start_from_scratch=False")


def test_other_conditions_than_those_of_the_checkpoint_are_refused(workdir):
  """A restorer that was trained for one noise model is not used under another."""
  with pytest.raises(SystemExit, match="noise: iso there, paper here"):
    _run("stage2", workdir, "--config.start_from_scratch=False", "--config.capture.noise=paper",
         "--config.capture.camera_jitter=False")


@pytest.mark.parametrize("option, message", [
    ("--config.stgae1.num_steps=3", "Did you mean \"stage1\""),
    ("--config.batch_size=many", "batch_size"),
])
def test_a_misspelt_field_is_answered_with_the_right_one(tmp_path, option, message):
  """One line with the remedy and an exit code, not a traceback."""
  with pytest.raises(SystemExit, match=message):
    _run("stage1", tmp_path, option)


@pytest.mark.parametrize("option, message", [
    ("--config.capture.num_frames=3", "num_frames must be even"),
    ("--config.capture.timing=papr", "choose one of 'paper', 'release'"),
    ("--config.stages=('stage4',)", "Unknown stage 'stage4'"),
    ("--config.data.photos=/nowhere", "/nowhere is not a folder"),
    ("--config.data.crop_size=60", "multiple of 8"),
    ("--config.restorer.num_features=12", "multiple of 8"),
    ("--config.log_every_steps=0", "config.log_every_steps=0 must be at least 1"),
    ("--config.stage1.num_steps=-5", "config.stage1.num_steps=-5 must be at least 1"),
    ("--config.stage1.learning_rate=-1e-3", "config.stage1.learning_rate=-0.001 must be positive"),
    ("--config.resume_from=stage9/2", "must be a stage of this run and a step.*this run has stage1"),
    ("--config.resume_from=stage1", "must be a stage of this run and a step"),
    ("--config.init_from=gs://bucket/run", "config.init_from=gs://bucket/run is an address"),
    ("--config.evaluation.border=10", "Held-out scenes of 32 px cannot be measured with config.evaluation.border=10"),
    ("--num_processes=2", "want --coordinator"),
    ("--process_id=0", "want --coordinator"),
])
def test_settings_that_cannot_be_are_refused_before_anything_is_written(tmp_path, option, message):
  """The message names the value and what is possible; the workdir holds no stage."""
  with pytest.raises(SystemExit, match=message):
    _run("stage1", tmp_path / "run", option)
  assert not list(tmp_path.glob("run/stage*"))


@pytest.mark.parametrize("folder, config", (
    ("checkout", "configs/nosuch.py"), ("elsewhere", "configs/stage1.py")))
def test_a_config_that_is_not_there_is_said_so(tmp_path, monkeypatch, folder, config):
  """Also where the command is run in another folder: one line, with the remedy."""
  if folder == "elsewhere":
    monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match=f"There is no config file {config} in .*\n.*from the top folder"):
    _parsed(f"--config={config}", f"--workdir={tmp_path}")


@pytest.mark.parametrize("platforms", ("cuda", "CPU", "nosuch"))
def test_a_platform_that_is_not_there_is_one_line(tmp_path, platforms):
  """With what may stand in the variable."""
  command = [sys.executable, "-c", "from debir_jax.runtime.platform import check_backend; check_backend()"]
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False,
                        env=os.environ | {"JAX_PLATFORMS": platforms})
  last = done.stderr.strip().splitlines()[-1]
  assert done.returncode and f"PlatformError: JAX_PLATFORMS={platforms} names what JAX cannot use" in last
  assert "Names are cpu, cuda and tpu, in lower case" in last


def test_an_unknown_mode_of_a_config_is_refused(tmp_path):
  """Only ':debug' exists."""
  with pytest.raises(SystemExit, match="Unknown mode 'debig'"):
    _parsed("--config=configs/stage1.py:debig", f"--workdir={tmp_path}")


def test_a_missing_config_is_said_so():
  """The one option without which there is nothing to do."""
  with pytest.raises(SystemExit, match="--config"):
    _parsed()


def test_help_teaches():
  """`--help` shows the commands of a first session."""
  shown = subprocess.run([sys.executable, "-m", "debir_jax.main", "--help"], cwd=_ROOT, capture_output=True, text=True,
                         check=False)
  assert "configs/quickstart.py" in shown.stdout and "--workdir" in shown.stdout
