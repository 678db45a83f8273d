"""Processes meet before JAX connects them: JAX ends a process without an exception where a partner never comes.

Process 0 listens at the coordinator's address until every other process has told its number, then lets all go on, and
gives the address free for JAX. A line of text each way; whoever says something else is not let in.
"""

import socket
import time

_HELLO = "debir_jax process"
_GO = b"go\n"


def meet(coordinator: str, num_processes: int, process_id: int, timeout_s: float) -> None:
  """Returns in all processes once all are there.

  Raises:
    OSError: some did not come in time, with their numbers; or the address cannot be listened at.
  """
  host, _, port = coordinator.rpartition(":")
  address, deadline = (host.strip("[]"), int(port)), time.monotonic() + timeout_s
  if process_id == 0:
    _host(address, set(range(1, num_processes)), deadline)
  else:
    _join(address, process_id, deadline)


def _host(address, missing, deadline):
  guests = {}
  family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
  # On all interfaces, as JAX does: the name that others reach this machine by may not be one of its own.
  with socket.create_server(("", address[1]), family=family, backlog=len(missing) + 16) as server:
    while missing - set(guests):
      server.settimeout(_seconds_left(deadline, f"no word from process {_listed(missing - set(guests))}"))
      try:
        guest, _ = server.accept()
      except TimeoutError:
        continue
      number = _number_said(guest)
      if number in missing:
        guests[number] = guest  # One that came twice was started anew.
      else:
        guest.close()
  for guest in guests.values():
    guest.sendall(_GO)
    guest.close()


def _number_said(guest):
  """The number in a process's greeting; None for anything else."""
  try:
    guest.settimeout(5)
    head, _, number = guest.makefile("r").readline(64).strip().rpartition(" ")
    return int(number) if head == _HELLO and number.isdecimal() else None
  except (OSError, UnicodeDecodeError):
    return None


def _join(address, process_id, deadline):
  """Tries again where process 0 is not there yet, or was started anew."""
  while True:
    left = _seconds_left(deadline, "process 0 does not answer")
    try:
      with socket.create_connection(address, timeout=left) as host:
        host.sendall(f"{_HELLO} {process_id}\n".encode())
        if host.makefile("rb").readline() == _GO:
          return
    except OSError:
      pass
    time.sleep(0.2)


def _seconds_left(deadline, otherwise):
  left = deadline - time.monotonic()
  if left <= 0:
    raise TimeoutError(otherwise)
  return left


def _listed(numbers):
  return ", ".join(map(str, sorted(numbers)))
