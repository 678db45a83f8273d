"""Our networks against PyTorch's: time, compilation and memory, measured in one run.

  python experiments/benchmarks/networks.py                                # everything, an hour on 2 cores
  python experiments/benchmarks/networks.py --cases raft bae latency       # the small ones, minutes
  python experiments/benchmarks/networks.py --cases restorer --sizes 64 --batches 1 --features 16

prints a table and writes experiments/benchmarks/results/networks_<device>.json after every program.

restorer  Burstormer on bursts of 4 frames: forward, and the gradient of an L1 loss to the weights.
bae       BAENet: 6 planes at the packed size of the preview, and 5 at twice that, as in the authors' release.
raft      RAFT-small, 20 updates, at the packed size.
latency   From two developed previews to BAENet's outputs, motion included (paper: 0.023 s). "packed": Lucas-Kanade and
          6 planes, our default (PyTorch runs RAFT in its place); "release": RAFT-small and 5 planes on both sides.

The PyTorch side is torch_networks.py: eager, channels_last, threads bound to cores. Each program of each library runs
in a process of its own, ours and PyTorch's in turn, twice: the second process of ours finds its program in JAX's
cache on disk. Times are minima over all runs; memory is what the process takes beyond its imports (on a GPU: what the
library has allocated at most), ours from the second process, as the first one's peak is the compiler's. What XLA says
its arrays take is in the JSON. A process that takes more memory or time than it may is stopped, and the table says so.

With CUDA: float32 and bfloat16 (PyTorch: autocast), and torch.compile beside eager PyTorch. On a GPU that is lent by
the minute,

  python experiments/benchmarks/networks.py --cases restorer --sizes 128 --batches 4 --dtypes bfloat16 --once

is done with a program after its first processes. Ours then has no time for compilation from the cache, and its memory
is what XLA says that the arrays take. Do not let anything else compile or run beside it: compilation then takes many
times as long, and chooses badly. --cache DIR keeps what XLA compiled and tuned, for gpu_profile.py and later runs.

--remat and --xla-options are of our gradient alone: PyTorch is measured once beside all of them.
"""

import argparse
import datetime
import importlib.util
import itertools
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from network_programs import Case

_FOLDER = pathlib.Path(__file__).resolve().parent
_GROUPS = ("restorer", "bae", "raft", "latency")
_PROGRAMS = {"restorer": ("forward", "gradient"), "bae": ("packed", "release"), "raft": ("release",),
             "latency": ("packed", "release")}
_POLL_S = 0.05
_OURS = ("remat", "xla_options")  # What PyTorch's side has not: it is measured once beside all of them.


def main():
  args = _parse()
  info = run_process("describe", args)
  if "failure" in info:
    sys.exit(f"The libraries do not start: {info['failure']}")
  libraries = _libraries(args, info)
  results = {"hardware": _hardware(info), "versions": info["versions"], "command": " ".join(["python", *sys.argv]),
             "date": datetime.date.today().isoformat(), "programs": []}
  path = pathlib.Path(args.out or _FOLDER / "results" / f"networks_{info['device'].replace(' ', '_')}.json")
  path.parent.mkdir(parents=True, exist_ok=True)
  measured = set()
  for program in _programs(args, info):
    shared = tuple(value for name, value in program.items() if name not in _OURS)
    numbers = compare(program, libraries[:1] if shared in measured else libraries, args)
    measured.add(shared)
    results["programs"].append(program | {"libraries": numbers})
    path.write_text(json.dumps(results, indent=2) + "\n")
  print_table(results["programs"])
  print(f"\n{results['hardware']}\n{results['versions']}\nwritten to {path}")


