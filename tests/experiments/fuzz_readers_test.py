"""Readers of videos and images against damaged files, a few of the thousands of `experiments.fuzz_readers`."""

import pathlib

import numpy as np
import pytest

from experiments import fuzz_readers

pytest.importorskip("av", reason="the extra data is not installed")


@pytest.fixture(scope="module")
def seeds():
  return fuzz_readers.seeds(None)


def test_damaged_files_are_read_or_refused_by_name(seeds, tmp_path):
  """In this process: what crashes or hangs fails the test run."""
  ended = []
  for number in range(150):
    name, content = fuzz_readers.case(number, seeds, 1)
    path = tmp_path / f"case{pathlib.PurePath(name).suffix}"
    path.write_bytes(content)
    ended.append(fuzz_readers.read(path, content, 2))
  assert set(ended) == {"read", "refused"}


def test_whole_files_are_read(seeds, tmp_path):
  """The seeds themselves."""
  for name, content in seeds:
    (tmp_path / name).write_bytes(content)
    assert fuzz_readers.read(tmp_path / name, content, 9) == "read"


def test_cases_are_the_same_whenever_they_are_asked_for(seeds):
  """So that a fault can be looked at again."""
  assert fuzz_readers.case(7, seeds, 0) == fuzz_readers.case(7, seeds, 0) != fuzz_readers.case(8, seeds, 0)
  rng = np.random.default_rng(0)
  assert all(fuzz_readers.mutated(b"", rng) == b"" for _ in range(20))
