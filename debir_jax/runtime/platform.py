"""What the processor at hand wants: options of its compiler, and memory in large pages."""

import ctypes
import os
import pathlib
import platform
import sys
from typing import Any


def compiler_options() -> dict[str, Any] | None:
  """Options of XLA for the programs of the steps.

  On a CPU this preset makes the gradient of the full Burstormer compile in two thirds of the time and run as fast.
  """
  import jax  # Here, so that a program can start once more before JAX is loaded.
  return {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE"} if jax.default_backend() == "cpu" else None


class PlatformError(RuntimeError):
  """JAX cannot compute where it is told to."""


def check_backend() -> None:
  """Starts JAX's backend.

  Raises:
    PlatformError: there is none of those that JAX_PLATFORMS names, or the accelerator cannot be used.
  """
  import jax
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # The latter where the platform is known but absent.
    wanted = os.environ.get("JAX_PLATFORMS")
    reason = next(iter(str(error).splitlines()), "no such device")
    where = f"JAX_PLATFORMS={wanted} names what JAX cannot use" if wanted else "JAX finds nothing to compute on"
    raise PlatformError(
        f"{where} on this machine ({reason}). Names are cpu, cuda and tpu, in lower case; a GPU wants "
        "`pip install -e \".[cuda12]\"` and a driver. Without the variable JAX takes what there is.") from error


def prepare_memory() -> None:
  """Puts arrays on huge pages. Call it first: the program may start once more.

  After compilation the heap is in small pieces: a step of the quickstart takes 1.2 times as long without huge pages
  (`experiments/benchmarks`). glibc reads when a program starts that it should ask for them, hence the new start; Linux
  gives them on request only, as most distributions set it up. Freed memory is kept, as mapping and clearing pages takes
  part of every step too. With glibc only; elsewhere nothing happens. What the user says in GLIBC_TUNABLES holds, and
  `--nohuge_pages` on the command line switches all of it off.
  """
  if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt") or _switched_off(sys.argv):
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


def _switched_off(argv: list[str]) -> bool:
  """Whether the command line says so; it is read before there is a parser."""
  return any(option.lstrip("-") in ("nohuge_pages", "huge_pages=false", "huge_pages=False") for option in argv[1:])


def _gives_huge_pages_on_request() -> bool:
  try:
    return "[madvise]" in pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
  except OSError:
    return False


def _glibc_version() -> tuple[int, ...]:
  """() where it is unknown."""
  return tuple(int(number) for number in platform.libc_ver()[1].split(".") if number.isdecimal())
