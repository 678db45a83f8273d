"""Trials are run once each, in processes of their own, and compared with the first one on the same captures."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import ml_collections
import pytest

from debir_jax.evaluation.records import Record, write_records
from debir_jax.runtime.command_line import load_config
from debir_jax.sweep import trial_processes
from debir_jax.sweep import trials as trials_lib

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = '''
from configs import default


def get_config(mode=""):
  config = default.get_config("debug")
  config.stages = ("stage2_warmup",)
  config.bae.network = "digital_gimbal"  # Its exposure times are learned without anything to compile.
  config.data.source = "photos"
  config.evaluation.watched_scenes = 0
  config.comparison.update(dict(enabled=True, split="validation", finetune=False, headroom_scenes=0))
  return config


def sweep():
  return {"slow": {}, "fast rate": {"stage2_warmup.learning_rate": 0.3}}
'''


def _config(**fields):
  comparison = dict(enabled=True, split="validation")
  return ml_collections.ConfigDict(dict(rate=1.0, part=dict(steps=3), comparison=comparison) | fields)


def _python(code):
  return [sys.executable, "-c", code]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
  """A sweep of two trials that ran to its end: its folder, its command and its output."""
  folder = tmp_path_factory.mktemp("sweep")
  (folder / "config.py").write_text(_CONFIG)
  command = [sys.executable, "-m", "debir_jax.sweep", f"--config={folder / 'config.py'}",
             f"--workdir={folder / 'runs'}"]
  return folder / "runs", command, _run(command)


def _run(command):
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
  return done.returncode, done.stderr


def test_a_sweep_ends_with_a_table_of_its_trials(swept):
  """Each trial in a folder of its own, under its own settings, on the same captures; the first one is the reference."""
  folder, _, (code, output) = swept
  assert code == 0, output
  table = (folder / "table.md").read_text()
  assert "| slow " in table and "| fast rate " in table and "vs slow" in table
  rates = [json.loads((folder / name / "trial.json").read_text())["stage2_warmup"]["learning_rate"]
           for name in ("slow", "fast_rate")]
  assert rates == [1e-7, 0.3]
  slow, fast = json.loads((folder / "trials.json").read_text())["trials"]
  assert slow["restorer of DEBIR"]["difference"] == 0 and fast["changes"] == {"stage2_warmup.learning_rate": 0.3}
  assert fast["restorer of DEBIR"]["exposure_times"] != slow["restorer of DEBIR"]["exposure_times"]
  assert (folder / "trials.png").read_bytes().startswith(b"\x89PNG")


# What `python -m debir_jax.sweep` does, and whether JAX then had a backend.
_AGAIN = """
import sys
from absl import app
from jax._src import xla_bridge
from debir_jax.runtime import command_line
from debir_jax.sweep import __main__ as sweep
try:
  app.run(sweep.main, flags_parser=command_line.parse_flags)
finally:
  print("backends", xla_bridge.backends_are_initialized())
