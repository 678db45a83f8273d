"""The training loop: one stage from its start, or from where it was left, to its end."""

import json
import pathlib
import signal
import time

from absl import logging
from clu import metrics as clu_metrics
from clu import parameter_overview
import flax
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.files import write_text
from debir_jax.training.checkpoint import Checkpoints, check_purpose
from debir_jax.training.experiment import Experiment, StepFn
from debir_jax.training.logs import StageLog, say
from debir_jax.training.stages import STAGES, Stage
from debir_jax.training.state import TrainState
from debir_jax.types import SUBFRAME_RATE_HZ

INTERRUPTED = 75  # Exit code of a run that was stopped in good order (EX_TEMPFAIL): start it again to go on.


class NonFiniteError(RuntimeError):
  """A loss or gradient is not finite; the last good checkpoint is intact."""


class Meter:
  """Means of a step's scalars since the last reading, as a clu metric collection; times apart."""

  def __init__(self):
    self._collection = self._type = None
    self.exposure_times = []

  def add(self, outputs: dict[str, jax.Array]) -> None:
    """Adds a step's outputs without waiting for them."""
    outputs = dict(outputs)
    times = outputs.pop("exposure_times")
    self.exposure_times.append(times)
    outputs["mean_exposure"] = times.mean() * SUBFRAME_RATE_HZ
    if self._type is None:
      averages = {name: clu_metrics.Average.from_output(name) for name in outputs}
      self._type = flax.struct.dataclass(type("StepMetrics", (clu_metrics.Collection,), {"__annotations__": averages}))
    single = self._type.single_from_model_output(**outputs)
    self._collection = single if self._collection is None else self._collection.merge(single)

  def read(self) -> tuple[dict[str, float], np.ndarray]:
    """Means, and all exposure times `[m, n]`; starts anew."""
    means = {name: float(value) for name, value in self._collection.compute().items()}
    times = np.concatenate([np.asarray(times) for times in self.exposure_times])
    self._collection, self.exposure_times = None, []
    return means, times


def train_stage(experiment: Experiment, stage: Stage, directory: pathlib.Path, state: TrainState, step_fn: StepFn,
                num_steps: int) -> TrainState:
  """Trains until `num_steps` steps are done, going on from the newest checkpoint in `directory` where there is one.

  Args:
    experiment: the run.
    stage: which split it reads; see `stages.py`.
    directory: of the stage: checkpoints, logs and the config it was started with.
    state: where it starts from.
    step_fn: maps (state, scenes) to (state, outputs).
    num_steps: of the whole stage.

  Returns:
    The final state.

  Raises:
    NonFiniteError: the loss or the gradient is not finite.
    ValueError: the folder belongs to a run with other settings.
  """
  _check_config(experiment, stage, directory)
  checkpoints = Checkpoints(directory / "checkpoints", experiment.purposes)
  # A copy, as the steps give their input away; the caller may start other runs from it.
  state = jax.tree.map(jnp.copy, state.replace(step=jnp.zeros((), jnp.int32)))
  if checkpoints.latest_step() is not None:
    state = checkpoints.load_latest(state)
  first_step = int(state.step)
  if first_step >= num_steps:
    say(f"{directory.name:14s} finished earlier ({first_step} steps)")
    checkpoints.close()
    return state
  say(f"{directory.name:14s} {'resuming at step ' + str(first_step) if first_step else 'starting'}; compiling ...")
  log = StageLog(directory, directory.name, num_steps, first_step)
  batches = experiment.batches(stage.split, first_step)
  try:
    return _steps(experiment.config, state, step_fn, batches, log, checkpoints, num_steps)
  finally:
    batches.close()
    checkpoints.close()
    log.close()


def _steps(config, state, step_fn, batches, log, checkpoints, num_steps):
  meter, waited_s, clock_s = Meter(), batches.wait_s, time.perf_counter()
  first_step, previous = int(state.step), None
  with _StopSignal() as stop:
    for step in range(first_step + 1, num_steps + 1):
      state, outputs = step_fn(state, next(batches))
      meter.add(outputs)
      # One step late, so that the check does not keep the device waiting.
      _check_finite(previous, step - 1)
      previous = outputs
      if step == first_step + 1:
        jax.block_until_ready(outputs["loss"])
        log.first_step_done()
        # The first batch and compilation say nothing about speed.
        waited_s, clock_s = batches.wait_s, time.perf_counter()
      stopping = stop.requested  # Read once: a signal that comes later in this step counts for the next one.
      save = step % config.checkpoint_every_steps == 0 or step == num_steps or stopping
      if save or step % config.log_every_steps == 0:
        _check_finite(outputs, step)
        means, times = meter.read()
        elapsed_s = max(time.perf_counter() - clock_s, 1e-9)
        log.write(step, means | dict(data_wait_share=(batches.wait_s - waited_s) / elapsed_s))
        log.tensorboard.write_histograms(
            step, {f"exposure_times/t{i + 1}": column * SUBFRAME_RATE_HZ for i, column in enumerate(times.T)})
        waited_s, clock_s = batches.wait_s, time.perf_counter()
      if save:
        checkpoints.save(state, means.get("psnr", -means["loss"]))
      if stopping:
        checkpoints.close()
        say(f"Stopped by a signal after step {step}, which is saved. Run the same command again to go on.")
        raise SystemExit(INTERRUPTED)
  return state


def _check_finite(outputs, step):
  if outputs is None:
    return
  bad = [name for name in ("loss", "grad_norm") if not np.isfinite(outputs[name])]
  if bad:
    raise NonFiniteError(
        f"Step {step}: {' and '.join(bad)} not finite. The last checkpoint is from before that step; start again from "
        "it with a lower learning rate or a smaller clip_norm, or look for NaN in the scenes.")


class _StopSignal:
  """Turns SIGTERM and Ctrl-C into a request that the loop obeys between two steps."""

  def __enter__(self):
    self.requested, self._previous = False, {}
    for number in (signal.SIGTERM, signal.SIGINT):
      try:
        self._previous[number] = signal.signal(number, self._request)
      except ValueError:  # Not in the main thread: the caller keeps its own handlers.
        logging.debug("signal %s is not handled outside the main thread", number)
    return self

  def __exit__(self, *_):
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _request(self, *_):
    if self.requested:
      raise KeyboardInterrupt
    self.requested = True


# Fields that may change between two starts of the same stage.
_FREE_FIELDS = ("stages", "init_from", "start_from_scratch", "log_every_steps", "checkpoint_every_steps",
                "compilation_cache", "compute", "evaluation", "comparison", "data.num_threads", "data.cache",
                "data.num_eval_scenes", "motion.weights")


def _check_config(experiment: Experiment, stage: Stage, directory: pathlib.Path) -> None:
  """Records the config of a stage, or refuses to go on with another one."""
  config = experiment.config.to_dict()
  others = [name for name in STAGES if name != stage.name]
  for name in [*_FREE_FIELDS, *others]:
    section, _, field = name.rpartition(".")
    (config.get(section, {}) if section else config).pop(field, None)
  record = directory / "config.json"
  if record.exists():
    check_purpose(json.loads(record.read_text()), config, f"run in {directory}")
  else:
    directory.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(config, indent=2))


def log_parameters(state: TrainState, workdir: pathlib.Path) -> None:
  """Writes the tables of parameters and says how many there are."""
  for name, params in (("restoration", state.restoration_params), ("bae", state.bae_params)):
    write_text(workdir / f"parameters_{name}.txt", parameter_overview.get_parameter_overview(params))
    say(f"{name:14s} {parameter_overview.count_parameters(params):,} parameters")

