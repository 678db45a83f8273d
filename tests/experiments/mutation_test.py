"""The tool that puts mistakes into the code: which ones, and whether tests that notice them are told from others."""

import argparse
import ast
import dataclasses
import pathlib
import textwrap

import pytest
import scipy.stats

from experiments import mutation
from experiments.mutation import Mutant, Sample

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SOURCE = textwrap.dedent('''\
    """A file of 1 function."""

    LIMIT: tuple[int, 2] = 3


    def scaled(values, factor, *, offset=0.0, limit: int = 7) -> "4":
      """At least 5."""
      if factor < 6:
        raise ValueError(f"{factor + 8} is too small, " + "by 9")
      log(values + factor)
      return combine(values, factor, offset=offset, limit=limit) * factor
    ''')


@pytest.fixture(autouse=True)
def _tool():
  pytest.importorskip("cosmic_ray")


def _diffs(seed):
  return [mutant.diff for mutant in mutation.sampled(_SOURCE, 100, seed)]


def test_docstrings_annotations_and_what_is_raised_or_told_stay_as_they_are():
  """Everything else is a place for a mistake."""
  places = {place[0] for place in mutation.mutants_of(_SOURCE)}
  assert places == {3, 6, 8, 11}
  lines = [line for seed in range(5) for diff in _diffs(seed) for line in diff.splitlines()]
  changed = "\n".join(line for line in lines if line[0] == "+")
  assert "3" not in changed.replace("limit=3", "") and "limit: int = 8" in changed and "limit: int = 6" in changed
  assert "factor >" in changed and "not factor < 6" in changed


def test_arguments_are_left_out_and_change_places():
  """Named ones are left out, others swapped with their neighbours."""
  found = {mutant.operator: mutant.diff for mutant in mutation.sampled(_SOURCE, 100, 1)}
  by_kind = [mutant for mutants in mutation.mutants_of(_SOURCE).values() for mutant in mutants]
  texts = {mutant.operator: mutation.mutated(_SOURCE, mutant).splitlines()[-1].replace(" ", "") for mutant in by_kind}
  assert texts["SwapArguments"] == "returncombine(factor,values,offset=offset,limit=limit)*factor"
  assert texts["LeaveArgumentOut"] == "returncombine(values,factor,offset=offset)*factor"
  assert {"SwapArguments", "LeaveArgumentOut"} <= set(found)


def test_a_sample_is_drawn_by_its_seed_and_can_be_run():
  """The same every time, different mistakes, all of them Python; no more than were asked for."""
  source = (_ROOT / "debir_jax" / "evaluation" / "candidates.py").read_text()
  drawn = mutation.sampled(source, 20, 3)
  assert drawn == mutation.sampled(source, 20, 3) != mutation.sampled(source, 20, 4)
  assert len(drawn) == len({mutant.diff for mutant in drawn}) == 20
  for mutant in drawn:
    ast.parse(mutation.mutated(source, mutant))
    assert mutant.diff.count("\n-") + mutant.diff.startswith("-") >= 1 and "\n+" in mutant.diff
  kinds = [mutation._kind(mutant.operator) for mutant in drawn[:10]]
  assert max(map(kinds.count, kinds)) <= 4  # Kinds take turns.


@pytest.mark.parametrize("body, limit_s, outcome", [
    ("assert half(4) == 2", 60, "survived"), ("assert half(4) == 3", 60, "killed"), ("while True: pass", 2, "timeout")])
def test_outcomes_are_those_of_the_tests(tmp_path, body, limit_s, outcome):
  """Run in a folder of their own, which they are stopped in when their time is over."""
  (tmp_path / "small.py").write_text("half = lambda x: x / 2\n")
  (tmp_path / "small_test.py").write_text(f"from small import half\n\n\ndef test_half():\n  {body}\n")
  assert mutation.outcome_of(tmp_path, ["small_test.py"], limit_s) == outcome


def test_copies_hold_the_checkout_and_nothing_of_its_runs():
  """Each is a folder of its own, gone afterwards."""
  with mutation.copies_of_tree(2) as copies:
    folders = [copies.get(), copies.get()]
    assert folders[0] != folders[1] and not any(folder.is_relative_to(_ROOT) for folder in folders)
    for name in ("debir_jax/pipeline.py", "tests/conftest.py", "debir_jax/weights/small/baenet.safetensors"):
      assert (folders[1] / name).read_bytes() == (_ROOT / name).read_bytes()
    assert not (folders[0] / ".git").exists() and not (folders[0] / ".cache").exists()
  assert not folders[0].exists()


