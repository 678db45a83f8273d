"""Runs the stages of a config one after the other, each from the one before it; then the comparison, if asked for.

Without any stage, networks that are there are compared as they are.
"""

from collections.abc import Mapping
import os
import pathlib

import jax
import ml_collections

from debir_jax.policies import Policy
from debir_jax.restoration import Restorer
from debir_jax.runtime import processes
from debir_jax.runtime.files import local_path
from debir_jax.runtime.platform import PlatformError, check_backend
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import WorkdirError
from debir_jax.scenes import SceneSource
from debir_jax.training import comparison, seams
from debir_jax.training.checkpoint import CheckpointError
from debir_jax.training.experiment import Experiment
from debir_jax.training.guard import StoppedError
from debir_jax.training.loop import StageRun, train_stage
from debir_jax.training.run_record import log_parameters, write_environment
from debir_jax.training.stages import STAGES, Stage, stage_named
from debir_jax.training.state import TrainState
from debir_jax.training.warmup_labels import warmup_labels
from debir_jax.weights.weight_file import RESTORER_FILE

# What a person can mend: shown as one message, without a traceback.
USER_ERRORS = (ValueError, FileNotFoundError, WorkdirError, StoppedError, CheckpointError,
               processes.ConnectionFailedError, PlatformError)


def run(config: ml_collections.ConfigDict, workdir: str | os.PathLike, *, restorer: Restorer | None = None,
        scenes: Mapping[str, SceneSource] | None = None, policies: Mapping[str, Policy] | None = None) -> None:
  """Runs a config into a folder.

  Args:
    config: see `configs/default.py`.
    workdir: created where absent; a run found in it goes on.
    restorer: a network of your own in the place of the config's, see `Restorer`.
    scenes: scenes of your own in the place of the config's, by split: "restore", "bae", "validation" and "test".
    policies: further rows of the comparison, by name, each fine-tuned like the others.

  Raises:
    One of `USER_ERRORS`, with what to do.
  """
  if config.compilation_cache and not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compilation_cache))
  stages = [stage_named(name) for name in config.stages]
  check_backend()
  _check_stages(config, stages)
  _check_resume_from(config, policies or {})
  experiment = Experiment(config, restorer=restorer, scenes=scenes)
  seams.check(experiment, restorer, scenes or {}, policies or {})
  with processes.owned(workdir) as path:
    log(f"debir_jax on {jax.devices()[0].device_kind} x {experiment.mesh.size}"
        f"{f' of {jax.process_count()} processes' if jax.process_count() > 1 else ''}, into {workdir}")
    state = start_state(experiment, stages[0], path) if stages else trained_state(experiment, path)
    if processes.is_main():
      write_environment(config, path)
      log_parameters(state, path)
    for stage in stages:
      state = run_stage(experiment, stage, path, state)
    if config.comparison.enabled:
      with_bae = not stages or stages[-1].starts_from is not None
      comparison.compare(experiment, path, state, with_bae=with_bae, policies=policies)
    log(f"Done. Look into {workdir}.")


def _check_stages(config, stages) -> None:
  """Raises a ValueError for stages that there is nothing to do in, or that do not go with the network."""
  if not stages and not config.comparison.enabled:
    raise ValueError("There is nothing to do: config.stages is empty and config.comparison.enabled is False.")
  comparison.check_comparable(config)
  names = {stage.name for stage in stages}
  if config.init_from_other_bursts and not (config.init_from and stages and stages[0].starts_from is None):
    raise ValueError("config.init_from_other_bursts is about the restorer that stage 1 starts from: name its folder by "
                     "config.init_from, and begin with stage1.")
  if config.bae.network == "active_sl" and {"stage2", "end_to_end"} & names:
    raise ValueError("Active S-L is a classifier, through whose choice no gradient passes: leave out stage2 and "
                     "end_to_end, e.g. config.stages=('stage2_warmup', 'stage3').")
  if config.bae.network == "burst_size" and {"stage2_warmup", "end_to_end"} & names:
    raise ValueError("bae.network='burst_size' has no set of candidates to warm up with and is not trained end to end: "
                     "use config.stages=('stage1', 'stage2', 'stage3') with config.init_stage='stage1' where stage2 "
                     "comes first.")


def _check_resume_from(config, policies) -> None:
  """Raises a ValueError unless `config.resume_from` is empty, or a stage of this run and a step."""
  name, _, step = config.resume_from.partition("/")
  if not config.resume_from:
    return
  finetuned = comparison.finetuned_folders(config, policies)
  if name not in (*config.stages, *finetuned) or not step.isdecimal():
    raise ValueError(f"config.resume_from={config.resume_from!r} must be a stage of this run and a step, e.g. "
                     f"'stage1/4000'; this run has {', '.join([*config.stages, *finetuned])}.")


def run_stage(experiment: Experiment, stage: Stage, workdir: pathlib.Path, state: TrainState) -> TrainState:
  """Trains one stage to its end."""
  directory = workdir / stage.name
  labels = None
  if stage.kind == "warmup":
    labels = warmup_labels(experiment, stage, state.restoration_variables, directory)
  return train_stage(experiment, StageRun(
      stage=stage, directory=directory, num_steps=experiment.config[stage.name].num_steps,
      step_fn=experiment.step_fn(stage, labels), policy_of=experiment.policy_of(stage),
      fixed_times=experiment.config.bae.network == "digital_gimbal"), state)


def start_state(experiment: Experiment, stage: Stage, workdir: pathlib.Path) -> TrainState:
  """Where the first stage of a run starts from: the last checkpoint of the stage before it; of stage 1, random weights,
  or the restorer of `config.init_from`."""
  state, source = experiment.initial_state(), _source(experiment, workdir)
  if stage.starts_from is None and (not experiment.config.init_from or _is_of_others(source)):
    return state
  if stage.starts_from is None and experiment.config.init_from_other_bursts:
    return experiment.load_restorer_of_other_bursts(source, state)
  before = stage_named(experiment.config.init_stage or stage.starts_from or stage.name).name
  if experiment.has_stage(before, source):
    return experiment.load_stage(before, source, state)
  if experiment.config.start_from_scratch:
    log(f"There is no {before} in {source}: {stage.name} starts from random weights, as config.start_from_scratch "
        "says.")
    return state
  raise FileNotFoundError(
      f"{stage.name} starts from the last checkpoint of {before}, but there is none in {source}. Run {before} into the "
      "same --workdir first, or name the workdir of another run with --config.init_from.")


def trained_state(experiment: Experiment, workdir: pathlib.Path) -> TrainState:
  """Both networks of `config.init_from`, or of the workdir: of the last stage there, or of its weight files."""
  state, source = experiment.initial_state(), _source(experiment, workdir)
  for stage in reversed(STAGES.values()):
    if stage.starts_from is not None and experiment.has_stage(stage.name, source):
      return experiment.load_stage(stage.name, source, state)
  if experiment.config.start_from_scratch:
    log(f"There are no networks in {source}: random weights are compared, as config.start_from_scratch says.")
    return state
  raise FileNotFoundError(
      f"config.stages is empty, so the networks in {source} are compared, but there are none. Name the workdir of a "
      "run with a BAENet, or a folder that `python -m debir_jax.convert` wrote, with --config.init_from.")


def _is_of_others(source: pathlib.Path) -> bool:
  """Whether a folder of weights holds no restorer, but, for instance, those of RAFT."""
  return any(source.glob("*.safetensors")) and not (source / RESTORER_FILE).is_file()


def _source(experiment: Experiment, workdir: pathlib.Path) -> pathlib.Path:
  return local_path(experiment.config.init_from or workdir, "config.init_from")
