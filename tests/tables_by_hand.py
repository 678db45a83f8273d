"""Tables as people read them, and their numbers once more: written out from the files of records alone."""

import json
import pathlib
import re

import numpy as np
import pytest


def records_by_hand(path: pathlib.Path) -> dict[str, dict[int, list[dict]]]:
  """Lines of a file of records, by method and scene."""
  found: dict[str, dict[int, list[dict]]] = {}
  for line in path.read_text().splitlines():
    record = json.loads(line)
    found.setdefault(record["method"], {}).setdefault(record["scene_id"], []).append(record)
  return found


def of_scenes(scenes: dict[int, list[dict]], field: str) -> np.ndarray:
  """Means over the draws of each scene."""
  return np.array([np.mean([record[field] for record in scenes[scene]], axis=0) for scene in sorted(scenes)])


def rows_of(markdown: str) -> list[dict[str, list[str]]]:
  """Rows of the first table of a text: cells by heading, as many as headings are alike."""
  lines = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
  header, _, *rows = [[cell.strip() for cell in line] for line in lines]
  rows = rows[:next((index for index, row in enumerate(rows) if len(row) != len(header)), len(rows))]
  return [{name: [cell for key, cell in zip(header, row) if key == name] for name in header} for row in rows]


def number(cell: str) -> float:
  """The first number of a cell."""
  return float(re.match(r"[-+]?[\d.]+", cell)[0])


def check_table(folder: pathlib.Path, reference: str) -> None:
  """PSNR, SSIM, paired difference, wins and exposure times of every row of `table.md`, in each of its columns, are
  those of the records beside it."""
  rows = rows_of((folder / "table.md").read_text())
  columns = [name.removeprefix("PSNR, ") for name in rows[0] if name.startswith("PSNR, ")]
  assert columns
  for place, column in enumerate(columns):
    groups = records_by_hand(folder / f"records_{column.replace(' ', '_')}.jsonl")
    names = [row[next(iter(row))][0] for row in rows]
    assert [name for name in names if name in groups] == list(groups)
    for name, row in zip(names, rows):
      if name not in groups:
        assert row[f"PSNR, {column}"][0] == ""
        continue
      _check_quality(row, column, place, groups[name], None if name == reference else groups[reference])
      _check_times(row, place, groups[name])


def _check_quality(row, column, place, scenes, reference_scenes):
  psnr = of_scenes(scenes, "psnr")
  assert number(row[f"PSNR, {column}"][0]) == pytest.approx(psnr.mean(), abs=0.0051)
  assert number(row["SSIM"][place]) == pytest.approx(of_scenes(scenes, "ssim").mean(), abs=5.1e-5)
  against = next(cells for name, cells in row.items() if re.match("vs (?!whole)", name))[place]
  if reference_scenes is None:
    assert against == row["wins"][place] == ""
    return
  differences = psnr - of_scenes(reference_scenes, "psnr")
  assert number(against) == pytest.approx(differences.mean(), abs=5.1e-4)
  wins = np.where(differences == 0, 0.5, differences > 0).mean()
  assert number(row["wins"][place]) == pytest.approx(100 * wins, abs=0.51)


def _check_times(row, place, scenes):
  """Of frames that are taken; once for all columns where they are the same."""
  cells = sum([cells for name, cells in row.items() if name.startswith("mean times")], [])
  expected = [1920 * time for time in of_scenes(scenes, "exposure_times").mean(0) if time]
  shown = re.findall(r"[\d.]+", cells[min(place, len(cells) - 1)])[:len(expected)]
  assert list(map(float, shown)) == pytest.approx(expected, abs=0.051)
