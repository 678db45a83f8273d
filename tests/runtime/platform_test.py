"""Huge pages: a program asks for them once, and is the same program then."""

import json
import os
import subprocess
import sys

import pytest

from debir_jax.runtime import platform

_PROGRAM = """
import json, os, re, sys
from debir_jax.runtime.platform import prepare_memory
if __name__ == "__main__":
  print("started")
  prepare_memory()
  array = bytearray(2**27)
  array[::4096] = b"1" * len(array[::4096])
  huge = int(re.search(r"AnonHugePages: *(\\d+)", open("/proc/self/smaps_rollup").read())[1])
  print(json.dumps(dict(arguments=sys.argv[1:], tunables=os.environ.get("GLIBC_TUNABLES", ""), huge_kb=huge)))
"""

_on_request = pytest.mark.skipif(
    sys.platform != "linux" or not platform._gives_huge_pages_on_request()
    or platform._glibc_version() < (2, 35), reason="no huge pages on request here")


def run(tmp_path, tunables=None):
  """Lines that the program prints."""
  (tmp_path / "program.py").write_text(_PROGRAM)
  environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
  environment |= {"GLIBC_TUNABLES": tunables} if tunables is not None else {}
  command = [sys.executable, str(tmp_path / "program.py"), "--option=1 2", "*"]
  return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@_on_request
def test_a_program_starts_again_with_its_arguments_and_gets_huge_pages(tmp_path):
  first, second, found = run(tmp_path)
  assert first == second == "started"
  found = json.loads(found)
  assert found["arguments"] == ["--option=1 2", "*"] and found["tunables"] == "glibc.malloc.hugetlb=1"
  assert found["huge_kb"] > 2**16


@_on_request
@pytest.mark.parametrize("tunables, starts", [("glibc.malloc.hugetlb=0", 1), ("glibc.malloc.perturb=0", 2)])
def test_what_the_user_says_holds(tmp_path, tunables, starts):
  """A word about huge pages is left alone, others are kept beside it."""
  lines = run(tmp_path, tunables)
  assert lines.count("started") == starts
  assert json.loads(lines[-1])["tunables"].startswith(tunables)


def test_without_such_pages_nothing_starts_again(monkeypatch):
  monkeypatch.setattr(platform, "_gives_huge_pages_on_request", lambda: False)
  monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail("started again"))
  monkeypatch.setenv("GLIBC_TUNABLES", "")
  monkeypatch.setattr(platform.ctypes, "CDLL", lambda name: object())  # The tests keep their memory as it is.
  platform.prepare_memory()
  assert os.environ["GLIBC_TUNABLES"] == ""
