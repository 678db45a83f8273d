"""A request to stop, from a person or from a machine that is taken away, obeyed between two steps."""

import signal

from absl import logging
import jax
from jax.experimental import multihost_utils


class StopSignal:
  """Turns SIGTERM and Ctrl-C into a request that the training loop obeys after the step at hand.

  With several processes, JAX's preemption service takes SIGTERM (and what a cloud sends before it takes a machine away)
  and picks a step after which all processes stop together.
  """

  def __enter__(self):
    self._requested, self._previous = False, {}
    for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ():
      try:
        self._previous[number] = signal.signal(number, self._request)
      except ValueError:  # Not in the main thread: the caller keeps its own handlers.
        logging.debug("signal %s is not handled outside the main thread", number)
    return self

  def __exit__(self, *_):
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def requested(self, step: int) -> bool:
    """Whether to stop after this step; every process asks once a step and gets the same answer."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._requested

  def _request(self, *_):
    if self._requested:
      raise KeyboardInterrupt
    self._requested = True
