"""Several processes that train together, one per machine (`jax.distributed`); all see the same workdir.

Every process runs the same command. Process 0 alone writes logs and results; all write their part of a checkpoint.
"""

import contextlib
import json
import os
import pathlib
from typing import Any, Iterator

import jax
from jax.experimental import multihost_utils
import numpy as np

from debir_jax.runtime.rendezvous import meet
from debir_jax.runtime.workdir import WorkdirError, locked, workdir_path


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
  if coordinator:
    _check_numbers(coordinator, num_processes, process_id)
  try:
    if coordinator:
      _leave_proxies_out(coordinator)
      meet(coordinator, num_processes, process_id, timeout_s)
    jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=timeout_s)
  except (RuntimeError, ValueError, TypeError, OSError) as error:
    raise ConnectionFailedError(
        f"Process {process_id} of {num_processes} could not join the others through {where} within {timeout_s} s: "
        f"{str(error).splitlines()[0]}\nIs every process running, can this machine reach that port, is the port free "
        "on the machine of process 0, and do all processes name the same --coordinator and --num_processes? "
        "--connect_timeout_s waits longer.") from error


def _check_numbers(coordinator, num_processes, process_id):
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ConnectionFailedError(f"--coordinator={coordinator} must be host:port, e.g. 10.0.0.1:1234.")
  if num_processes is None or process_id is None:
    raise ConnectionFailedError("--coordinator wants --num_processes and --process_id beside it.")
  if not 0 <= process_id < num_processes:
    raise ConnectionFailedError(f"--process_id={process_id} must be from 0 to {num_processes - 1}, as "
                                f"--num_processes={num_processes}.")


def _leave_proxies_out(coordinator: str) -> None:
  """gRPC would send what JAX tells the coordinator to a proxy of the environment, which is for web pages."""
  host = coordinator.rpartition(":")[0].strip("[]")
  known = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
  os.environ["no_grpc_proxy"] = ",".join(filter(None, (known, host)))


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
    yield workdir_path(workdir)


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
