"""Processes meet before JAX connects them, or each says who is missing."""

from concurrent.futures import ThreadPoolExecutor
import socket
import time

import pytest

from debir_jax.runtime import processes
from debir_jax.runtime.processes import ConnectionFailedError
from debir_jax.runtime.rendezvous import meet

_PATIENCE_S = 600


def _free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


@pytest.mark.parametrize("order", ((0, 1, 2), (2, 1, 0)))
def test_all_go_on_once_all_are_there(order):
  """Whoever comes first waits; then the address is free again."""
  where = f"localhost:{_free_port()}"
  with ThreadPoolExecutor(3) as pool:
    coming = []
    for number in order:
      coming.append(pool.submit(meet, where, 3, number, _PATIENCE_S))
      time.sleep(0.05)
      assert not any(future.done() for future in coming) or len(coming) == 3
    for future in coming:
      future.result(_PATIENCE_S)
  meet_alone = socket.create_server(("localhost", int(where.rpartition(":")[2])))
  meet_alone.close()


def test_a_partner_that_never_comes_is_named_by_process_0():
  """With the numbers of all that are missing."""
  with pytest.raises(TimeoutError, match="no word from process 1, 2"):
    meet(f"localhost:{_free_port()}", 3, 0, 0.3)


def test_strangers_are_not_taken_for_partners():
  """A web browser, a port scanner, a process with a number that there is not."""
  port = _free_port()
  with ThreadPoolExecutor(2) as pool:
    host = pool.submit(meet, f"localhost:{port}", 2, 0, _PATIENCE_S)
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"debir_jax process 7\n", b"\xff\xfe\n"):
      while True:
        try:
          with socket.create_connection(("localhost", port)) as stranger:
            stranger.sendall(greeting)
            stranger.makefile("rb").read()
          break
        except ConnectionRefusedError:
          time.sleep(0.05)
        except ConnectionResetError:
          break
    assert not host.done()
    meet(f"localhost:{port}", 2, 1, _PATIENCE_S)
    host.result(_PATIENCE_S)


@pytest.mark.parametrize("arguments, message", (
    (("nohost", 2, 0), "must be host:port"), ((":1234", 2, 0), "must be host:port"),
    (("localhost:99999", 2, 0), "must be host:port"), (("localhost:1234", None, 0), "wants --num_processes"),
    (("localhost:1234", 2, None), "wants --num_processes and --process_id"),
    (("localhost:1234", 2, 2), "--process_id=2 must be from 0 to 1"),
    (("localhost:1234", 2, -1), "--process_id=-1 must be from 0 to 1")))
def test_numbers_that_make_no_sense_are_refused_at_once(arguments, message):
  """Before anybody waits."""
  with pytest.raises(ConnectionFailedError, match=message):
    processes.connect(*arguments, timeout_s=1)


def test_a_port_in_use_is_said_so():
  """By process 0, which cannot listen there."""
  with socket.create_server(("", 0)) as other:
    with pytest.raises(ConnectionFailedError, match="Address already in use.*\n.*is the port free"):
      processes.connect(f"localhost:{other.getsockname()[1]}", 2, 0, timeout_s=1)


def test_a_partner_that_never_comes_ends_process_0_with_a_sentence():
  """JAX would end it with a signal."""
  with pytest.raises(ConnectionFailedError, match="Process 0 of 2 could not join .*no word from process 1"):
    processes.connect(f"localhost:{_free_port()}", 2, 0, timeout_s=1)