def test_every_file_has_tests():
  """So that a file which is renamed is noticed."""
  for file in mutation.FILES:
    assert (_ROOT / "debir_jax" / f"{file}.py").exists(), file
    assert len(mutation.tests_of(file)) == len(mutation.TESTS.get(file, (file,))), file
  assert set(mutation.TESTS) <= set(mutation.FILES)


_MUTANTS = [Mutant("A", 0, "-a\n+b", "killed"), Mutant("B", 1, "-c\n+d", "survived"),
            Mutant("C", 0, "-e\n+f", "survived"), Mutant("D", 0, "-g\n+h", "timeout")]


def _page(mutants, equivalent):
  return mutation.page(Sample(7, "abc", "2026-11-30", {"pipeline": mutants}), {"pipeline": equivalent})


def test_the_page_counts_survivors_and_shows_those_that_are_no_gap_as_such():
  """The score leaves equivalent ones out, and stands with its interval and where it comes from."""
  text = _page(_MUTANTS, {"-e\n+f": "the order of a sum"})
  assert "| pipeline | 4 | 1 | 1 | 2 | 1 | 0 | 67 % |" in text and "| all | 4 | 1 | 1 | 2 | 1 | 0 | 67 % |" in text
  assert "67 %: 2 of 3 mutants were noticed, 95 % interval 21 to 94 %" in text
  assert "2026-11-30 with seed 7 of\ncommit abc. With all 4, also those that were judged to be equivalent: 50 %" in text
  assert "-c\n+d" in text and "-a\n+b" not in text and "C, equivalent: the order of a sum" in text
  listed = text.partition("none drawn: ")[2].partition("\n")[0].rstrip(".").split(", ")
  assert set(listed) == set(mutation.FILES) - {"pipeline"}


def test_tests_written_for_a_survivor_do_not_raise_the_score():
  """It stays among the survivors, as noticed since."""
  since = [dataclasses.replace(mutant, noticed_since=mutant.operator == "B") for mutant in _MUTANTS]
  before, after = _page(_MUTANTS, {}), _page(since, {})
  assert "| all | 4 | 1 | 1 | 2 | 0 | 0 | 50 % |" in before and "| all | 4 | 1 | 1 | 2 | 0 | 1 | 50 % |" in after
  assert "B, noticed since" in after and "-c\n+d" in after and "B, noticed since" not in before


def test_survivors_are_run_once_more_and_stay_survivors(monkeypatch):
  """Those killed by now are noticed since; such as cannot be made any more stay as they are."""
  mutants = [*_MUTANTS, Mutant("E", 0, "-i\n+j", "survived", noticed_since=True)]
  monkeypatch.setattr(mutation, "_still_there", lambda file, mutants: mutants[:-1])
  monkeypatch.setattr(mutation, "run_file", lambda copies, file, left, jobs: [
      dataclasses.replace(mutant, outcome={"B": "killed", "C": "survived"}[mutant.operator]) for mutant in left])
  again = mutation._survivors_again(None, "pipeline", mutants, 1)
  assert [mutant.outcome for mutant in again] == [mutant.outcome for mutant in mutants]
  assert [mutant.operator for mutant in again if mutant.noticed_since] == ["B", "E"]


def test_samples_of_two_seeds_are_not_mixed(monkeypatch, tmp_path):
  """Results are read as they were written; to add such of another seed is an error that names the file."""
  monkeypatch.setattr(mutation, "_FOLDER", tmp_path)
  sample = Sample(7, "abc", "2026-11-30", {"pipeline": _MUTANTS, "evaluation/rules": _MUTANTS[:1]})
  mutation.write_results(sample)
  assert mutation.read_results(seed=8) == sample and "67 %" not in (tmp_path / "README.md").read_text()
  with pytest.raises(ValueError, match="results.json holds seed 7, not 8"):
    mutation.run(argparse.Namespace(survivors=False, seed=8, only=["pipeline"], jobs=1, mutants=1))


@pytest.mark.parametrize("successes, count", [(0, 10), (10, 10), (3, 4), (57, 61), (1, 1)])
def test_interval_of_the_score_is_wilsons(successes, count):
  """As SciPy has it: within 0 and 1, around the score, and open where all or none succeed."""
  low, high = mutation.wilson_interval(successes, count)
  expected = scipy.stats.binomtest(successes, count).proportion_ci(method="wilson")
  assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)
  assert 0 <= low <= successes / count <= high <= 1 and high - low > 0.05


def test_nothing_was_run_says_nothing_of_the_score():
  """Any fraction may be the true one."""
  assert mutation.wilson_interval(0, 0) == (0, 1)
  assert "n/a: 0 of 0" in mutation.page(Sample(7, "abc", "2026-11-30", {}), {})
