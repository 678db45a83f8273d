"""How experiments write what they measured: every number is that of the records, whoever reads which file."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from tables_by_hand import check_table, number, of_scenes, records_by_hand, rows_of

from debir_jax.evaluation import Record, records_path, summarize
from experiments import tables

_PAPER = {"DEBIR": (35.32, 0.9519), "bracketing": (35.1,)}


def _records(seed, methods=("DEBIR", "bracketing", "short")):
  """Four scenes with two draws; one frame of the short burst is left out."""
  rng, times = np.random.default_rng(seed), dict(DEBIR=(8, 24), bracketing=(8, 56), short=(8, 0))
  return [Record(method=method, scene_id=scene, draw=draw, psnr=30 + rng.normal(), ssim=rng.uniform(), l1=0.01,
                 exposure_times=tuple(time / 1920 for time in times[method]), preview_gain=600.0,
                 motion_magnitude=rng.uniform())
          for method in methods for scene in range(4) for draw in range(2)]


def test_tables_and_csv_hold_the_numbers_of_the_records(tmp_path):
  """In every column those of its own file; the paper's stand beside them, and the reference has no difference."""
  columns = {"one": _records(0), "each its own": _records(1)}
  tables.write(columns, tmp_path, reference="DEBIR", paper=_PAPER, paper_columns=("PSNR", "SSIM"))
  check_table(tmp_path, "DEBIR")
  assert "| bracketing | 35.10 |  |" in (tmp_path / "table.md").read_text()
  with open(tmp_path / "table.csv") as file:
    rows = list(csv.DictReader(file))
  assert [(row["column"], row["method"]) for row in rows] == [
      (column, method) for column in columns for method in ("DEBIR", "bracketing", "short")]
  for row in rows:
    groups = records_by_hand(records_path(tmp_path, row["column"]))
    psnr, reference = (of_scenes(groups[name], "psnr") for name in (row["method"], "DEBIR"))
    found = [float(row[name]) for name in ("psnr", "difference", "win_rate", "difference_error")]
    expected = [psnr.mean(), (psnr - reference).mean(), np.mean((psnr > reference) + (psnr == reference) / 2),
                (psnr - reference).std(ddof=1) / 2]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_bursts_of_different_lengths_have_a_picture_of_their_times_each(tmp_path):
  """Columns of one length share the picture."""
  longer = [dataclasses.replace(record, exposure_times=(*record.exposure_times, 0.01)) for record in _records(1)]
  tables.write({"2 frames": _records(0), "3 frames": longer}, tmp_path, reference="DEBIR", paper=_PAPER)
  assert {path.name for path in tmp_path.glob("exposure*.png")} == {
      "exposure_times_2_frames.png", "exposure_times_3_frames.png"}
  tables.write({"one": longer, "each its own": longer}, tmp_path / "same", reference="DEBIR", paper=_PAPER)
  assert {path.name for path in (tmp_path / "same").glob("exposure*.png")} == {"exposure_times.png"}


def test_a_table_that_does_not_fit_its_records_is_noticed(tmp_path):
  """The check itself, with one digit changed in each kind of cell."""
  tables.write({"one": _records(0)}, tmp_path, reference="DEBIR", paper=_PAPER)
  text = (tmp_path / "table.md").read_text()
  row = rows_of(text)[1]
  for heading in ("PSNR, one", "SSIM", "vs DEBIR", "wins", "mean times (1/1920 s)"):
    cell = row[heading][0]
    last = max(place for place, sign in enumerate(cell.split(" ")[0]) if sign.isdigit())
    wrong = cell[:last] + str((int(cell[last]) + 3) % 10) + cell[last + 1:]
    (tmp_path / "table.md").write_text(text.replace(cell, wrong))
    with pytest.raises(AssertionError):
      check_table(tmp_path, "DEBIR")
  (tmp_path / "table.md").write_text(text)
  check_table(tmp_path, "DEBIR")


def test_conditions_stand_one_below_the_other(tmp_path):
  """As a table for each, and in a file of the folder's name."""
  folder = tmp_path / "robustness"
  folder.mkdir()
  records = {"as it is": _records(2), "flicker": _records(3)}
  tables.write_conditions({name: summarize(rows) for name, rows in records.items()}, folder)
  parts = (folder / "table.md").read_text().split("\n\n")
  found = json.loads((folder / "robustness.json").read_text())
  assert [part for part in parts if part in ("As it is", "Flicker")] == ["As it is", "Flicker"]
  for heading, (condition, rows) in zip(("As it is", "Flicker"), records.items()):
    table = rows_of(parts[parts.index(heading) + 1])
    for row, summary in zip(table, found[condition], strict=True):
      mean = np.mean([record.psnr for record in rows if record.method == summary["method"]])
      assert summary["psnr"] == pytest.approx(mean) and number(row["PSNR"][0]) == pytest.approx(mean, abs=0.0051)


@pytest.mark.parametrize("gains, words", [
    ({"A": (-0.5, -0.1), "B": (0.1, 0.5), "C": (-0.1, 0.1)},
     "is ahead of A; is **behind** B; cannot be told apart from C"),
    ({"A": (-0.5, -0.1), "D": (-0.2, -0.1)}, "is ahead of A, D"),
    ({"A": (float("nan"), float("nan"))}, "cannot be told apart from A")])
def test_a_comparison_in_words_says_who_is_better(gains, words):
  """By the interval of what the other one is better by."""
  assert tables.comparison_in_words(gains) == words