"""


@pytest.fixture(scope="module")
def swept_again(swept):
  """The process of the same sweep once more, which ended."""
  folder, command, _ = swept
  (folder / "table.md").rename(folder / "first_table.md")
  return subprocess.run([*_python(_AGAIN), *command[3:]], cwd=_ROOT, capture_output=True, text=True, check=False)


def test_the_same_command_skips_what_is_finished(swept, swept_again):
  """No trial is started again; the table is written again."""
  folder = swept[0]
  assert swept_again.returncode == 0, swept_again.stderr
  assert "2 of them finished earlier" in swept_again.stderr and "[slow]" not in swept_again.stderr
  assert (folder / "table.md").read_text() == (folder / "first_table.md").read_text()


def test_the_process_of_a_sweep_leaves_the_devices_to_its_trials(swept_again):
  """It compares finished trials without starting a JAX backend, which on a GPU would take most of its memory."""
  assert swept_again.stdout.split() == ["backends", "False"], swept_again.stderr


def test_a_trial_that_fails_leaves_the_others_to_go_on():
  """Outcomes by name: the last line of what failed, exit codes of what was stopped or is run by another process."""
  outcomes = trial_processes.run_all({
      "bad": _python("import sys; print('first'); sys.exit('Error: no such thing')"), "good": _python("pass"),
      "stopped": _python("raise SystemExit(75)"), "elsewhere": _python("raise SystemExit(73)")}, 2)
  assert outcomes == {"bad": "failed: Error: no such thing", "good": trial_processes.DONE,
                      "stopped": trial_processes.STOPPED, "elsewhere": trial_processes.IN_USE}


def test_a_signal_reaches_the_trials_that_run_and_starts_no_more(tmp_path):
  """Ctrl-C saves what runs, as in a single run, and leaves the rest for the next time."""
  waiting = ("import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
             "pathlib.Path(sys.argv[1]).touch()\ntime.sleep(1200)")
  code = ("import signal, sys, threading, time, os, pathlib\nfrom debir_jax.sweep import trial_processes\n"
          f"paths = [{str(tmp_path)!r} + '/' + n for n in 'abc']\n"
          f"commands = {{p: [sys.executable, '-c', {waiting!r}, p] for p in paths}}\n"
          "print(list(trial_processes.run_all(commands, 2).values()))")
  process = subprocess.Popen(_python(code), cwd=_ROOT, stdout=subprocess.PIPE, text=True)
  while process.poll() is None and not all((tmp_path / name).exists() for name in "ab"):
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate()
  assert output.strip() == str([trial_processes.STOPPED] * 3) and not (tmp_path / "c").exists()


def test_a_trial_is_done_under_its_own_settings_only(tmp_path):
  """Another config, or none, has to be run."""
  config = _config(pair=(1, 2))
  assert not trials_lib.is_done(config, tmp_path)
  trials_lib.mark_done(config, tmp_path)
  assert trials_lib.is_done(config, tmp_path) and not trials_lib.is_done(_config(pair=(1, 3)), tmp_path)


def test_differences_are_paired_by_capture(tmp_path):
  """By hand, with a column that both trials have."""
  for name, values in (("a", (30.0, 20.0)), ("b", (31.0, 20.5))):
    write_records(tmp_path / name / "results" / "records_restorer_of_DEBIR.jsonl", [
        Record(method="DEBIR", scene_id=scene_id, draw=0, psnr=value, ssim=0.5, l1=0.1, exposure_times=(0.01,) * 4,
               preview_gain=600.0, motion_magnitude=0.1) for scene_id, value in enumerate(values)])
  trials_lib.report(tmp_path, {"a": {}, "b": {}}, "DEBIR")
  result = json.loads((tmp_path / "trials.json").read_text())["trials"][1]["restorer of DEBIR"]
  assert result["difference"] == pytest.approx(0.75) and result["difference_error"] == pytest.approx(0.25)
  with pytest.raises(ValueError, match="no method 'uniform'.*--method"):
    trials_lib.report(tmp_path, {"a": {}, "b": {}}, "uniform")
  with pytest.raises(ValueError, match="'c' has no results 'restorer of DEBIR'"):
    trials_lib.report(tmp_path, {"a": {}, "c": {}}, "DEBIR")


@pytest.mark.parametrize("trials, message", [
    ({}, "has to return a dictionary"), (["a"], "has to return a dictionary"), ({"a": 3}, "has to return a dictionary"),
    ({"a b": {}, "a_b": {}}, "'a_b'.*there is 'a b'"), ({"+": {}}, "letters or digits"),
])
def test_trials_that_cannot_be_told_apart_are_refused(tmp_path, trials, message):
  """Each needs a folder of its own."""
  (tmp_path / "config.py").write_text(f"def sweep():\n  return {trials!r}\n")
  with pytest.raises(ValueError, match=message):
    trials_lib.trials_of(str(tmp_path / "config.py"))


def test_a_config_without_trials_is_told_what_is_missing():
  """With an example."""
  with pytest.raises(ValueError, match=r"configs/stage2.py has no function sweep\(\).*learning_rate"):
    trials_lib.trials_of(str(_ROOT / "configs" / "stage2.py"))


@pytest.mark.parametrize("changes, message", [
    ({"rte": 1.0}, "Trial 'x': .*rte"), ({"part.steps": "many"}, "Trial 'x': .*many"),
    ({"comparison.enabled": False}, "not evaluated"),
])
def test_changes_that_cannot_be_are_refused_before_anything_runs(changes, message):
  """The trial and the field are named."""
  with pytest.raises(ValueError, match=message):
    trials_lib.trial_config(_config(), "x", changes)


@pytest.mark.parametrize("path", sorted((_ROOT / "configs" / "sweeps").glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", ["", "debug"])
def test_every_sweep_has_trials_that_can_be_run(monkeypatch, path, mode):
  """Names, fields and types of the trials in configs/sweeps, each with a setting of its own."""
  monkeypatch.syspath_prepend(str(_ROOT))
  base, trials = load_config(f"{path}:{mode}"), trials_lib.trials_of(str(path))
  configs = [trials_lib.trial_config(base, name, changes).to_json() for name, changes in trials.items()]
  assert len(set(configs)) == len(configs) > 1


def test_a_trial_changes_its_own_config_only():
  """The base stays as it is."""
  base = _config()
  assert trials_lib.trial_config(base, "x", {"part.steps": 5}).part.steps == 5 and base.part.steps == 3


def test_a_field_given_twice_is_refused():
  """It would be without effect."""
  with pytest.raises(ValueError, match="--config.seed is given, but trial 'b' changes it"):
    trials_lib.check_not_given_twice({"a": {}, "b": {"seed": 1}}, {"seed": 3})
