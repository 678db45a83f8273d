"""A page of results out of what the experiments wrote.

  python -m experiments.report                                   # experiments/results/medium
  python -m experiments.report --results=runs/small              # what was just measured

writes README.md into that folder: a section for every experiment with its command, when and where it was measured, its
table, in words who is ahead of whom, its figures, and the remarks in its notes.md, if somebody wrote any; those in the
folder's own notes.md come first.
"""

import argparse
import csv
import importlib
import importlib.util
import math
import pathlib
import re
import sys

from debir_jax.runtime.files import read_json, write_text
from experiments.tables import comparison_in_words

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# In the order of the paper; what is found beside them comes after.
_ORDER = ("table1", "pooled_seeds", "table2", "active_sl", "figures", "table3", "table4", "table5",
          "gain_range", "robustness", "black_level", "patches", "exposure_time_penalty", "burst_size", "speed",
          "oracle", "exposure_sensitivity")


def page(results: pathlib.Path) -> str:
  """The page for a folder of results, as Markdown.

  Raises:
    FileNotFoundError: nothing in the folder was written by an experiment.
  """
  found = [path for path in results.iterdir() if any(path.glob("*.md")) or any(path.glob("*.png"))]
  found = [path for path in found if path.name != "networks"]
  if not found:
    raise FileNotFoundError(f"There are no results in {results}. Run experiments/run_all.sh first, or name another "
                            "--results.")
  rank = {name: place for place, name in enumerate(_ORDER)}
  found.sort(key=lambda path: (rank.get(path.name, len(_ORDER)), path.name))
  header = (f"# Results at the scale \"{results.name}\"\n\nWritten by `python -m experiments.report`; figures and "
            "numbers are those that the commands below wrote. Scenes and networks are not the paper's: compare the "
            "order of methods, not values.")
  remarks = [results / "notes.md"] if (results / "notes.md").exists() else []
  return "\n\n".join([header, *[path.read_text().strip() for path in remarks], *map(_section, found)]) + "\n"


def verdicts(path: pathlib.Path) -> list[str]:
  """For each column of a table.csv, whom its first method is ahead of, behind, or cannot be told apart from."""
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  sentences = []
  for column in dict.fromkeys(row["column"] for row in rows):
    reference, *others = [row for row in rows if row["column"] == column]
    said = comparison_in_words({row["method"]: _interval(row) for row in others})
    by = ("95 % interval" if all(map(_has_interval, others)) else "1.96 standard errors")
    sentences.append(f"{column}: {reference['method']} {said} ({by} of the paired difference in PSNR).")
  return sentences


def _has_interval(row) -> bool:
  return bool(row.get("difference_low")) and math.isfinite(float(row["difference_low"]))


def _interval(row) -> tuple[float, float]:
  if _has_interval(row):
    return float(row["difference_low"]), float(row["difference_high"])
  middle, error = float(row["difference"]), float(row["difference_error"])
  return middle - 1.96 * error, middle + 1.96 * error


def _section(folder) -> str:
  title, command = _title_and_command(folder.name)
  parts = [f"## {title}"]
  if command:
    parts.append(f"`{command}`{_measured(folder)}")
  if (folder / "table.md").exists():
    parts.append((folder / "table.md").read_text().strip())
  if (folder / "table.csv").exists():
    parts.append("\n".join(f"- {sentence}" for sentence in verdicts(folder / "table.csv")))
  if (folder / "notes.md").exists():
    parts.append(_COMMENT.sub("", (folder / "notes.md").read_text()).strip())  # Without its list of numbers.
  parts += [f"![{path.stem}]({folder.name}/{path.name})" for path in sorted(folder.glob("*.png"))]
  return "\n\n".join(parts)


def _title_and_command(name) -> tuple[str, str]:
  """First sentence of the experiment's docstring, and its command."""
  if importlib.util.find_spec(f"experiments.{name}") is None:
    return name.replace("_", " "), ""
  text = importlib.import_module(f"experiments.{name}").__doc__
  return text.splitlines()[0].rstrip("."), f"python -m experiments.{name}"


def _measured(folder) -> str:
  path = folder / "environment.json"
  if not path.exists():
    return ""
  found = read_json(path, "Run the experiment again.")
  return f", {found['date'][:10]}, {found['device']}, jax {found['versions']['jax']}"


def main() -> None:
  """Reads the options and writes the page."""
  parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results" / "medium",
                      help="folder with a folder for each experiment of one scale, tiny, small, medium or paper")
  results = parser.parse_args().results
  try:
    write_text(results / "README.md", page(results))
  except FileNotFoundError as error:
    sys.exit(f"Error: {error}")
  print(f"Written to {results / 'README.md'}.")


if __name__ == "__main__":
  main()
