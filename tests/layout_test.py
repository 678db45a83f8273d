"""The house: each folder stands on its own floor and imports only from those below it in `FLOORS`."""

import ast
import pathlib

import pytest

_PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "debir_jax"

# From the ground up; `docs/design.md` tells what each is.
FLOORS = ("types", "runtime", "kernels", "imaging", "motion", "simulator", "policies", "restoration", "pipeline",
          "weights", "scenes", "camera", "evaluation", "config", "training", "sweep", "convert", "main",
          "demo")


def imported_modules(path: pathlib.Path) -> set[str]:
  """Modules of this package that a file imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path} imports relatively"
      found |= {node.module} if node.module != "debir_jax" else {f"debir_jax.{alias.name}" for alias in node.names}
  return {name for name in found if name.partition(".")[0] in ("debir_jax", "experiments", "configs", "tests")}


def floor_of(path: pathlib.Path) -> str:
  """The folder, or the file of its own, that a file belongs to."""
  return path.relative_to(_PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("floor", FLOORS)
def test_a_folder_imports_only_from_the_floors_below_it(floor):
  """So that a change reaches what stands above it and nothing else; experiments import everything, nothing them."""
  below = FLOORS[:FLOORS.index(floor) + 1]
  for path in sorted(_PACKAGE.rglob("*.py")):
    if path != _PACKAGE / "__init__.py" and floor_of(path) == floor:
      for module in imported_modules(path):
        package, _, rest = module.partition(".")
        assert package == "debir_jax" and rest.partition(".")[0] in below, f"{path.name} imports {module}"


def test_every_folder_has_a_floor():
  """And only the files that tell what the package is stand beside the folders."""
  places = {floor_of(path) for path in _PACKAGE.rglob("*.py")} - {"__init__"}
  assert places <= set(FLOORS)
  files = {path.name for path in _PACKAGE.glob("*.py")}
  assert files <= {"__init__.py", "types.py", "pipeline.py", "main.py", "demo.py"}
