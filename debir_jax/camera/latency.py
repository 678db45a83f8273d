"""How long a burst takes, stage by stage: from two previews to a plan, and with --burst to the restored image.

  python -m debir_jax.camera.latency --size 128 --count 100
  python -m debir_jax.camera.latency --burst --count 20 --to runs/latency

A loop around a simulated camera that sees a photo in motion. "from previews to plan" is `debir_jax.camera.meter.meter`,
what a camera waits for before the burst; motion and BAENet, its two networks' part, are told alone and as one program.
The paper has 0.023 s for flow and BAENet on a GPU. The size is that of the previews in packed px: 128 for mosaics of
256 px. With --to, latency.json and table.md are written into a folder.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import os
import sys
import time
from typing import Any
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.cameras import capture_starts_s, take_burst
from debir_jax.camera.meter import meter
from debir_jax.camera.real_burst import real_burst
from debir_jax.camera.restore import restore_frames
from debir_jax.camera.simulated_camera import SimulatedCamera
from debir_jax.policies import observe
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path, write_json, write_text
from debir_jax.scenes import builtin_photos, moving_photo
from debir_jax.simulator import IsoNoise
from debir_jax.types import CameraColor
from debir_jax.weights.model import Debir, load

_WARMUP = 3
_PAPER_S = 0.023
_SPEED_PX_S = 360.0


def main(argv: Sequence[str]) -> None:
  """Reads the options, measures, prints and writes; what is wrong is told in a line, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError, RuntimeError):
    run(options)


def run(options: argparse.Namespace) -> None:
  """The command.

  Raises:
    ValueError, OSError, ImportError, RuntimeError: with what is wrong, and the way on.
  """
  folder = local_path(options.to, "--to") if options.to else None
  model = load(options.weights)
  seconds = latencies(model, options.size, options.count, burst=options.burst)
  device = jax.devices()[0]
  where = (f"On {device.device_kind} ({device.platform}), {os.cpu_count()} CPU cores, load average "
           f"{os.getloadavg()[0]:.1f}; previews of {options.size} packed px. The paper: {1e3 * _PAPER_S:.0f} ms for "
           "motion and BAENet.")
  text = f"{table(seconds)}\n\n{where}"
  print(text)
  if folder:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", text + "\n")
    write_json(folder / "latency.json", dict(
        device=device.device_kind, platform=device.platform, num_cores=os.cpu_count(), load_average=os.getloadavg()[0],
        size_px=options.size, count=options.count, stages={name: _summary(taken) for name, taken in seconds.items()}))


def latencies(model: Debir, size: int, count: int, *, burst: bool = False) -> dict[str, np.ndarray]:
  """Seconds `[count]` of every stage, after a few runs that do not count.

  Args:
    model: with a BAENet; with both networks for the burst.
    size: of the previews, packed px.
    count: how often each stage is run.
    burst: also take the burst by the plan, and restore it.

  Raises:
    ValueError: there is no BAENet or restorer, or nothing to measure.
  """
  if model.policy is None:
    raise ValueError("These weights hold no BAENet. Give others: --weights.")
  if size < 32 or size % 4 or count < 1:
    raise ValueError(f"--size={size} must be a multiple of 4 from 32 packed px on, and --count={count} 1 or more.")
  scene = moving_photo(builtin_photos(), 2 * size, _SPEED_PX_S, model.timing, seed=0)
  with SimulatedCamera(scene=scene, timing=model.timing, noise_model=model.noise_model or IsoNoise()) as camera:
    frames = camera.previews()
    seconds = _by_turns(_metering(model, camera, frames), count)
    if burst:
      seconds |= _by_turns(_burst(model, camera, frames), count)
  return seconds


def _metering(model, camera, frames) -> dict[str, Callable[[], Any]]:
  key, color = jax.random.key(0), CameraColor.neutral()
  host = np.clip(np.stack([frame.packed() for frame in frames]), 0, 1)
  previews, gain = jnp.asarray(host), jnp.float32(camera.preview_gain)
  look = jax.jit(lambda previews: observe(previews, gain, color, model.motion, model.timing))
  choose = jax.jit(lambda observation: model.policy(key, observation, model.timing))
  both = jax.jit(lambda previews: choose(look(previews)))
  observation = look(previews)
  return {"previews to the device": lambda: jnp.asarray(host), "motion": lambda: look(previews),
          "BAENet": lambda: choose(observation), "motion and BAENet": lambda: both(previews),
          "from previews to plan": lambda: meter(model, frames, camera.limits)}


def _burst(model, camera, frames) -> dict[str, Callable[[], Any]]:
  plan = meter(model, frames, camera.limits)
  capture = take_burst(camera, plan)
  burst = real_burst(capture.frames, starts_s=capture_starts_s(capture.plan), preview=frames[1])
  return {"burst, simulated": lambda: take_burst(camera, plan), "restoring": lambda: restore_frames(model, burst)}


def table(seconds: Mapping[str, np.ndarray]) -> str:
  """Markdown, in ms."""
  lines = ["| stage | median, ms | 90 % below, ms |", "|---|---|---|"]
  lines += [f"| {name} | {summary['median_ms']:.2f} | {summary['p90_ms']:.2f} |"
            for name, summary in ((name, _summary(taken)) for name, taken in seconds.items())]
  return "\n".join(lines)


def _summary(seconds) -> dict[str, float]:
  return dict(median_ms=1e3 * float(np.median(seconds)), p90_ms=1e3 * float(np.quantile(seconds, 0.9)))


def _by_turns(stages, count) -> dict[str, np.ndarray]:
  """Seconds of every stage, one after the other in every turn, as a loop runs them."""
  taken = {name: [] for name in stages}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # What the networks were not trained for is told once by the commands.
    for _ in range(_WARMUP + count):
      for name, stage in stages.items():
        start_s = time.perf_counter()
        jax.block_until_ready(stage())
        taken[name].append(time.perf_counter() - start_s)
  return {name: np.array(values[_WARMUP:]) for name, values in taken.items()}


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.latency", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--size", type=int, default=128, help="side of the previews, packed px")
  add("--count", type=int, default=100, help="how often each stage is run")
  add("--burst", action="store_true", help="also take the burst, simulated, and restore it")
  add("--weights", help="a name, folder or file, see debir_jax.load; default: the package's own")
  add("--to", help="folder for latency.json and table.md")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
