"""Experiments run from end to end at their smallest scale, go on with what was stopped, and say what they need."""

import csv
import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(name, *options):
  done = subprocess.run([sys.executable, "-m", f"experiments.{name}", *options], cwd=_ROOT, capture_output=True,
                        text=True, check=False)
  return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def table1(tmp_path_factory):
  """Table 1 with a learned, a hand-made and a fixed method."""
  workdir = tmp_path_factory.mktemp("table1")
  options = ("--scale=tiny", f"--workdir={workdir}", "--methods", "Average AE", "bracketing")
  code, _, errors = _run("table1", *options)
  assert code == 0, errors[-3000:]
  return workdir, options


def test_table1_compares_every_method_with_both_restorers(table1):
  """Rows with the paper's beside them, as Markdown, CSV and figures; free numbers as they were found."""
  workdir, _ = table1
  table = (workdir / "table.md").read_text()
  for text in ("| DEBIR ", "| Average AE ", "| bracketing ", "one restorer", "fine-tuned", "35.32"):
    assert text in table
  with open(workdir / "table.csv") as file:
    rows = list(csv.DictReader(file))
  assert [(row["column"], row["method"]) for row in rows] == [
      (column, method) for column in ("one restorer", "fine-tuned") for method in ("DEBIR", "Average AE", "bracketing")]
  found = json.loads((workdir / "calibration.json").read_text())["Average AE"]
  assert found["best"] == found["values"][found["l1"].index(min(found["l1"]))]
  for picture in ("table1.png", "exposure_times.png"):
    assert (workdir / picture).read_bytes().startswith(b"\x89PNG")


def test_the_oracle_is_compared_on_the_shots_of_table1(table1, tmp_path):
  """Regret of every method; scenes that were searched are not searched again."""
  options = ("--scale=tiny", f"--table1={table1[0]}", f"--workdir={tmp_path}")
  code, _, errors = _run("oracle", *options)
  assert code == 0, errors[-3000:]
  assert set(json.loads((tmp_path / "regret.json").read_text())) == {"oracle", "DEBIR", "Average AE", "bracketing"}
  records = (tmp_path / "records_oracle.jsonl").read_text()
  code, _, errors = _run("oracle", *options)
  assert code == 0 and "oracle: 0 of" not in errors and (tmp_path / "records_oracle.jsonl").read_text() == records


def test_sensitivity_of_the_networks_of_table1(table1, tmp_path):
  """Numbers for every frame and speed, a landscape with the budget's edge, and three figures."""
  options = ("--scale=tiny", f"--run={table1[0] / 'DEBIR'}", f"--workdir={tmp_path}")
  code, _, errors = _run("exposure_sensitivity", *options, "--points=3", "--draws=2", "--speeds", "1")
  assert code == 0, errors[-3000:]
  found = json.loads((tmp_path / "sensitivity.json").read_text())
  assert len(found["speeds"]["1 x"]["mean"]) == len(found["mean_absolute_change"]) == 4
  assert len(found["landscape"]["loss"]) == 3 and None in found["landscape"]["loss"][2]
  for picture in ("gradients", "landscape", "maps"):
    assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["oracle", "exposure_sensitivity"])
def test_an_unknown_scale_is_refused_with_those_there_are(name):
  """As every option of the experiments."""
  code, _, errors = _run(name, "--scale=huge")
  assert code == 2 and "tiny" in errors and "paper" in errors


def test_the_oracle_says_what_it_needs(tmp_path):
  """No Table 1, no regret."""
  code, _, errors = _run("oracle", "--scale=tiny", f"--table1={tmp_path}", f"--workdir={tmp_path / 'o'}")
  assert code == 1 and "python -m experiments.table1" in errors
