"""Runs the stages of a config one after the other, each from the one before it; then the comparison, if asked for."""

import os
import pathlib

import jax
import ml_collections

from debir_jax.training import comparison
from debir_jax.training.experiment import Experiment
from debir_jax.training.logs import say
from debir_jax.training.loop import NonFiniteError, log_parameters, train_stage
from debir_jax.training.stages import Stage, stage_named
from debir_jax.training.state import TrainState
from debir_jax.training.warmup_labels import warmup_labels
from debir_jax.training.workdir import WorkdirError, locked

# What a person can mend: shown as one message, without a traceback.
USER_ERRORS = (ValueError, FileNotFoundError, WorkdirError, NonFiniteError)


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Runs a config into a folder.

  Args:
    config: see `configs/default.py`.
    workdir: created where absent; a run found in it goes on.

  Raises:
    One of `USER_ERRORS`, with what to do.
  """
  if config.compilation_cache and not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compilation_cache))
  stages = [stage_named(name) for name in config.stages]
  experiment = Experiment(config)
  with locked(workdir) as path:
    say(f"debir_jax on {jax.devices()[0].device_kind} x {jax.device_count()}, into {workdir}")
    state = start_state(experiment, stages[0], path)
    log_parameters(state, path)
    for stage in stages:
      state = run_stage(experiment, stage, path, state)
    if config.comparison.enabled:
      comparison.compare(experiment, path)
    say(f"Done. Look into {workdir}.")


def run_stage(experiment: Experiment, stage: Stage, workdir: pathlib.Path, state: TrainState) -> TrainState:
  """Trains one stage to its end."""
  directory = workdir / stage.name
  labels = None
  if stage.kind == "warmup":
    labels = warmup_labels(experiment, stage, state.restoration_params, directory)
  num_steps = experiment.config[stage.name].num_steps
  return train_stage(experiment, stage, directory, state, experiment.step_fn(stage, labels), num_steps)


def start_state(experiment: Experiment, stage: Stage, workdir: pathlib.Path) -> TrainState:
  """Where the first stage of a run starts from: random weights, or the last checkpoint of the stage before it."""
  state = experiment.initial_state()
  if stage.starts_from is None:
    return state
  source = pathlib.Path(experiment.config.init_from or workdir).expanduser()
  if (source / stage.starts_from / "checkpoints").is_dir():
    return experiment.load_stage(stage.starts_from, source, state)
  if experiment.config.start_from_scratch:
    say(f"There is no {stage.starts_from} in {source}: {stage.name} starts from random weights, as "
        "config.start_from_scratch says.")
    return state
  raise FileNotFoundError(
      f"{stage.name} starts from the last checkpoint of {stage.starts_from}, but there is none in {source}. Run "
      f"{stage.starts_from} into the same --workdir first, or name the workdir of another run with --config.init_from.")
