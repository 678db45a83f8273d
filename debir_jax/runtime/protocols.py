"""Whether what a user hands in can be worked with: compiled programs belong to hashable things."""

from typing import Any


def check_hashable(name: str, thing: Any) -> None:
  """Raises a ValueError, with what to do, unless a thing can be a static argument of a compiled program.

  Args:
    name: of the argument, for the message.
    thing: such as a restorer or an estimator.
  """
  try:
    hash(thing)
  except TypeError as error:
    raise ValueError(
        f"{name}={type(thing).__name__}(...) cannot be hashed ({error}), but a compiled program belongs to it. Make it "
        "a Flax module or a frozen dataclass, and its fields numbers, strings and tuples, not lists, dictionaries or "
        "arrays; arrays belong into its variables.") from error
