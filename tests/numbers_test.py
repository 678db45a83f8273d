"""What texts say of measurements is what the files of the measurements say.

A Markdown file may end with a comment that lists its numbers, each with where it comes from, beside the file:

  <!-- numbers
  4.0 = robustness.json:as it is/bracketing/psnr - robustness.json:flicker/bracketing/psnr
  -->

A path leads through names of dictionaries, indices of lists, and methods or trials of lists of rows. Every number must
stand in the text, and be the value of its right side, rounded as it is.
"""

import json
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LIST = re.compile(r"<!-- numbers\n(.*?)\n-->", re.DOTALL)
_TEXTS = [path for path in [_ROOT / "README.md", *(_ROOT / "docs").glob("*.md"), *(_ROOT / "experiments").rglob("*.md")]
          if _LIST.search(path.read_text())]


def value_of(expression, folder):
  """The value of "file:path", or of a sum or difference of two."""
  total, sign = 0.0, 1
  for part in re.split(r" ([+-]) (?=\S+\.json:)", expression):
    if part in ("+", "-"):
      sign = 1 if part == "+" else -1
      continue
    name, path = part.split(":", 1)
    total += sign * _at(json.loads((folder / name).read_text()), path.split("/"))
  return total


def _at(found, names):
  for name in names:
    if isinstance(found, list) and not name.isdecimal():
      found = next(row for row in found if name in (row.get("method"), row.get("trial")))
    else:
      found = found[int(name) if isinstance(found, list) else name]
  return found


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_numbers_in_texts_are_those_of_their_files(path):
  """Each one stands in the text, and is the measured value, rounded to its own digits."""
  text, = _LIST.findall(path.read_text())
  prose = _LIST.sub("", path.read_text()).replace("\N{MINUS SIGN}", "-")
  for line in text.splitlines():
    number, expression = line.split(" = ", 1)
    digits = len(number.partition(".")[2])
    assert f"{abs(value_of(expression, path.parent)):.{digits}f}" == number.lstrip("+-"), line
    assert re.search(rf"(?<![\d.]){re.escape(number.lstrip('+-'))}(?![\d])", prose), f"{number} is not in the text"


def test_there_are_such_texts():
  """README and the notes of results name their files."""
  assert {"README.md", "experiments/results/medium/robustness/notes.md"} <= {
      str(path.relative_to(_ROOT)) for path in _TEXTS}


def test_wrong_numbers_are_noticed(tmp_path):
  """Differences, methods by name, indices."""
  (tmp_path / "a.json").write_text(json.dumps(dict(x=[dict(method="A", psnr=30.0), dict(method="B", psnr=28.26)])))
  assert value_of("a.json:x/A/psnr - a.json:x/1/psnr", tmp_path) == pytest.approx(1.74)
