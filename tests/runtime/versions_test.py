"""Versions are told where a package is installed, and nothing fails where it is not."""

import importlib.metadata

import jax

from debir_jax.runtime.versions import version_of


def test_an_installed_package_has_its_version():
  """As it says of itself."""
  assert version_of("jax") == jax.__version__


def test_a_package_that_runs_from_its_checkout_says_so(monkeypatch):
  """Training would otherwise end at its first checkpoint, or before, with a traceback."""
  def absent(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, "version", absent)
  assert version_of("debir_jax") == "not installed"
