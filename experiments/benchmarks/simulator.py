"""How fast is the simulator? Measured against one plain read of the radiance sequence, in one interleaved run.

  python experiments/benchmarks/simulator.py

takes three minutes on 2 CPU cores, prints a table of times and of ratios to the plain read (a sum over the sequence,
the least that anything that looks at all of it can cost) and writes it to
experiments/benchmarks/results/simulator_<device>.json. The case is that of the paper's training: four 256x256 mosaic
frames (packed 128x128x4) out of 230 subframes, float32, with the times of the exposure bracket, alone and vmapped over
four bursts.

Variants take turns, so that a busy machine slows all of them alike; the minimum tells the cost, the median how busy the
machine was.

  --subframes, --size     a smaller or larger sequence
  --bursts                how many bursts are vmapped
  --repeats               turns; more of them steady the minimum
  --output                where to write the JSON; "" writes nothing
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.simulator import (
  IsoNoise,
  add_noise,
  burst_windows,
  gains_for,
  integrate,
  integrate_windows,
  simulate_burst,
  window_weights,
)
from debir_jax.types import BurstTiming

_TIMING = BurstTiming.paper()
_NOISE = IsoNoise()
_PREVIEW_GAIN = 600.0
_EXPOSURE_SUBFRAMES = (8, 24, 40, 56)
_RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def _dense(radiance, exposure_times):
  weights = window_weights(*burst_windows(exposure_times, _TIMING), radiance.shape[0], _TIMING)
  return integrate(radiance, weights)


def _frame_by_frame(radiance, exposure_times):
  """What one writes first: for every frame, a weighted sum over the whole sequence."""
  weights = window_weights(*burst_windows(exposure_times, _TIMING), radiance.shape[0], _TIMING)
  return jnp.stack([jnp.sum(w[:, None, None, None] * radiance, axis=0) for w in weights])


def _frame_by_frame_dot(radiance, exposure_times):
  """The same with a product that XLA does not fuse with the weights, which it would compute again for every pixel."""
  weights = window_weights(*burst_windows(exposure_times, _TIMING), radiance.shape[0], _TIMING)
  return jnp.stack([jnp.tensordot(w, radiance, axes=1) for w in weights])


def _windows(radiance, exposure_times):
  return integrate_windows(radiance, *burst_windows(exposure_times, _TIMING), _TIMING)


def _with_gradient(signal_of):
  """Forward and gradient to the exposure times of a scalar that weighs every pixel differently."""
  def loss(exposure_times, *args):
    signal = signal_of(*args, exposure_times)
    return jnp.mean(signal**2), signal

  def value_and_gradient(*args):
    *others, exposure_times = args
    (_, signal), gradient = jax.value_and_grad(loss, has_aux=True)(exposure_times, *others)
    return signal, gradient

  return value_and_gradient


def _variants():
  """Name -> (function of one burst, names of its arguments)."""
  burst = lambda key, radiance, times: simulate_burst(key, radiance, times, _PREVIEW_GAIN, _NOISE, _TIMING)
  noise = lambda key, signal, times: add_noise(key, signal, gains_for(times, _PREVIEW_GAIN, _TIMING), _NOISE)
  sequence, keyed = ("radiance", "times"), ("key", "radiance", "times")
  return {
      "plain read (sum)": (lambda radiance, times: jnp.sum(radiance), sequence),
      "integrate_windows, forward": (_windows, sequence),
      "integrate_windows, with gradient": (_with_gradient(_windows), sequence),
      "einsum with dense weights, forward": (_dense, sequence),
      "einsum with dense weights, with gradient": (_with_gradient(_dense), sequence),
      "frame by frame, tensordot, forward": (_frame_by_frame_dot, sequence),
      "frame by frame, tensordot, with gradient": (_with_gradient(_frame_by_frame_dot), sequence),
      "frame by frame, weighted sum, forward": (_frame_by_frame, sequence),
      "frame by frame, weighted sum, with gradient": (_with_gradient(_frame_by_frame), sequence),
      "simulate_burst with noise, forward": (burst, keyed),
      "simulate_burst with noise, with gradient": (_with_gradient(burst), keyed),
      "noise draw alone": (noise, ("key", "signal", "times")),
  }


def _arguments(num_subframes, size, num_bursts):
  """Arrays of `num_bursts` bursts on the device."""
  rng = np.random.default_rng(0)
  times = np.array(_EXPOSURE_SUBFRAMES) * _TIMING.subframe_interval_s
  radiance = rng.random((num_bursts, num_subframes, size, size, 4), np.float32)
  return {
      "key": jax.random.split(jax.random.key(0), num_bursts),
      "radiance": jnp.asarray(radiance),
      "signal": jnp.asarray(radiance[:, :4]),
      "times": jnp.tile(jnp.asarray(times, jnp.float32), (num_bursts, 1)),
  }


def _compiled(arguments, alone):
  """Name -> a call without arguments that waits for its result."""
  calls = {}
  for name, (function, names) in _variants().items():
    values = [arguments[x][0] if alone else arguments[x] for x in names]
    program = jax.jit(function if alone else jax.vmap(function)).lower(*values).compile()
    calls[name] = lambda program=program, values=values: jax.block_until_ready(program(*values))
  return calls


def _measure(calls, repeats):
  """Seconds of every call, the variants taking turns; the first turn is thrown away."""
  seconds = {name: [] for name in calls}
  for turn in range(repeats + 1):
    for name, call in calls.items():
      start = time.perf_counter()
      call()
      if turn:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def _rows(seconds):
  read = {"min": min(seconds["plain read (sum)"]), "median": statistics.median(seconds["plain read (sum)"])}
  return {
      name: {
          "min_ms": round(1e3 * min(values), 3),
          "median_ms": round(1e3 * statistics.median(values), 3),
          "reads_min": round(min(values) / read["min"], 2),
          "reads_median": round(statistics.median(values) / read["median"], 2),
      } for name, values in seconds.items()
  }


def _print_table(title, rows):
  print(f"\n{title}")
  print("| variant | min ms | median ms | plain reads (min) | plain reads (median) |\n|---|---|---|---|---|")
  for name, row in rows.items():
    print(f"| {name} | {row['min_ms']:.1f} | {row['median_ms']:.1f} | {row['reads_min']:.1f} | "
          f"{row['reads_median']:.1f} |")


def _hardware():
  """Name of the processor as the system tells it, and of the device as JAX does."""
  device = jax.devices()[0]
  name = platform.processor() or platform.machine()
  if os.path.exists("/proc/cpuinfo"):
    models = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    name = models[0] if models else name
  load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
  return {"platform": device.platform, "device": device.device_kind, "processor": name, "cores": os.cpu_count(),
          "load_before": load}


def _parse_flags():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--subframes", type=int, default=_TIMING.num_subframes(_TIMING.budget_s), help="default: 230")
  parser.add_argument("--size", type=int, default=128, help="height and width of the packed planes; default: 128")
  parser.add_argument("--bursts", type=int, default=4, help="default: 4")
  parser.add_argument("--repeats", type=int, default=15, help="default: 15")
  parser.add_argument("--output", default=None, help="default: results/simulator_<cpu, gpu, ...>.json beside this file")
  flags = parser.parse_args()
  shortest = _TIMING.num_subframes(sum(_EXPOSURE_SUBFRAMES) * _TIMING.subframe_interval_s)
  if flags.subframes < shortest:
    parser.error(f"--subframes={flags.subframes} cannot hold the bracket; use at least {shortest}.")
  if min(flags.size, flags.bursts, flags.repeats) < 1:
    parser.error("--size, --bursts and --repeats must be at least 1.")
  return flags


def main():
  flags = _parse_flags()
  hardware = _hardware()
  arguments = _arguments(flags.subframes, flags.size, flags.bursts)
  result = {
      "date": datetime.date.today().isoformat(), "hardware": hardware,
      "versions": {"jax": jax.__version__, "numpy": np.__version__, "python": platform.python_version()},
      "case": {"subframes": flags.subframes, "packed_size": flags.size, "dtype": "float32", "repeats": flags.repeats,
               "exposure_subframes": _EXPOSURE_SUBFRAMES, "bursts": flags.bursts},
  }
  print(f"{hardware['processor']}, {hardware['cores']} cores, {hardware['device']}, load {hardware['load_before']}, "
        f"jax {jax.__version__}; {flags.subframes} subframes of {flags.size}x{flags.size}x4")
  for title, alone in (("alone", True), (f"vmapped over {flags.bursts} bursts", False)):
    result["alone" if alone else "vmapped"] = _rows(_measure(_compiled(arguments, alone), flags.repeats))
    _print_table(title, result["alone" if alone else "vmapped"])
  output = _RESULTS / f"simulator_{hardware['platform']}.json" if flags.output is None else flags.output
  if output:
    pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(output).write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {output}")


if __name__ == "__main__":
  main()
