"""Trials of a sweep: what each of them changes, whether it is done, and how they compare."""

import dataclasses
import json
import pathlib
import re
from typing import Any, Mapping

import ml_collections

from debir_jax.evaluation import plots
from debir_jax.evaluation.records import Record, read_records, records_paths
from debir_jax.evaluation.summary import format_table, json_fields, summarize
from debir_jax.runtime.command_line import load_config_module
from debir_jax.runtime.files import folder_name, read_json, write_text
from debir_jax.runtime.workdir import WorkdirError
from debir_jax.sweep.trial_processes import IN_USE_CODE, STOPPED, STOPPED_CODE, run_all, tell
from debir_jax.training import runner

Trials = dict[str, dict[str, Any]]  # The fields that each trial changes, by its name.
_RECORD = "trial.json"
_SEED = re.compile(r"[, ]*seed \d+$")  # At the end of the name of a trial that differs from others in its seed.


class Sweep:
  """The trials of a config: how they are run, and what came of them."""

  def __init__(self, config: ml_collections.ConfigDict, trials: Trials, workdir: pathlib.Path):
    """Checks all trials, see `trial_config`; each gets a folder in `workdir`."""
    self._trials, self._workdir = trials, workdir
    self._configs = {name: trial_config(config, name, changes) for name, changes in trials.items()}

  def run_all(self, command: list[str], num_processes: int, method: str) -> int:
    """Runs `command --trial=<name>` for all trials that are not done, so many at a time, and compares those that are.

    Returns:
      The exit code.

    Raises:
      ValueError: the trials cannot be compared, see `report`.
    """
    done = self._done()
    tell(f"{len(self._trials)} trials into {self._workdir}, {len(done)} of them finished earlier")
    outcomes = run_all({name: [*command, f"--trial={name}"] for name in self._trials if name not in done},
                       num_processes)
    done = self._done()  # Another process may have ended some in the meantime.
    outcomes = {name: outcome for name, outcome in outcomes.items() if name not in done}
    for name, outcome in outcomes.items():
      tell(f"{name}: {outcome}")
    if done:
      tell(f"\n{report(self._workdir, {name: self._trials[name] for name in done}, method)}\n\n"
          f"Written to {self._workdir}/table.md, trials.json and trials.png.")
    if STOPPED in outcomes.values():
      tell("Stopped; the same command goes on.")
      return STOPPED_CODE
    return int(any(outcome.startswith("failed") for outcome in outcomes.values()))

  def run_one(self, name: str) -> int:
    """Runs a trial in this process, as `debir_jax.main` would; returns the exit code."""
    if name not in self._configs:
      raise ValueError(f"There is no trial {name!r}; there are {', '.join(map(repr, self._configs))}.")
    try:
      runner.run(self._configs[name], str(self._folder(name)))
    except WorkdirError as error:
      tell(str(error))
      return IN_USE_CODE
    mark_done(self._configs[name], self._folder(name))
    return 0

  def _done(self):
    return [name for name, config in self._configs.items() if is_done(config, self._folder(name))]

  def _folder(self, name):
    return self._workdir / folder_name(name)


def trials_of(path: str) -> Trials:
  """The trials of a config file.

  Raises:
    ValueError: it has none, or two of them would share a folder.
  """
  module = load_config_module(path)
  if not hasattr(module, "sweep"):
    raise ValueError(f"{path} has no function sweep(): it has to return a dictionary of names of trials and the fields "
                     'that each changes, such as {"fast": {"stage2.learning_rate": 1e-3}}.')
  trials, folders = module.sweep(), {}
  if not isinstance(trials, Mapping) or not trials or not all(isinstance(c, Mapping) for c in trials.values()):
    raise ValueError(f"sweep() in {path} has to return a dictionary of names of trials and dictionaries of the fields "
                     f"that each changes, got {trials!r}.")
  for name in trials:
    other = folders.setdefault(folder_name(name), name)
    if not folder_name(name) or other != name:
      raise ValueError(f"Trial {name!r} in {path} needs a name with letters or digits that no other trial has, also "
                       f"without its punctuation{'' if other == name else f'; there is {other!r}'}.")
  return {name: dict(changes) for name, changes in trials.items()}


