"""Notebooks run from top to bottom, and are committed without outputs."""

import pathlib
import shutil

from nbclient import NotebookClient
import nbformat
import pytest

from experiments.notebooks import colab

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NOTEBOOKS = sorted((_ROOT / "experiments" / "notebooks").glob("*.ipynb"))
_IN_CI = "01_simulator"


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[] if path.stem == _IN_CI else pytest.mark.slow) for path in _NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path):
  """Every cell, in a kernel of its own."""
  notebook = nbformat.read(path, as_version=4)
  NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=dict(metadata=dict(path=_ROOT))).execute()
  assert any(output.get("data", {}).get("image/png") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
  """They would make every change a large one."""
  for cell in nbformat.read(path, as_version=4).cells:
    assert not cell.get("outputs") and cell.get("execution_count") is None


def test_badges_open_the_notebooks_in_colab_and_are_replaced(tmp_path):
  """Two cells on top, once; the rest stays byte for byte, and outside of Colab the setup does nothing."""
  for path in _NOTEBOOKS:
    shutil.copy(path, tmp_path)
  colab.add_badges(tmp_path, "somebody/else")
  colab.add_badges(tmp_path, "owner/debir_jax", "trunk")
  for path in _NOTEBOOKS:
    changed, original = nbformat.read(tmp_path / path.name, as_version=4), nbformat.read(path, as_version=4)
    nbformat.validate(changed)
    badge, setup, *rest = changed.cells
    place = f"owner/debir_jax/blob/trunk/experiments/notebooks/{path.name}"
    assert f"(https://colab.research.google.com/github/{place})" in badge.source
    assert "github.com/owner/debir_jax" in setup.source and "somebody" not in setup.source
    assert rest == original.cells
  notebook = nbformat.v4.new_notebook(cells=[setup, nbformat.v4.new_code_cell("print(pathlib.Path.cwd())")])
  NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=dict(metadata=dict(path=tmp_path))).execute()
  assert notebook.cells[0].outputs == [] and str(tmp_path) in notebook.cells[1].outputs[0].text


def test_an_address_that_is_none_is_refused(tmp_path):
  with pytest.raises(ValueError, match="OWNER/NAME"):
    colab.add_badges(tmp_path, "https://github.com/owner/debir_jax")
  with pytest.raises(ValueError, match="no notebooks"):
    colab.add_badges(tmp_path, "owner/debir_jax")
