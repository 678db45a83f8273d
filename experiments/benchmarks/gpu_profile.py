"""Which kernels of a GPU take the time of a program of ours? A trace of a few runs, added up by kernel and by place.

  python experiments/benchmarks/gpu_profile.py --program gradient --dtype bfloat16 --cache /tmp/cache
  python experiments/benchmarks/gpu_profile.py --group raft --program release

prints two tables of milliseconds per run: the kernels, and the places in the code that they come from (the names of
Flax modules and functions, with what is computed backward apart). Idle time is what no kernel covers; there is more of
it here than elsewhere, as kernels are launched one by one and not as CUDA graphs. With --cache, what networks.py with
the same --cache has tuned is not tuned again. --out also keeps the trace, for TensorBoard or Perfetto, and the
compiled program as text. On a CPU the tables show XLA's operations instead.
"""

import argparse
import collections
import contextlib
import pathlib
import re
import tempfile
import time

import jax
from network_programs import Case, compiler_options, our_program
from timing import best_times

_PLACE = re.compile(r'%?([\w.-]+) = .*op_name="([^"]*)"')
_WRAPPER = re.compile(r"\w*\(([^()]*)\)")  # jit(attend), jvp(Burstormer)
# Of a name in the compiled program, what says nothing about the place.
_PLUMBING = re.compile(r"cond|branch_\d+_fun|while|body|closed_call|checkpoint|rematted_computation|.*->.*|")
# Where CUDA launches a graph of kernels, a trace does not tell the operation of a kernel.
_NO_GRAPHS = {"xla_gpu_enable_command_buffer": ""}


def main():
  args = _parse()
  if args.cache:
    jax.config.update("jax_compilation_cache_dir", args.cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  case = Case("ours", args.group, args.program, args.size, args.batch, args.features, args.dtype, args.remat,
              args.xla_options, args.repeats)
  fn, inputs = our_program(case)
  jax.block_until_ready(inputs)
  start = time.perf_counter()
  program = jax.jit(fn).lower(*inputs).compile(
      compiler_options(case) | (_NO_GRAPHS if jax.default_backend() == "gpu" else {}))
  compiled_s = time.perf_counter() - start
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(args.out or stack.enter_context(tempfile.TemporaryDirectory()))
    folder.mkdir(parents=True, exist_ok=True)
    text = program.as_text()
    if args.out:
      (folder / "program.txt").write_text(text)
    wall_s, _ = best_times(lambda: jax.block_until_ready(program(*inputs)), args.repeats)
    print(f"compiled in {compiled_s:.1f} s; a run takes {1e3 * wall_s:.2f} ms", flush=True)
    with jax.profiler.trace(str(folder)):
      for _ in range(args.repeats):
        jax.block_until_ready(program(*inputs))
    events = kernels(max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime))
  report(events, places(text), args.repeats, args.rows)


def _parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--group", choices=("restorer", "bae", "raft", "latency"), default="restorer")
  parser.add_argument("--program", default="gradient",
                      help="of the restorer forward or gradient, else packed or release")
  parser.add_argument("--size", type=int, default=128, help="height and width of packed frames")
  parser.add_argument("--batch", type=int, default=4, help="bursts per run")
  parser.add_argument("--features", type=int, default=48, help="of the restorer")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the restorer")
  parser.add_argument("--remat", choices=("none", "blocks", "stages"), default="none", help="of the restorer")
  parser.add_argument("--xla-options", default="", metavar="NAME=VALUE[,NAME=VALUE]", help="of the compiler")
  parser.add_argument("--repeats", type=int, default=10, help="runs in the trace, and as many before it")
  parser.add_argument("--rows", type=int, default=25, help="of each table")
  parser.add_argument("--cache", default=None, metavar="DIR", help="JAX's compiled programs, kept from run to run")
  parser.add_argument("--out", default=None, metavar="DIR", help="where to keep the trace and the program")
  return parser.parse_args()


def kernels(path: pathlib.Path) -> list[tuple[str, str, float, float]]:
  """Of a trace, all that ran on the device: kernel, operation of XLA, start and duration, ns."""
  events = []
  for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
    for line in plane.lines:
      on_gpu = plane.name.startswith("/device:GPU") and line.name.startswith("Stream")
      if not on_gpu and not line.name.startswith(("tf_XLAEigen", "tf_XLAPjRtCpuClient", "tf_XLATfrtCpuClient")):
        continue
      for event in line.events:
        operation = dict(event.stats).get("hlo_op")
        if on_gpu or operation:
          events.append((event.name, str(operation or ""), event.start_ns, event.duration_ns))
  if not events:
    raise ValueError(f"{path}: the trace holds nothing that ran on a device.")
  return events


def places(text: str) -> dict[str, str]:
  """Of a compiled program, operation -> modules and functions that it comes from, "backward" before them if so."""
  found = {}
  for operation, name in _PLACE.findall(text):
    scopes = name
    while _WRAPPER.search(scopes):
      scopes = _WRAPPER.sub(r"\1", scopes)
    scopes = [scope for scope in scopes.split("/")[1:-1] if not _PLUMBING.fullmatch(scope)]
    scopes = [re.sub(r"\d*_\d+$|\d+$", "", scope) for scope in scopes]  # All of a kind together.
    found[operation] = "backward " * ("transpose(" in name) + "/".join(scopes[-2:])
  return found


def report(events, place_of, repeats, rows):
  """Prints both tables and what no kernel covers."""
  busy_ns, reached, first = 0.0, 0.0, min(start for _, _, start, _ in events)
  for _, _, start, duration in sorted(events, key=lambda event: event[2]):
    busy_ns += max(0.0, start + duration - max(start, reached))
    reached = max(reached, start + duration)
  span_ms, busy_ms = (reached - first) / repeats / 1e6, busy_ns / repeats / 1e6
  print(f"{jax.devices()[0].device_kind}: {span_ms:.2f} ms per run, {span_ms - busy_ms:.2f} of them idle, "
        f"{len(events) / repeats:.0f} kernels per run")
  by_kernel = [(name, duration) for name, _, _, duration in events]
  by_place = [(place_of.get(operation, "?"), duration) for _, operation, _, duration in events]
  for title, entries in (("kernel", by_kernel), ("place", by_place)):
    totals, counts = collections.Counter(), collections.Counter()
    for name, duration in entries:
      totals[name] += duration
      counts[name] += 1
    print(f"\n| {title} | ms | share | per run |\n|---|---|---|---|")
    for name, total in totals.most_common(rows):
      ms = total / repeats / 1e6
      print(f"| {name[:100]} | {ms:.3f} | {100 * ms / busy_ms:.1f} % | {counts[name] / repeats:.0f} |")


if __name__ == "__main__":
  main()
