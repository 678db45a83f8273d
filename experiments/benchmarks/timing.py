"""How long a program takes at best."""

from collections.abc import Callable
import time


def best_times(program: Callable[[], object], repeats: int) -> tuple[float, float]:
  """Least wall and processor seconds of a run that `program()` waits for, after one run to warm up."""
  program()
  runs = []
  for _ in range(repeats):
    wall, processor = time.perf_counter(), time.process_time()
    program()
    runs.append((time.perf_counter() - wall, time.process_time() - processor))
  wall_s, processor_s = [min(times) for times in zip(*runs)]
  return wall_s, processor_s
