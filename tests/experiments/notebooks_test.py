"""Notebooks run from top to bottom, and are committed without outputs."""

import pathlib

import nbformat
from nbclient import NotebookClient
import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NOTEBOOKS = sorted((_ROOT / "experiments" / "notebooks").glob("*.ipynb"))
_IN_CI = "01_simulator"


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[] if path.stem == _IN_CI else pytest.mark.slow) for path in _NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path):
  """Every cell, in a kernel of its own."""
  notebook = nbformat.read(path, as_version=4)
  NotebookClient(notebook, timeout=600, kernel_name="python3", resources=dict(metadata=dict(path=_ROOT))).execute()
  assert any(output.get("data", {}).get("image/png") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
  """They would make every change a large one."""
  for cell in nbformat.read(path, as_version=4).cells:
    assert not cell.get("outputs") and cell.get("execution_count") is None