def trial_config(config: ml_collections.ConfigDict, name: str, changes: dict[str, Any]) -> ml_collections.ConfigDict:
  """A config with the changes of a trial.

  Raises:
    ValueError: there is no such field, it has another type, or the trial is not evaluated.
  """
  config = config.copy_and_resolve_references().lock()
  try:
    config.update_from_flattened_dict(changes)
  except (KeyError, TypeError) as error:
    raise ValueError(f"Trial {name!r}: {error.args[0] if error.args else error}") from error
  if not config.comparison.enabled:
    raise ValueError(f"Trial {name!r} is not evaluated: set config.comparison.enabled=True.")
  if config.comparison.split == "test":
    raise ValueError(f"Trial {name!r} would be compared on the test scenes, on which no choice may be made: set "
                     "config.comparison.split='validation'.")
  return config


def is_done(config: ml_collections.ConfigDict, folder: pathlib.Path) -> bool:
  """Whether a trial ended in this folder with this very config."""
  record = folder / _RECORD
  if not record.exists():
    return False
  found = read_json(record, "Delete it: the trial runs again.")
  return found == json.loads(json.dumps(config.to_dict()))


def mark_done(config: ml_collections.ConfigDict, folder: pathlib.Path) -> None:
  """Says so, for `is_done`."""
  write_text(folder / _RECORD, json.dumps(config.to_dict()))


def check_not_given_twice(trials: Trials, given: Mapping[str, Any]) -> None:
  """Raises a ValueError for a field of the command line that trials change: it would be without effect."""
  for name, changes in trials.items():
    for field in changes:
      if field in given:
        raise ValueError(f"--config.{field} is given, but trial {name!r} changes it. Leave it out.")


def report(workdir: pathlib.Path, trials: Trials, method: str) -> str:
  """Compares finished trials with the first of them; writes table.md, trials.json and trials.png, returns the table."""
  reference, found = next(iter(trials)), _records(workdir, trials, method)
  columns = {column: summarize(records, reference=reference) for column, records in found.items()}
  summaries = {column: list(map(json_fields, rows)) for column, rows in columns.items()}
  pooled = _pooled(trials, found)
  results = [dict(trial=name, changes=changes, **{column: rows[index] for column, rows in summaries.items()})
             for index, (name, changes) in enumerate(trials.items())]
  write_text(workdir / "trials.json", json.dumps(dict(method=method, reference=reference, trials=results), indent=2))
  tables = lambda **options: "\n\n".join(
      format_table(of_trials, reference=reference, first="trial", **options)
      for of_trials, reference in ((columns, reference), *pooled))
  write_text(workdir / "table.md", tables(markdown=True) + "\n")
  plots.differences(workdir / "trials.png", columns, reference=reference)
  return tables()


def _pooled(trials, found):
  """Summaries by column of `_records` put together over seeds, and the reference among them; none without seeds."""
  recipes = {name: _SEED.sub("", name) for name in trials}
  seeds = {recipe: {trials[name].get("seed") for name in trials if recipes[name] == recipe}
           for recipe in recipes.values()}
  if min(map(len, seeds.values())) < 2:
    return []
  reference = next(iter(seeds))
  columns = {column: [dataclasses.replace(record, method=recipes[record.method],
                                          training_seed=trials[record.method].get("seed", 0)) for record in records]
             for column, records in found.items()}
  return [({column: summarize(records, reference=reference) for column, records in columns.items()}, reference)]


def _records(workdir: pathlib.Path, trials: Trials, method: str) -> dict[str, list[Record]]:
  """Records of a method of all trials, by column of their tables, with the trial's name as the method's."""
  files = {name: records_paths(workdir / folder_name(name) / "results") for name in trials}
  columns = {}
  for column in list(files[next(iter(trials))])[::-1]:
    for name, of_trial in files.items():
      if column not in of_trial:
        raise ValueError(f"Trial {name!r} has no results {column!r}, which others have: it cannot be compared.")
      found = [record for record in read_records(of_trial[column]) if record.method == method]
      if not found:
        raise ValueError(f"There is no method {method!r} in {of_trial[column]}; choose another one with --method.")
      # Every trial is compared with the first one, whatever their seeds.
      columns.setdefault(column, []).extend(
          dataclasses.replace(record, method=name, training_seed=None) for record in found)
  return columns
