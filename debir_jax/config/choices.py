"""Fields of a config that name one of several things."""

from typing import Any, Mapping


def chosen(choices: Mapping[str, Any], name: str, field: str) -> Any:
  """What a field of the config names, or a ValueError with all names that it may have."""
  if name not in choices:
    raise ValueError(f"Unknown config.{field}={name!r}; choose one of {', '.join(map(repr, choices))}.")
  return choices[name]

