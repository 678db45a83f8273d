"""The training loop: one stage from its start, or from where it was left, to its end."""

import dataclasses
import pathlib
import time
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp

from debir_jax.policies import Policy
from debir_jax.runtime import processes
from debir_jax.runtime.progress import log
from debir_jax.runtime.stop_signal import StopSignal
from debir_jax.scenes import SceneBatches
from debir_jax.training.checkpoint import Checkpoints
from debir_jax.training.experiment import Experiment, StepFn
from debir_jax.training.guard import Guard
from debir_jax.training.logs import Profiler, StageLog
from debir_jax.training.metric_accumulator import MetricAccumulator
from debir_jax.training.run_record import check_config
from debir_jax.training.stages import Stage
from debir_jax.training.state import TrainState

INTERRUPTED = 75  # Exit code of a run that was stopped in good order (EX_TEMPFAIL): start it again to go on.


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRun:
  """A stage as it is trained: by what, for how long, and into which folder.

  Attributes:
    stage: which split it reads; see `stages.py`.
    directory: of the stage: checkpoints, logs and the config it was started with.
    num_steps: of the whole stage.
    step_fn: maps (state, scenes) to (state, outputs).
    policy_of: chooses the exposure times of the held-out scenes that are watched at every checkpoint.
    fixed_times: the exposure times are not BAENet's, so that it is no collapse if all are the same.
  """

  stage: Stage
  directory: pathlib.Path
  num_steps: int
  step_fn: StepFn
  policy_of: Callable[[TrainState], Policy]
  fixed_times: bool = False

  @property
  def predicts(self) -> bool:
    """Whether BAENet's predictions, which must not collapse, are among the outputs."""
    return self.stage.kind in ("exposure", "predicted_exposure", "end_to_end") and not self.fixed_times


class _Tools(NamedTuple):
  """What a running stage works with; all are closed at its end."""

  batches: SceneBatches
  checkpoints: Checkpoints
  stage_log: StageLog
  guard: Guard


def train_stage(experiment: Experiment, run: StageRun, state: TrainState) -> TrainState:
  """Trains a stage to its end, going on from the newest checkpoint in its folder where there is one.

  Args:
    experiment: the whole run.
    run: the stage.
    state: where it starts from; stays as it is.

  Returns:
    The final state.

  Raises:
    StoppedError: the numbers went wrong.
    ValueError: the folder belongs to a run with other settings.
  """
  config, directory = experiment.config, run.directory
  check_config(config, run.stage, directory)
  checkpoints = Checkpoints(directory / "checkpoints", experiment.compatibility,
                            keep_every_steps=config.keep_every_steps, run=dict(config=config.to_dict()))
  state = experiment.place(state.replace(step=jnp.zeros((), jnp.int32)))
  state = checkpoints.resume(state, _resume_step(config.resume_from, directory.name))
  first_step = int(state.step)
  if first_step >= run.num_steps:
    log(f"{directory.name:14s} finished earlier ({first_step} steps)")
    checkpoints.close()
    return experiment.local_copy(state)
  log(f"{directory.name:14s} {'resuming at step ' + str(first_step) if first_step else 'starting'}; compiling ...")
  is_main = processes.is_main()
  tools = _Tools(
      batches=experiment.batches(run.stage.split, first_step), checkpoints=checkpoints,
      stage_log=StageLog(directory, directory.name, run.num_steps, first_step, writes=is_main),
      guard=Guard(config.guard, experiment.limits, directory, first_step, writes=is_main))
  try:
    state = _steps(experiment, run, state, tools)
    tools.stage_log.write_summary(tools.guard.num_skipped, tools.batches.replaced, checkpoints.directory)
    return experiment.local_copy(state)
  finally:
    tools.batches.close()
    checkpoints.close()
    tools.stage_log.close()


def _steps(experiment: Experiment, run: StageRun, state: TrainState, tools: _Tools) -> TrainState:
  config, (batches, checkpoints, stage_log, guard) = experiment.config, tools
  accumulator, clock, profiler = MetricAccumulator(), _Clock(batches), Profiler(config.profile, stage_log)
  first_step, unchecked, read_back = int(state.step), None, False
  with StopSignal() as stop:
    for step in range(first_step + 1, run.num_steps + 1):
      profiler.before(step)
      state, outputs = run.step_fn(state, next(batches))
      accumulator.add(outputs)
      # One step late, so that the check does not keep the device waiting.
      guard.check_step(unchecked, step - 1)
      unchecked = outputs
      profiler.after(step, outputs)
      if step == first_step + 1:
        jax.block_until_ready(outputs["loss"])
        stage_log.first_step_done()
        clock.restart()  # The first batch and compilation say nothing about speed.
      stopping = stop.requested(step)  # Asked once: a signal that comes later in this step counts for the next one.
      save = step % config.checkpoint_every_steps == 0 or step == run.num_steps or stopping
      if save or step % config.log_every_steps == 0:
        guard.check_step(unchecked, step)
        unchecked = None
        means, times = accumulator.read()
        may_collapse = step > run.num_steps * config.guard.collapse_after
        if run.predicts and may_collapse:
          guard.check_times(times, step)
        scalars = means | clock.read() | dict(skipped=guard.num_skipped, replaced=batches.replaced)
        # A machine that is about to be taken away has no time for pictures.
        watched, images = _watch(experiment, run, state) if save and not stopping else ({}, {})
        if watched and may_collapse:
          guard.check_alternate_frames(watched["alternate_frame_sensitivity"], step)
        stage_log.write(step, scalars | watched, times, images)
      if save:
        checkpoints.save(state, watched.get("watched_psnr"))
        if not stopping and not read_back:
          checkpoints.check_readable(state)
          read_back = True
        clock.restart()
      if stopping:
        checkpoints.close()
        log(f"Stopped by a signal after step {step}, which is saved. Run the same command again to go on.")
        raise SystemExit(INTERRUPTED)
  return state


def _watch(experiment, run, state):
  networks = experiment.local_copy(state.replace(optimizer_states={}))
  return experiment.watch(networks, run.policy_of)


def _resume_step(resume_from, stage_name):
  """The step in `config.resume_from`, "<stage>/<step>", if it names this stage."""
  name, _, step = resume_from.partition("/")
  return int(step) if resume_from and name == stage_name else None


class _Clock:
  """Which share of the time was spent waiting for data, and how long a step took."""

  def __init__(self, batches):
    self._batches = batches
    self.restart()

  def restart(self):
    self._waited_s, self._start_s, self._step = self._batches.wait_s, time.perf_counter(), self._batches.step

  def read(self) -> dict[str, float]:
    """Since the last reading or restart, whichever is later; starts anew."""
    elapsed_s = max(time.perf_counter() - self._start_s, 1e-9)
    waited_s, num_steps = self._batches.wait_s - self._waited_s, self._batches.step - self._step
    self.restart()
    if not num_steps:
      return {}
    return dict(data_wait_fraction=waited_s / elapsed_s, data_wait_s=waited_s / num_steps, step_s=elapsed_s / num_steps)
