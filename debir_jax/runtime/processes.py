"""Several processes that train together, one per machine (`jax.distributed`); all see the same workdir.

Every process runs the same command. Process 0 alone writes logs and results; all write their part of a checkpoint.
"""

import contextlib
import json
import pathlib
import socket
import time
from typing import Any, Iterator

import jax
from jax.experimental import multihost_utils
import numpy as np

from debir_jax.runtime.workdir import WorkdirError, locked


class ConnectionFailedError(RuntimeError):
  """The processes of a run did not find each other."""


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout_s: int) -> None:
  """Joins the other processes; must come before anything else touches JAX.

  Args:
    coordinator: address and port of process 0, "host:port"; None, as the next two: JAX finds out (Cloud TPU, Slurm,
      MPI).
    num_processes: in all.
    process_id: of this one, from 0.
    timeout_s: how long to wait for the others.

  Raises:
    ConnectionFailedError: they did not answer, or the numbers make no sense.
  """
  where = coordinator or "the coordinator that JAX looked for in the environment"
  if coordinator and not coordinator.rpartition(":")[2].isdecimal():
    raise ConnectionFailedError(f"--coordinator={coordinator} must be host:port, e.g. 10.0.0.1:1234.")
  try:
    if coordinator and process_id:
      _wait_for(coordinator, timeout_s)
    jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=timeout_s)
  except (RuntimeError, ValueError, TypeError, OSError) as error:
    raise ConnectionFailedError(
        f"Process {process_id} of {num_processes} could not join the others through {where} within {timeout_s} s: "
        f"{str(error).splitlines()[0]}\nIs process 0 running, can this machine reach that port, and do all processes "
        "name the same --coordinator and --num_processes? --connect_timeout_s waits longer.") from error


def _wait_for(coordinator: str, timeout_s: int) -> None:
  """Returns once something listens there: where nothing does, JAX ends the process without an exception."""
  host, _, port = coordinator.rpartition(":")
  end = time.monotonic() + timeout_s
  while True:
    try:
      socket.create_connection((host.strip("[]"), int(port)), timeout=max(end - time.monotonic(), 0.1)).close()
      return
    except OSError:
      if time.monotonic() > end:
        raise
      time.sleep(0.2)


@contextlib.contextmanager
def owned(workdir: str) -> Iterator[pathlib.Path]:
  """`workdir.locked`, by process 0 for all processes.

  Raises:
    WorkdirError: in all of them, where it cannot be had.
  """
  if jax.process_count() == 1:
    with locked(workdir) as path:
      yield path
    return
  with contextlib.ExitStack() as stack:
    reason = ""
    if jax.process_index() == 0:
      try:
        stack.enter_context(locked(workdir))
      except WorkdirError as error:
        reason = str(error)
    if broadcast(bool(reason)):
      raise WorkdirError(reason or f"Process 0 cannot use --workdir={workdir}; see its message.")
    yield pathlib.Path(workdir).expanduser().absolute()


def shard_indices(num_items: int) -> range:
  """The items that this process does of work that is shared out."""
  return range(jax.process_index(), num_items, jax.process_count())


def all_gather(mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """The dictionaries of all processes, process by process; numbers, strings, lists and arrays, which become lists."""
  if jax.process_count() == 1:
    return mine
  to_list = lambda array: np.asarray(array).tolist()
  mine = np.frombuffer(json.dumps(mine, default=to_list).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(mine.size))
  all_bytes = multihost_utils.process_allgather(np.pad(mine, (0, int(sizes.max()) - mine.size)))
  return [item for row, size in zip(all_bytes, sizes) for item in json.loads(row[:size].tobytes())]


def broadcast(mine: bool) -> bool:
  """What process 0 says, in all processes."""
  return mine if jax.process_count() == 1 else bool(multihost_utils.broadcast_one_to_all(np.int32(mine)))


def is_main() -> bool:
  """Whether this process writes logs and results."""
  return jax.process_index() == 0
