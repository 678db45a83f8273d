"""How long metering takes, stage by stage: from two previews to a plan.

  python -m debir_jax.camera.latency --size 128 --count 100

The size is that of the previews in packed px: 128 for mosaics of 256 px. The paper has 0.023 s for flow and BAENet on a
GPU; here they are one program, as a loop around a camera runs it, and each alone.
"""

import argparse
from collections.abc import Callable, Sequence
import os
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.limits import NS_PER_S, CameraLimits
from debir_jax.camera.plan import Expectations, plan_frames
from debir_jax.policies import observe
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.types import CameraColor
from debir_jax.weights.model import Debir, load

_WARMUP = 3
_PAPER_S = 0.023


def main(argv: Sequence[str]) -> None:
  """Reads the options, measures and prints."""
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.latency", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", type=int, default=128, help="side of the previews, packed px")
  parser.add_argument("--count", type=int, default=100, help="how often each stage is run")
  parser.add_argument("--weights", help="a name, folder or file, see debir_jax.load; default: the package's own")
  options = parser.parse_args(argv)
  with told_in_a_line(ValueError, OSError):
    print(table(latencies(load(options.weights), options.size, options.count)))
  device = jax.devices()[0]
  print(f"\nOn {device.device_kind} ({device.platform}), {os.cpu_count()} CPU cores, load average "
        f"{os.getloadavg()[0]:.1f}; previews of {options.size} packed px. The paper: {1e3 * _PAPER_S:.0f} ms for "
        "motion and BAENet.")


def latencies(model: Debir, size: int, count: int) -> dict[str, np.ndarray]:
  """Seconds `[count]` of every stage, after a few runs that do not count.

  Raises:
    ValueError: there is no BAENet, or nothing to measure.
  """
  if model.policy is None:
    raise ValueError("These weights hold no BAENet. Give others: --weights.")
  if size < 32 or count < 1:
    raise ValueError(f"--size={size} must be 32 packed px or more, and --count={count} 1 or more.")
  key, color = jax.random.key(0), CameraColor.neutral()
  previews = jax.random.uniform(jax.random.key(1), (2, size, size, 4))
  gain = jnp.float32(700.0)
  look = jax.jit(lambda previews: observe(previews, gain, color, model.motion, model.timing))
  choose = jax.jit(lambda observation: model.policy(key, observation, model.timing))
  both = jax.jit(lambda previews: choose(look(previews)))
  observation, times = look(previews), np.asarray(both(previews)).tolist()
  expected = Expectations(speed_px_s=100.0, noise_std=lambda iso: 0.1)
  plan = lambda: plan_frames(times, 583.0, CameraLimits(), expected, round(model.timing.budget_s * NS_PER_S))
  host = np.asarray(previews)
  stages = {"previews to the device": lambda: jnp.asarray(host), "motion": lambda: look(previews),
            "BAENet": lambda: choose(observation), "motion and BAENet": lambda: both(previews), "plan": plan}
  return {name: _seconds(stage, count) for name, stage in stages.items()}


def table(seconds: dict[str, np.ndarray]) -> str:
  """Markdown, in ms."""
  lines = ["| stage | median, ms | 90 % below, ms |", "|---|---|---|"]
  lines += [f"| {name} | {1e3 * np.median(values):.2f} | {1e3 * np.quantile(values, 0.9):.2f} |"
            for name, values in seconds.items()]
  return "\n".join(lines)


def _seconds(stage: Callable[[], Any], count: int) -> np.ndarray:
  taken = []
  for _ in range(_WARMUP + count):
    start_s = time.perf_counter()
    jax.block_until_ready(stage())
    taken.append(time.perf_counter() - start_s)
  return np.array(taken[_WARMUP:])


if __name__ == "__main__":
  main(sys.argv[1:])