def _parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--cases", nargs="+", choices=_GROUPS, default=_GROUPS, help="what to measure")
  parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128],
                      help="height and width of the restorer's packed frames, multiples of 4")
  parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="bursts per call of the restorer")
  parser.add_argument("--features", type=int, default=48, help="of the restorer, a multiple of 8; the paper has 48")
  parser.add_argument("--preview-size", type=int, default=128,
                      help="packed height and width of the previews of bae, raft and latency; RAFT wants at least 128")
  parser.add_argument("--programs", nargs="+", choices=_PROGRAMS["restorer"], default=_PROGRAMS["restorer"],
                      help="of the restorer")
  parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=None,
                      help="of the restorer; the default is both with CUDA, else float32")
  parser.add_argument("--remat", nargs="+", choices=("none", "blocks", "stages"), default=["none"],
                      help="what our restorer's gradient computes again to save memory")
  parser.add_argument("--xla-options", nargs="+", default=[""], metavar="NAME=VALUE[,NAME=VALUE]",
                      help="compiler options of our restorer's gradient, '' for none: "
                           "'' xla_gpu_enable_triton_gemm=False measures it without and with")
  parser.add_argument("--once", action="store_true", help="one process per program and library, not two: see above")
  parser.add_argument("--cache", default=None, metavar="DIR",
                      help="keep JAX's compiled programs here; what is there already is not compiled again")
  parser.add_argument("--repeats", type=int, default=5, help="runs per process, after one that warms up")
  parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=None,
                      help="measure PyTorch too; the default where it is installed")
  parser.add_argument("--torch-compile", action=argparse.BooleanOptionalAction, default=None,
                      help="measure torch.compile too; the default with CUDA")
  parser.add_argument("--time-limit", type=float, default=1800, metavar="S",
                      help="of one process, seconds")
  parser.add_argument("--memory-limit", type=float, default=0.85, metavar="FRACTION",
                      help="of one process, as a fraction of the machine's memory")
  parser.add_argument("--out", default=None, help="the JSON file to write")
  args = parser.parse_args()
  if args.torch is None:
    args.torch = importlib.util.find_spec("torch") is not None
  if any(size % 4 for size in args.sizes) or args.features % 8:
    parser.error(f"--sizes must be multiples of 4 and --features of 8, got {args.sizes} and {args.features}.")
  return args


def _libraries(args, info) -> list[str]:
  compiled = info["cuda"] if args.torch_compile is None else args.torch_compile
  return ["ours"] + ["torch"] * args.torch + ["torch.compile"] * (args.torch and compiled)


def _programs(args, info) -> list[dict[str, Any]]:
  """What is measured: the fields of `Case` but for the library and repeats."""
  programs = []
  for group in args.cases:
    sizes, batches, dtypes, ours = [args.preview_size], [1], ["float32"], [("none", "")]
    if group == "restorer":
      sizes, batches = args.sizes, args.batches
      dtypes = args.dtypes or dtypes + ["bfloat16"] * info["cuda"]
      ours = list(itertools.product(args.remat, args.xla_options))
    names = args.programs if group == "restorer" else _PROGRAMS[group]
    for dtype, size, batch, program in itertools.product(dtypes, sizes, batches, names):
      for remat, options in ours if program == "gradient" else ours[:1]:
        programs.append(dict(group=group, program=program, size=size, batch=batch, dtype=dtype,
                             features=args.features, remat=remat, xla_options=options))
  return programs


