"""Which versions are at work."""

import importlib.metadata


def version_of(package: str) -> str:
  """The version of an installed package; "not installed" for one that is used from its checkout."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"
