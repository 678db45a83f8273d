"""Processes of the trials of a sweep: so many at a time, with what they say, until all have ended."""

from concurrent.futures import ThreadPoolExecutor
import signal
import subprocess
import sys
import threading
import time

DONE, STOPPED, IN_USE = "done", "stopped", "left to another process"
# What a trial's process says by its exit code, beside 0 and errors (sysexits.h: EX_CANTCREAT, EX_TEMPFAIL).
IN_USE_CODE, STOPPED_CODE = 73, 75
_OUTCOME_OF_CODE = {0: DONE, STOPPED_CODE: STOPPED, -signal.SIGTERM: STOPPED, IN_USE_CODE: IN_USE}


def run_all(commands: dict[str, list[str]], num_processes: int) -> dict[str, str]:
  """Runs commands, so many at a time, and shows what they say with their name before it.

  SIGTERM and Ctrl-C are handed on to them, and no further one is started.

  Returns:
    By name: `DONE`, `STOPPED`, `IN_USE`, or the last line of one that failed.
  """
  # Re-entrant: a second signal may come while the first one is handed on.
  running, ended, stopping, lock = set(), [], threading.Event(), threading.RLock()
  start_s = time.monotonic()

  def stop(*_):
    with lock:
      stopping.set()
      for process in running:
        process.terminate()

  def run(name):
    with lock:
      if stopping.is_set():
        return STOPPED
      # In a session of its own: Ctrl-C reaches it once, through `stop`.
      process = subprocess.Popen(commands[name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True)
      running.add(process)
    last = ""
    for line in process.stdout:
      tell(f"[{name}] {line.rstrip()}")
      last = line.strip() or last
    code = process.wait()
    with lock:
      running.discard(process)
      ended.append(name)
      minutes_left = (time.monotonic() - start_s) / len(ended) * (len(commands) - len(ended)) / 60
    outcome = _OUTCOME_OF_CODE.get(code, f"failed: {last}")
    tell(f"[{name}] {outcome}; {len(ended)} of {len(commands)} ended, about {minutes_left:.0f} minutes left")
    return outcome

  previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    with ThreadPoolExecutor(num_processes) as pool:
      return dict(zip(commands, pool.map(run, commands)))
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)


def tell(text: str) -> None:
  """A line for the person at the screen, without JAX: it would take a GPU's memory, which the trials need."""
  print(text, file=sys.stderr, flush=True)