def compare(program: dict[str, Any], libraries: list[str], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
  """Numbers of each library for a program, from two processes each, in turn; after a failure no second one."""
  numbers = {}
  with tempfile.TemporaryDirectory() as cache:
    cache = args.cache or cache
    for turn in range(1 if args.once else 2):
      for library in libraries:
        if "failure" in numbers.get(library, {}):
          continue
        new = run_process(Case(library=library, repeats=args.repeats, **program)._asdict(), args, cache)
        if args.once and "arrays_mb" in new:  # The peak is the compiler's.
          new["peak_mb"] = new["arrays_mb"]
        numbers[library] = _merged(numbers[library], new) if turn else new
        print(f"{_title(program)}: {library:14s}{_summary(new)}", flush=True)
  return numbers


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
  """Both processes' numbers: minima of times; compilation without and with the cache, memory of the second."""
  if "failure" in second:
    return second
  merged = {name: min(first[name], second[name]) for name in ("wall_s", "processor_s")} | {"peak_mb": second["peak_mb"]}
  if "compile_s" in first:
    merged |= {"compile_s": first["compile_s"], "compile_cached_s": second["compile_s"],
               "peak_compiling_mb": first["peak_mb"]}
  if "arrays_mb" in second:
    merged["arrays_mb"] = second["arrays_mb"]
  return merged


def run_process(request: Any, args: argparse.Namespace, cache: str = "") -> dict[str, Any]:
  """What `network_programs.py` prints about the request, or {"failure": reason}."""
  # Threads that OpenMP does not bind to cores were seen to share one, with PyTorch 25 times slower.
  environment = os.environ | {"OMP_PROC_BIND": os.environ.get("OMP_PROC_BIND", "true")}
  if cache:
    environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
  command = [sys.executable, str(_FOLDER / "network_programs.py"), json.dumps(request)]
  with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
    process = subprocess.Popen(command, stdout=out, stderr=errors, env=environment)
    failure = _watch(process, args)
    out.seek(0)
    errors.seek(0)
    if not failure and process.returncode:
      failure = _reason(process.returncode, errors.read())
    return {"failure": failure} if failure else json.loads(out.read().strip().splitlines()[-1])


def _watch(process: subprocess.Popen, args: argparse.Namespace) -> str:
  """Waits for the end of a process; stops it if it goes beyond its limits, and says beyond which."""
  start, failure = time.monotonic(), ""
  limit_mb = args.memory_limit * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
  while not failure:
    try:
      process.wait(_POLL_S)
      return ""
    except subprocess.TimeoutExpired:
      if time.monotonic() > start + args.time_limit:
        failure = f"over {args.time_limit:.0f} s"
      elif _resident_mb(process.pid) > limit_mb:
        failure = f"over {limit_mb / 1e3:.1f} GB"
  process.kill()
  process.wait()
  return failure


def _resident_mb(pid: int) -> float:
  """Memory that a process holds; 0 where the system does not say."""
  try:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
  except (OSError, IndexError):  # No /proc, or the process has just ended.
    return 0.0
  return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _reason(returncode: int, errors: str) -> str:
  """In a few words, why a process failed."""
  if returncode == -9:
    return "killed by the system, which had no memory left"
  if re.search("out of memory|can't allocate memory|resource_exhausted", errors, re.IGNORECASE):
    return "out of memory"
  named = re.findall(r"^[\w.]+(?:Error|Exception): .*$", errors, re.MULTILINE)
  return named[-1][:200] if named else f"exit code {returncode}"


def _hardware(info) -> dict[str, Any]:
  cpu = platform.processor() or platform.machine()
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    pass
  memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
  return {"device": info["device"], "cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory_gb, 1)}


def _title(program) -> str:
  size = program["size"]
  if program["group"] == "restorer":
    title = f"{program['program']}, {program['features']} features, {program['batch']} x 4 frames of {size}x{size}"
    title += f", {program['dtype']}" if program["dtype"] != "float32" else ""
    title += f", remat {program['remat']}" if program["remat"] != "none" else ""
    return title + (f", {program['xla_options']}" if program["xla_options"] else "")
  if program["group"] == "bae":
    size = 2 * size if program["program"] == "release" else size
    return f"BAENet, {dict(packed=6, release=5)[program['program']]} planes of {size}x{size}"
  return f"{program['group']}, {program['program']}, previews of {size}x{size}"


def _summary(numbers) -> str:
  if "failure" in numbers:
    return numbers["failure"]
  compile_text = f", compilation {numbers['compile_s']:.1f} s" if "compile_s" in numbers else ""
  return (f"{1e3 * numbers['wall_s']:.1f} ms wall, {1e3 * numbers['processor_s']:.1f} ms processor, "
          f"{numbers['peak_mb']:.0f} MB{compile_text}")


def print_table(programs: list[dict[str, Any]]):
  """Markdown: a line per program; times and memory of each library, PyTorch by ours: above 1, ours is better."""
  others = [library for library in dict.fromkeys(name for program in programs for name in program["libraries"])
            if library != "ours"]
  header = ["program", "ours ms", "processor ms", "MB", "compile s", "cached s"]
  for library in others:
    header += [f"{library} ms", "processor ms", "MB", "wall ratio", "processor ratio", "memory ratio"]
  print("\n| " + " | ".join(header) + " |\n|" + "---|" * len(header))
  for program in programs:
    ours = program["libraries"]["ours"]
    cells = [_title(program), *_cells(ours)]
    cells += [f"{ours[name]:.1f}" if name in ours else "-" for name in ("compile_s", "compile_cached_s")]
    for library in others:
      theirs = program["libraries"].get(library, {})
      cells += [*_cells(theirs), *(_ratio(theirs, ours, name) for name in ("wall_s", "processor_s", "peak_mb"))]
    print("| " + " | ".join(cells) + " |")


def _cells(numbers) -> list[str]:
  if "wall_s" not in numbers:
    return [numbers.get("failure", "-"), "-", "-"]
  return [f"{1e3 * numbers['wall_s']:.1f}", f"{1e3 * numbers['processor_s']:.1f}", f"{numbers['peak_mb']:.0f}"]


def _ratio(theirs, ours, name) -> str:
  return f"{theirs[name] / ours[name]:.2f}" if name in theirs and ours.get(name, 0) > 0 else "-"


if __name__ == "__main__":
  main()
