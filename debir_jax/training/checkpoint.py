"""Checkpoints that know what they were trained for (orbax, asynchronous and atomic).

The networks are saved as parts, and every part carries its *purpose*: a JSON dictionary with the timing, the noise,
the range of gains and the network; for BAENet also the flow estimator. A part of another purpose is refused, with the
fields that differ: networks that are used under other conditions than they were trained for give wrong results without
any other sign.

All that a run needs to go on is inside: networks, the three optimizer states and the step, from which the position of
the data and every random number follow (`run.next_batch`, `run.config.seed`); beside them config and versions.
"""

import contextlib
import json
import pathlib
from typing import Any, Sequence

from absl import logging
import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from debir_jax.config.compatibility import check_compatible
from debir_jax.runtime import processes
from debir_jax.runtime.versions import version_of
from debir_jax.training.state import TrainState, parts_of, with_parts
from debir_jax.weights.descriptions import with_defaults

ALL_PARTS = ("progress", "restoration", "bae")
FORMAT = 3  # Of the parts and of what is written beside them. 3: architecture and what it was trained for.
_ABOUT = "debir_jax"


class CheckpointError(RuntimeError):
  """A checkpoint cannot be written."""


class Checkpoints:
  """The checkpoints of one stage: the newest two and the best one by PSNR are kept, and one every so many steps."""

  def __init__(self, directory: pathlib.Path, compatibility: dict[str, Any], *, keep_every_steps: int | None = None,
               run: dict[str, Any] | None = None):
    """Opens or creates the folder; unfinished checkpoints of a killed run are removed.

    Args:
      directory: of the checkpoints.
      compatibility: of the parts.
      keep_every_steps: keep those at multiples of this too.
      run: what else to write beside a state, JSON; the config.
    """
    self.directory = pathlib.Path(directory).absolute()
    self._compatibility, self._run = json.loads(json.dumps(compatibility)), run or {}
    self._keep_every_steps = keep_every_steps
    self._checkpointer = self._open()

  def _open(self):
    policies = ocp.training.preservation_policies
    kept = [policies.LatestN(2), policies.BestN(get_metric_fn=lambda m: m["psnr"], reverse=False, n=1)]
    if self._keep_every_steps:
      kept.append(policies.EveryNSteps(self._keep_every_steps))
    return ocp.training.Checkpointer(
        str(self.directory), preservation_policy=policies.AnyPreservationPolicy(kept), cleanup_tmp_directories=True)

  def save(self, state: TrainState, psnr: float | None) -> None:
    """Writes the state in the background; `close` or the next save waits until it is on disk.

    Args:
      state: on the devices; it may be given away to the next step at once.
      psnr: by which the best one is chosen, dB; None: not measured.

    Raises:
      CheckpointError: this checkpoint or the one before it could not be written. Older ones are intact.
    """
    step = int(state.step)
    about = dict(format=FORMAT, version=version_of("debir_jax"), jax=jax.__version__,
                 run=self._run | dict(next_batch=step), psnr_measured=psnr is not None)
    self._wait()
    try:
      self._checkpointer.save_checkpointables_async(
          step, parts_of(state), force=True, metrics={"psnr": 0.0 if psnr is None else float(psnr)},
          custom_metadata=self._compatibility | {_ABOUT: about})
    except OSError as error:
      raise self._not_written(error) from error

  def check_readable(self, state: TrainState) -> None:
    """Waits for the newest checkpoint and reads it back, so that no run works for hours on what will be lost.

    Args:
      state: like the one that was saved.

    Raises:
      CheckpointError: it cannot be read.
    """
    self._wait()
    try:
      if self.latest_step() is None:
        raise ValueError("It is not found again.")
      self.load_latest(state)
    except ValueError as error:
      raise CheckpointError(f"A checkpoint that was just written to {self.directory} cannot be read back: {error}\n"
                            "Choose another --workdir, on another file system if need be.") from error

  def steps(self) -> list[int]:
    """Steps of all finished checkpoints, oldest first."""
    return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

  def latest_step(self) -> int | None:
    """Step of the newest finished checkpoint."""
    return max(self.steps(), default=None)

  def resume(self, state: TrainState, step: int | None = None) -> TrainState:
    """The state to go on from: that of the newest checkpoint, or `state` itself where there is none.

    Args:
      state: to start from, placed where the loaded one shall lie.
      step: go on from this checkpoint instead; newer ones are set aside, into the folder `<directory>_set_aside`.

    Raises:
      ValueError: there is no such checkpoint, or it cannot be used.
    """
    if step is not None:
      if step not in self.steps():
        raise ValueError(f"There is no finished checkpoint of step {step} in {self.directory}; there are "
                         f"{self.steps() or 'none'}.")
      self._set_aside([newer for newer in self.steps() if newer > step])
    return state if self.latest_step() is None else self.load_latest(state)

  def load_latest(self, state: TrainState, parts: Sequence[str] = ALL_PARTS) -> TrainState:
    """`state` with the named parts replaced by those of the newest checkpoint.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a part was trained for something else, was written by a newer version, or cannot be read.
    """
    step = self.latest_step()
    if step is None:
      raise FileNotFoundError(f"There is no finished checkpoint in {self.directory}.")
    where = f"checkpoint {self.directory / str(step)}"
    try:
      found = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
    except (ValueError, KeyError, OSError, TypeError) as error:
      raise self._unreadable(where, step, error) from error
    if found:
      about = found.get(_ABOUT, {})
      check_format(about.get("format"), where, about.get("version"))
    for part in parts:
      if part in self._compatibility:
        description = found.get(part)
        check_compatible(description and with_defaults(part, description), self._compatibility[part],
                         f"{part} network of {where}")
    like = {part: tree for part, tree in parts_of(state).items() if part in parts}
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
    try:
      loaded = self._checkpointer.load_checkpointables(step, abstract)
    except (ValueError, KeyError, OSError, TypeError) as error:
      raise self._unreadable(where, step, error) from error
    return with_parts(state, loaded)

  def close(self) -> None:
    """Waits for pending writes; raises a CheckpointError if they fail."""
    try:
      self._wait()
    except CheckpointError:
      with contextlib.suppress(OSError, ValueError):  # The same once more.
        self._checkpointer.close()
      raise
    self._checkpointer.close()

  def _wait(self):
    try:
      self._checkpointer.wait()
    except (OSError, ValueError) as error:
      raise self._not_written(error) from error

  def _not_written(self, error):
    logging.debug("saving failed", exc_info=error)
    return CheckpointError(
        f"A checkpoint in {self.directory} could not be written: {str(error).splitlines()[0][:300]}\nThe last good one "
        f"is of step {self.latest_step()} and intact. Make room (or mend the disk) and run the same command again.")

  def _unreadable(self, where, step, error):
    older = [other for other in self.steps() if other < step]
    remedy = (f"go on from an older one with --config.resume_from={self.directory.parent.name}/{older[-1]}, which sets "
              "this one aside" if older else "there is no older one; train that stage again in another --workdir")
    return ValueError(f"The {where} cannot be read; it is damaged or incomplete, or its arrays have other shapes: "
                      f"{str(error)[:300]}\nIf it is damaged, {remedy}.")

  def _set_aside(self, steps):
    """Moves checkpoints out of the way, by one process; all see the same afterwards."""
    if not steps:
      return
    self._checkpointer.close()
    if processes.is_main():
      aside = self.directory.with_name(self.directory.name + "_set_aside")
      aside.mkdir(exist_ok=True)
      for step in steps:
        target = aside / str(step)
        while target.exists():
          target = target.with_name(target.name + "_again")
        (self.directory / str(step)).rename(target)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("checkpoints set aside")
    self._checkpointer = self._open()


def check_format(found: int | None, where: str, version: str | None = None) -> None:
  """Raises a ValueError unless a checkpoint or run, written by some `version`, has the format of this one."""
  if found != FORMAT:
    newer = found is not None and found > FORMAT
    remedy = "Update the package." if newer else "Go on with that version, or train again in another --workdir."
    writer = f"debir_jax {version}" if version else "another version of debir_jax"
    raise ValueError(f"The {where} has format {1 if found is None else found} and was written by {writer}; this is "
                     f"debir_jax {version_of('debir_jax')}, which reads format {FORMAT}. {remedy}")
