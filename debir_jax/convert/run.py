"""The networks of a run of this package, out of its newest checkpoints."""

import pathlib
from typing import Any

import ml_collections

from debir_jax.runtime.command_line import load_config
from debir_jax.runtime.files import read_json
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES

_DEFAULT = "configs/default.py"


def run_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The config that a run was started with last, command line included; fields that came later have their default.

  Raises:
    FileNotFoundError: it is no workdir of a run.
    ValueError: its record is damaged, or has fields that this version does not know.
  """
  record = workdir / "config.json"
  if not record.is_file():
    raise FileNotFoundError(f"{workdir} is not the workdir of a run: there is no {record.name} in it.")
  config = load_config(_DEFAULT).lock()
  try:
    config.update(_with_tuples(read_json(record, "Give --config, the one that the run was started with.")))
  except (AttributeError, KeyError, TypeError) as error:
    told = str(error.args[0]).partition(" and cannot be added")[0]  # Behind it stands the whole config.
    raise ValueError(f"{record} is of another version: {told}. Give --config, the one that the run was started "
                     "with.") from error
  return config


def _with_tuples(value):
  """JSON has lists where configs have tuples."""
  if isinstance(value, dict):
    return {name: _with_tuples(item) for name, item in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def run_networks(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> dict[str, tuple[dict, dict]]:
  """Variables and description of "restorer" and "baenet", and of "restorer_stage1" where it was fine-tuned since; of
  the restorer alone where BAENet was not trained.

  Args:
    workdir: of the run.
    config: it was started with; in what networks are made for it must be the same.

  Raises:
    FileNotFoundError: there is no checkpoint of any stage.
    ValueError: a checkpoint was made for something else, or is damaged.
  """
  stages = [stage for stage in STAGES.values() if (workdir / stage.name / "checkpoints").is_dir()]
  if not stages:
    raise FileNotFoundError(f"{workdir} is not the workdir of a run: there are no checkpoints of a stage in it.")
  experiment, last = Experiment(config), stages[-1]
  state = experiment.load_stage(last.name, workdir, experiment.initial_state())
  networks: dict[str, Any] = {"restorer": (state.restoration_variables, experiment.compatibility["restoration"])}
  if last.starts_from is not None:
    networks["baenet"] = state.bae_variables, experiment.compatibility["bae"]
    if stages[0].starts_from is None and any(stage.moves_restorer for stage in stages[1:]):
      first = experiment.load_stage(stages[0].name, workdir, experiment.initial_state())
      networks["restorer_stage1"] = first.restoration_variables, experiment.compatibility["restoration"]
  return networks
