"""One table out of the same comparison, run with several training seeds.

  for seed in 0 1 2; do
    python -m debir_jax.main --config=configs/quickstart.py --config.seed=$seed --workdir=runs/quickstart_$seed
  done
  python -m experiments.pooled_seeds runs/quickstart_0 runs/quickstart_1 runs/quickstart_2 --to=runs/quickstart_pooled

or, of Table 1,

  for seed in 0 1 2; do python -m experiments.table1 --seed=$seed --workdir=runs/small; done
  python -m experiments.pooled_seeds runs/small/table1 runs/small/seed_1/table1 runs/small/seed_2/table1 --to=FOLDER

The runs must have measured the same scenes with the same noise: differences are taken within scene, draw and seed, and
their intervals are over both photos and seeds. Writes table.md and table.json, as a comparison does, what differences
such a test can show at all, and by_condition.png: where DEBIR is ahead, by motion and gain. Methods that not every run
has are left out.
"""

import argparse
import collections
import json
import pathlib
import sys

from debir_jax.evaluation import plots
from debir_jax.evaluation.records import Record, read_records, records_paths
from debir_jax.evaluation.summary import MethodSummary, format_table, json_fields, summarize
from debir_jax.runtime.files import write_text
from debir_jax.training.comparison import FINETUNED_COLUMN

_OURS = "DEBIR"
_SHOWN = 1.96 + 0.84  # Standard errors: what four of five tests find at a confidence of 95 % (normal quantiles).


def pooled(workdirs: list[pathlib.Path]) -> dict[str, list[Record]]:
  """Records of all runs, by column of the table.

  Raises:
    FileNotFoundError: a run has no results.
    ValueError: two runs have one seed, or other columns.
  """
  found, seeds = collections.defaultdict(list), {}
  for workdir in workdirs:
    files = records_paths(workdir / "results") or records_paths(workdir)
    if not files:
      raise FileNotFoundError(f"There are no records of a comparison in {workdir / 'results'} or {workdir}. Run the "
                              "config with --config.comparison.enabled=True into that workdir, or experiments.table1.")
    if found and set(files) != set(found):
      raise ValueError(f"{workdir} was compared by {', '.join(files)}, {workdirs[0]} by {', '.join(found)}.")
    for column, path in files.items():
      records = read_records(path)
      seed = records[0].training_seed
      if seeds.setdefault(seed, workdir) != workdir:
        raise ValueError(f"{workdir} and {seeds[seed]} have one training seed, {seed}: they are one run.")
      found[column] += records
  return {column: _of_all_seeds(records, len(workdirs)) for column, records in found.items()}


def _of_all_seeds(records, num_seeds):
  """The records of those methods that every seed has."""
  seeds = collections.defaultdict(set)
  for record in records:
    seeds[record.method].add(record.training_seed)
  return [record for record in records if len(seeds[record.method]) == num_seeds]


def power_in_words(summaries: dict[str, list[MethodSummary]]) -> str:
  """How large a difference has to be to be found, by column of the table."""
  errors = {column: [row.difference_error for row in rows if row.method != _OURS] for column, rows in summaries.items()}
  return "Power: four of five such tests would show a true difference of " + "; ".join(
      f"{_SHOWN * min(each):.2f} to {_SHOWN * max(each):.2f} dB ({column})" for column, each in errors.items()) + "."


def main(argv: list[str]) -> None:
  parser = argparse.ArgumentParser(prog="python -m experiments.pooled_seeds", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("workdirs", type=pathlib.Path, nargs="+", metavar="WORKDIR",
                      help="of a run with a comparison, or the folder table1 of the experiments")
  parser.add_argument("--to", type=pathlib.Path, required=True, metavar="FOLDER", help="where the table goes")
  args = parser.parse_args(argv)
  try:
    records = pooled(args.workdirs)
    summaries = {column: summarize(rows, reference=_OURS) for column, rows in records.items()}
  except (ValueError, FileNotFoundError) as error:
    raise SystemExit(f"pooled_seeds: {error}") from error
  args.to.mkdir(parents=True, exist_ok=True)
  write_text(args.to / "table.json", json.dumps(
      {column: list(map(json_fields, rows)) for column, rows in summaries.items()}, indent=2) + "\n")
  shown = records.get(FINETUNED_COLUMN) or next(iter(records.values()))
  plots.differences_by_condition(args.to / "by_condition.png", shown, reference=_OURS)
  power = power_in_words(summaries)
  write_text(args.to / "table.md", f"{format_table(summaries, reference=_OURS, markdown=True)}\n\n{power}\n")
  print(f"{format_table(summaries, reference=_OURS)}\n\n{power}")


if __name__ == "__main__":
  main(sys.argv[1:])
