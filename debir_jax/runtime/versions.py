"""Which versions are at work."""

import importlib.metadata
import pathlib
import subprocess


def version_of(package: str) -> str:
  """The version of an installed package; "not installed" for one that is used from its checkout."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def commit_of_checkout() -> str | None:
  """The commit at which the package's checkout stands, with "+changes" where files differ from it; None where it is
  installed without one, or there is no git."""
  git = ["git", "-C", str(pathlib.Path(__file__).resolve().parents[2])]
  try:
    run = lambda *command: subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout.strip()
    inside = run("ls-files", "--error-unmatch", "debir_jax/runtime/versions.py")
    return run("rev-parse", "HEAD") + ("+changes" if inside and run("status", "--porcelain", "-uno") else "")
  except (OSError, subprocess.CalledProcessError):
    return None
