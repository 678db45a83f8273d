"""Networks that the experiments of one scale share: each is trained once, into `<workdir>/networks/<name>`."""

import pathlib
from typing import Any, Mapping

import ml_collections

from debir_jax.evaluation import Method
from debir_jax.files import folder_name
from debir_jax.training import runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.state import TrainState

DEBIR = "DEBIR"
_RESTORER = "restorer"
_STAGES = ("stage2_warmup", "stage2", "stage3")


def pretrained(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """Stage 1, from which everything else starts."""
  runner.run(_changed(config, {"stages": ("stage1",)}), str(_folder(workdir, _RESTORER)))
  experiment = Experiment(config)
  return experiment, experiment.load_stage("stage1", _folder(workdir, _RESTORER), experiment.initial_state())


def trained(config: ml_collections.ConfigDict, workdir: pathlib.Path, name: str,
            changes: Mapping[str, Any]) -> tuple[Experiment, TrainState]:
  """Stages 2 and 3 from the shared restorer, under some changes of the config."""
  config = _changed(config, {"stages": _STAGES, "init_from": str(_folder(workdir, _RESTORER)),
                             "start_from_scratch": False, **changes})
  runner.run(config, str(_folder(workdir, name)))
  return load(config, workdir, name)


def load(config: ml_collections.ConfigDict, workdir: pathlib.Path, name: str) -> tuple[Experiment, TrainState]:
  """A network that is trained.

  Raises:
    FileNotFoundError: it is not.
  """
  experiment, folder = Experiment(config), _folder(workdir, name)
  if not experiment.has_stage(_STAGES[-1], folder):
    raise FileNotFoundError(f"There is no {name} in {folder}. Run `python -m experiments.table1` of the same --scale "
                            "and --workdir first.")
  return experiment, experiment.load_stage(_STAGES[-1], folder, experiment.initial_state())


def method(name: str, experiment: Experiment, state: TrainState) -> Method:
  """A trained network with the restorer that was fine-tuned for it."""
  return Method(name, experiment.bae_policy(state), state.restoration_params)


def _folder(workdir, name) -> pathlib.Path:
  return workdir / "networks" / folder_name(name)


def _changed(config, changes):
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(dict(changes))
  return config
