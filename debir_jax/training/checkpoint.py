"""Checkpoints that know what they were trained for (orbax, asynchronous and atomic).

The networks are saved as parts, and every part carries its *purpose*: a JSON dictionary with the timing, the noise,
the range of gains and the network; for BAENet also the flow estimator. A part of another purpose is refused, with the
fields that differ: networks that are used under other conditions than they were trained for give wrong results without
any other sign.
"""

import json
import pathlib
from typing import Any, Sequence

import jax
from orbax.checkpoint import v1 as ocp

from debir_jax.training.state import TrainState, parts_of, with_parts

ALL_PARTS = ("progress", "restoration", "bae")


class Checkpoints:
  """The checkpoints of one stage: the newest two and the best one by PSNR are kept."""

  def __init__(self, directory: pathlib.Path, purposes: dict[str, Any]):
    """Opens or creates the folder; unfinished checkpoints of a killed run are removed."""
    policies = ocp.training.preservation_policies
    self.directory = pathlib.Path(directory).absolute()
    self._purposes = json.loads(json.dumps(purposes))
    self._checkpointer = ocp.training.Checkpointer(
        str(self.directory),
        preservation_policy=policies.AnyPreservationPolicy([
            policies.LatestN(2), policies.BestN(get_metric_fn=lambda m: m["psnr"], reverse=False, n=1)]),
        cleanup_tmp_directories=True)

  def save(self, state: TrainState, psnr: float) -> None:
    """Writes the state in the background; `close` or the next save waits until it is on disk."""
    self._checkpointer.wait()
    self._checkpointer.save_checkpointables_async(
        int(state.step), parts_of(state), force=True, metrics={"psnr": float(psnr)}, custom_metadata=self._purposes)

  def latest_step(self) -> int | None:
    """Step of the newest finished checkpoint."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def load_latest(self, state: TrainState, parts: Sequence[str] = ALL_PARTS) -> TrainState:
    """`state` with the named parts replaced by those of the newest checkpoint.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a part was trained for something else, or cannot be read.
    """
    step = self.latest_step()
    if step is None:
      raise FileNotFoundError(f"There is no finished checkpoint in {self.directory}.")
    where = f"checkpoint {self.directory / str(step)}"
    found = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
    for part in parts:
      if part in self._purposes:
        check_purpose(found.get(part), self._purposes[part], f"{part} network of {where}")
    like = {part: tree for part, tree in parts_of(state).items() if part in parts}
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
    try:
      loaded = self._checkpointer.load_checkpointables(step, abstract)
    except (ValueError, KeyError, OSError, TypeError) as error:
      raise ValueError(f"The {where} cannot be read: {error}\nIf it is damaged, delete that folder; the next older "
                       "checkpoint is then used.") from error
    return with_parts(state, loaded)

  def close(self) -> None:
    """Waits for pending writes."""
    self._checkpointer.wait()
    self._checkpointer.close()


def check_purpose(found: dict[str, Any] | None, wanted: dict[str, Any], where: str) -> None:
  """Raises a ValueError that lists every field in which the purposes differ."""
  if not found:
    raise ValueError(f"The {where} does not say what it was trained for; it was not written by debir_jax.")
  found, wanted = dict(flatten(found)), dict(flatten(json.loads(json.dumps(wanted))))
  missing = object()
  different = [name for name in sorted(found | wanted) if found.get(name, missing) != wanted.get(name, missing)]
  if different:
    lines = [f"  {name}: {found.get(name, 'absent')} there, {wanted.get(name, 'absent')} here" for name in different]
    raise ValueError("\n".join([f"The {where} was made for something else:", *lines,
                                "Use the settings it was made with, or another --workdir or --config.init_from."]))


def flatten(tree: dict[str, Any], prefix: str = ""):
  """Yields (dotted name, value) for every leaf of a nested dictionary."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value
