"""Errors that a person can mend come as one line, not as a traceback."""

from collections.abc import Iterator
import contextlib
import sys


@contextlib.contextmanager
def told_in_a_line(*kinds: type[Exception]) -> Iterator[None]:
  """Ends the process with the error's message and exit code 1 where an error of these kinds comes up inside."""
  try:
    yield
  except kinds as error:
    sys.exit(f"Error: {error}")
