"""Errors that a person can mend are a line and an exit code; others stay what they are."""

import pytest

from debir_jax.runtime.errors import told_in_a_line


def test_an_error_of_the_kinds_is_told_in_a_line():
  """Also of their subclasses."""
  with pytest.raises(SystemExit) as end, told_in_a_line(ValueError, OSError):
    raise FileNotFoundError("there is no such file")
  assert end.value.code == "Error: there is no such file"


def test_other_errors_are_not_hidden():
  """They are the program's own."""
  with pytest.raises(KeyError), told_in_a_line(ValueError):
    raise KeyError("name")
