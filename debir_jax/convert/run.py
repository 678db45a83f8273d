"""The networks of a run of this package, out of its newest checkpoints."""

import pathlib
from typing import Any

import ml_collections

from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES


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
