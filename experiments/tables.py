"""How experiments write what they measured: a table beside the paper's numbers, CSV, records and figures."""

import csv
import dataclasses
import json
import pathlib
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from debir_jax.evaluation import MethodSummary, Record, format_table, plots, records_path, summarize, write_records
from debir_jax.evaluation.statistics import Units, interval_of_mean, mean_and_error
from debir_jax.evaluation.summary import json_fields
from debir_jax.runtime.files import folder_name, write_text
from debir_jax.training.run_record import environment

METRICS = ("PSNR", "SSIM", "LPIPS")
_DIGITS = {"PSNR": 2, "SSIM": 4, "LPIPS": 3, "NIQE": 2, "BRISQUE": 2, "TOPIQ": 3}  # As the paper prints them.
Paper = Mapping[str, Sequence[Any]]  # Numbers by method, as far as the paper has them.


def write(records: Mapping[str, Sequence[Record]], folder: pathlib.Path, *, reference: str, paper: Paper,
          paper_columns: Sequence[str] = METRICS) -> str:
  """Writes table.md, table.csv, records, figures, and where they were measured (environment.json); returns the table.

  Args:
    records: of all methods, by column of the table.
    folder: which is there.
    reference: method that differences are taken to, and whose times are drawn.
    paper: its numbers; paper_columns: what they are.
  """
  summaries = {column: summarize(rows, reference=reference) for column, rows in records.items()}
  for column, rows in records.items():
    write_records(records_path(folder, column), rows)
  same = len({len(rows[0].exposure_times) for rows in records.values()}) == 1  # Columns are restorers, not bursts.
  for column, rows in list(records.items())[-1 if same else 0:]:
    name = "exposure_times" if same else f"exposure_times_{folder_name(column)}"
    plots.exposure_scatter(folder / f"{name}.png", rows, method=reference)
  own = format_table(summaries, reference=reference, markdown=True)
  theirs = paper_table(paper, paper_columns)
  write_text(folder / "table.md", f"{own}\n\nThe paper's, on other scenes (GoPro):\n\n{theirs}\n")
  _write_csv(folder / "table.csv", summaries)
  write_environment(folder)
  plots.differences(folder / "differences.png", summaries, reference=reference)
  return format_table(summaries, reference=reference)


def write_environment(folder: pathlib.Path) -> None:
  """Writes environment.json, without the command and its paths: the page of results names the command."""
  known = {name: value for name, value in environment().items() if name not in ("command", "platform")}
  write_text(folder / "environment.json", json.dumps(known, indent=2) + "\n")


def write_conditions(summaries: Mapping[str, Sequence[MethodSummary]], folder: pathlib.Path,
                     heading: Callable[[str], str] = str.capitalize, *, reference: str = "DEBIR") -> str:
  """Writes the same methods under conditions: table.md, a JSON file named like the folder, environment.json.

  Returns:
    The tables as plain text.
  """
  def tables(markdown):
    return "\n\n".join(
        f"{heading(condition)}\n\n{format_table({'': rows}, markdown=markdown, reference=reference)}"
        for condition, rows in summaries.items())

  write_text(folder / f"{folder.name}.json", json.dumps(
      {condition: list(map(json_fields, rows)) for condition, rows in summaries.items()}, indent=2))
  write_text(folder / "table.md", tables(markdown=True) + "\n")
  write_environment(folder)
  return tables(markdown=False)


def paper_table(paper: Paper, columns: Sequence[str]) -> str:
  """The paper's numbers as a Markdown table."""
  digits = [_DIGITS[column.split(",")[0]] for column in columns]
  cells = {name: [f"{value:.{count}f}" for value, count in zip(values, digits)] for name, values in paper.items()}
  rows = [f"| {name} | {' | '.join([*of_name, *[''] * (len(columns) - len(of_name))])} |"
          for name, of_name in cells.items()]
  return "\n".join([f"| method | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|", *rows])


def mean_with_interval(values: np.ndarray, units: Units) -> str:
  """"+0.123 ± 0.045 [+0.030, +0.210]": mean of `[S]` values, standard error and 95 % interval, as far as known."""
  (mean, error), (low, high) = mean_and_error(values, units), interval_of_mean(values, units)
  of_error = f" ± {error:.3f}" if np.isfinite(error) else ""
  interval = f" [{low:+.3f}, {high:+.3f}]" if np.isfinite(low) else ""
  return f"{mean:+.3f}{of_error}{interval}"


def comparison_in_words(gains: Mapping[str, tuple[float, float]]) -> str:
  """"is ahead of A, B; is **behind** C; cannot be told apart from D", those that there are.

  Args:
    gains: of each other method, the interval of what it is better by.
  """
  groups: dict[str, list[str]] = {"is ahead of": [], "is **behind**": [], "cannot be told apart from": []}
  for method, (low, high) in gains.items():
    words = "is ahead of" if high < 0 else "is **behind**" if low > 0 else "cannot be told apart from"
    groups[words].append(method)
  return "; ".join(f"{words} {', '.join(methods)}" for words, methods in groups.items() if methods)


def _write_csv(path, summaries: Mapping[str, Sequence[MethodSummary]]) -> None:
  fields = [field.name for field in dataclasses.fields(MethodSummary)]
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["column", *fields])
    writer.writerows([column, *[getattr(row, name) for name in fields]] for column, rows in summaries.items()
                     for row in rows)
