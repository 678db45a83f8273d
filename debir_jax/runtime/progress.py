"""What the person at the screen sees of a run while it works."""

import sys
import time
from typing import Any, Iterable, Iterator

from absl import logging

from debir_jax.runtime import processes


def log(text: str) -> None:
  """A line for the person at the screen; also in absl's log where one is written. Of several processes one speaks."""
  if processes.is_main():
    print(text, file=sys.stderr, flush=True)
  logging.debug("%s", text)


def with_progress(items: Iterable[Any], total: int, what: str, *, every_s: float = 30.0) -> Iterator[Any]:
  """The same items; while they are asked for, says how many were, of how many, and for how long it will go on.

  Args:
    items: worked on one after the other.
    total: how many there are.
    what: their name in the plural.
    every_s: no more often than this.
  """
  start_s = last_s = time.monotonic()
  for done, item in enumerate(items):
    now_s = time.monotonic()
    if done and now_s - last_s >= every_s:
      last_s = now_s
      log(f"  {done}/{total} {what}, {(now_s - start_s) / done * (total - done):.0f} s left")
    yield item
