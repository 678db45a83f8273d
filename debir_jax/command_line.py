"""What the commands of this package share: flags and config files."""

import ctypes
import importlib.util
import os
import pathlib
import platform
import sys
import types

from absl import flags
import ml_collections


def parse_flags(argv: list[str]) -> list[str]:
  """Parses flags, --config among them; what is wrong comes as one line with the remedy, not as a traceback."""
  try:
    flags.mark_flags_as_required(["config"])
    return flags.FLAGS(argv)
  except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError, ImportError, flags.Error) as error:
    sys.exit(f"Error: {error}\nconfigs/default.py lists every field; --help explains the options. Run it from the top "
             "folder of the checkout.")


def load_config(path_and_mode: str) -> ml_collections.ConfigDict:
  """The config of a file, with what stands behind a colon as its mode, as with --config."""
  path, _, mode = path_and_mode.partition(":")
  return load_config_module(path).get_config(mode)


def load_config_module(path: str) -> types.ModuleType:
  """The Python module of a config file.

  Raises:
    FileNotFoundError: there is none.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"There is no config {path}. Run it from the top folder of the checkout.")
  spec = importlib.util.spec_from_file_location("config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def prepare_memory() -> None:
  """Puts arrays on huge pages, which one step hands on to the next. Call it first: the program may start once more.

  After compilation the heap is in small pieces: a step of the quickstart took 0.11 to 0.14 s, on huge pages 0.09 s
  (2026-11-27, 2 cores of an AMD EPYC). glibc reads when a program starts that it should ask for them, hence the new
  start; Linux gives them on request only, as most distributions set it up. Freed memory is kept, as mapping and clearing
  pages takes part of every step too. With glibc only; elsewhere nothing happens. What the user says in GLIBC_TUNABLES
  holds.
  """
  if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
    return
  tunables = os.environ.get("GLIBC_TUNABLES", "")
  if "glibc.malloc.hugetlb" not in tunables and _gives_huge_pages_on_request() and _glibc_version() >= (2, 35):
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:glibc.malloc.hugetlb=1".lstrip(":")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
  mmap_max, trim_threshold = -4, -1  # malloc.h
  libc.mallopt(mmap_max, 0)
  libc.mallopt(trim_threshold, 2**31 - 1)


def _gives_huge_pages_on_request() -> bool:
  try:
    return "[madvise]" in pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
  except OSError:
    return False


def _glibc_version() -> tuple[int, ...]:
  """() where it is unknown."""
  return tuple(int(number) for number in platform.libc_ver()[1].split(".") if number.isdecimal())
