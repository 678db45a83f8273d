"""Makes the notebooks open in Colab, from a badge, once the repository is public.

  python -m experiments.notebooks.colab OWNER/REPOSITORY [--branch main]

puts two cells on top of every notebook: the badge, and a cell that fetches and installs the repository where it runs in
Colab, for the GPU or TPU that there is, and does nothing elsewhere. Run again, it replaces them.
"""

import argparse
import json
import pathlib
import re
import sys

from debir_jax.runtime.files import write_text

_MARK = {"debir_jax": "colab"}  # In the metadata of both cells.
_BADGE = ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
          "(https://colab.research.google.com/github/{repository}/blob/{branch}/experiments/notebooks/{name})")
_SETUP = """\
import pathlib
import shutil
import sys

if "google.colab" in sys.modules and not pathlib.Path("debir_jax").exists():
  extra = "[cuda13]" if shutil.which("nvidia-smi") else "[tpu]" if pathlib.Path("/dev/vfio").exists() else ""
  !git clone --quiet --depth 1 --branch {branch} https://github.com/{repository} debir_jax_checkout
  %cd debir_jax_checkout
  %pip install --quiet -e ".$extra"
"""


def add_badges(folder: pathlib.Path, repository: str, branch: str = "main") -> list[pathlib.Path]:
  """Puts badge and setup on top of every notebook of a folder; returns the notebooks.

  Raises:
    ValueError: the repository is not OWNER/NAME, or the folder has no notebooks.
  """
  if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
    raise ValueError(f"The repository must be OWNER/NAME as GitHub spells it, got {repository!r}.")
  paths = sorted(folder.glob("*.ipynb"))
  if not paths:
    raise ValueError(f"There are no notebooks in {folder}.")
  for path in paths:
    notebook = json.loads(path.read_text())
    badge = _cell("markdown", _BADGE.format(repository=repository, branch=branch, name=path.name))
    setup = _cell("code", _SETUP.format(repository=repository, branch=branch)) | dict(outputs=[], execution_count=None)
    kept = [cell for cell in notebook["cells"] if _MARK.items() - cell["metadata"].items()]
    notebook["cells"] = [badge, setup, *kept]
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
  return paths


def _cell(kind, text) -> dict:
  return dict(cell_type=kind, id=f"colab-{kind}", metadata=_MARK, source=text.splitlines(keepends=True))


def main() -> None:
  """Reads the options and changes the notebooks."""
  parser = argparse.ArgumentParser(prog="python -m experiments.notebooks.colab", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("repository", help="OWNER/REPOSITORY on GitHub")
  parser.add_argument("--branch", default="main", help="(%(default)s)")
  args = parser.parse_args()
  try:
    paths = add_badges(pathlib.Path(__file__).parent, args.repository, args.branch)
  except ValueError as error:
    sys.exit(f"Error: {error}")
  print("\n".join(map(str, paths)))


if __name__ == "__main__":
  main()
