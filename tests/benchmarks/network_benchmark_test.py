"""The benchmark of the networks survives programs that fail, and its ratios mean what they say."""

import argparse
import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))
import networks  # noqa: E402

_PROGRAM = dict(group="raft", program="release", size=128, batch=1, dtype="float32", features=8, remat="none",
                xla_options="")
_CASE = _PROGRAM | dict(library="ours", repeats=1)


def limits(**changes):
  return argparse.Namespace(**(dict(time_limit=300.0, memory_limit=0.9, once=False, repeats=1, cache=None) | changes))


@pytest.mark.parametrize("changes, reason", [(dict(time_limit=0.5), "over 0 s"), (dict(memory_limit=1e-4), "GB")])
def test_a_process_beyond_its_limits_is_stopped_and_says_so(changes, reason):
  assert reason in networks.run_process(_CASE, limits(**changes))["failure"]


def test_an_error_of_a_program_becomes_its_failure():
  assert "ValueError" in networks.run_process(_CASE | dict(size=64), limits())["failure"]


def test_one_of_the_programs_runs():
  """Times, memory and compilation are positive."""
  numbers = networks.run_process(_CASE | dict(group="bae", program="packed", size=16), limits())
  assert {"wall_s", "processor_s", "peak_mb", "compile_s"} <= set(numbers)
  assert all(value > 0 for value in numbers.values()), numbers


def test_compilation_is_timed_without_and_with_the_cache_and_a_failure_has_no_times(capsys):
  """With `once` there is a single process, and memory is that of the arrays."""
  program = _PROGRAM | dict(group="bae", program="packed", size=16)
  ours = networks.compare(program, ["ours"], limits())["ours"]
  assert ours["wall_s"] > 0 and ours["compile_cached_s"] > 0 and ours["compile_s"] > 0
  once = networks.compare(program, ["ours"], limits(once=True))["ours"]
  assert "compile_cached_s" not in once and once["peak_mb"] == once["arrays_mb"]
  capsys.readouterr()
  assert "failure" in networks.compare(_PROGRAM | dict(size=64), ["ours"], limits())["ours"]
  assert capsys.readouterr().out.count("ValueError") == 1


def test_ratios_above_one_mean_that_ours_is_better(capsys):
  """Twice the time and half the memory of ours; a failure has no ratio."""
  ours = dict(wall_s=1.0, processor_s=2.0, peak_mb=100.0, compile_s=3.0, compile_cached_s=0.5)
  theirs = dict(wall_s=2.0, processor_s=4.0, peak_mb=50.0)
  programs = [_PROGRAM | dict(libraries={"ours": ours, "torch": torch}) for torch in (theirs, dict(failure="too big"))]
  networks.print_table(programs)
  measured, failed = capsys.readouterr().out.strip().splitlines()[-2:]
  assert measured.endswith("| 1000.0 | 2000.0 | 100 | 3.0 | 0.5 | 2000.0 | 4000.0 | 50 | 2.00 | 2.00 | 0.50 |")
  assert failed.endswith("| too big | - | - | - | - | - |")
