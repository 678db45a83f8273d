"""What finding the motion of a burst costs, against restoring it with the network of the weights inside the package.

  PYTHONPATH=. python experiments/benchmarks/burst_motion.py

takes a few minutes on one CPU core, prints a table and writes it to results/burst_motion_cpu.json. Noisy bursts of a
texture that moves, with a preview, one at a time: 4 and 8 frames of 96x96 mosaic px, which one window describes. Parts
take turns; times are the least of a few turns, ratios are to the network of the same burst. "search at once" looks at
all frames together, as it was until 2026-12-01; what following the later frames gains is in experiments/pretraining
(`experiments.motion_error`).
"""

import argparse
import datetime
import json
import os
import pathlib
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import debir_jax
from debir_jax.imaging.resample import gaussian_blur
from debir_jax.motion import burst_flow, find_motion
from debir_jax.motion.residual_flow import find_local_motion
from debir_jax.restoration.aligned_inputs import NUM_ALIGNED_CHANNELS

_CASES = ((4, 96), (8, 96))  # Frames, side in mosaic px.
_RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=5, help="turns (%(default)s)")
  parser.add_argument("--output", type=pathlib.Path, default=_RESULTS / "burst_motion_cpu.json", help="JSON")
  args = parser.parse_args()
  rows = [row for case in _CASES for row in measure(*case, args.repeats)]
  print("| frames | side, px | part | ms | network's times |\n|---|---|---|---|---|")
  for row in rows:
    print(f"| {row['frames']} | {row['side_px']} | {row['part']} | {row['ms']:.0f} | {row['ratio']:.2f} |")
  device = jax.devices()[0]
  args.output.write_text(json.dumps(dict(
      date=datetime.date.today().isoformat(), device=device.device_kind, cores=len(os.sched_getaffinity(0)),
      jax=jax.__version__, rows=rows), indent=2) + "\n")
  print(f"written to {args.output}")


def measure(num_frames, side_px, repeats):
  """Rows of one case."""
  model = debir_jax.load("small" if num_frames == 4 else "small_burst_sizes")
  raw, times_s, exposure_s = burst(num_frames, side_px // 2)
  weights = jnp.ones(len(raw))
  planes = jnp.zeros((1, num_frames, *raw.shape[1:3], NUM_ALIGNED_CHANNELS))
  search = jax.jit(lambda *burst: find_motion(*burst).parameters)

  def at_once(*burst):
    with mock.patch.multiple(burst_flow, _NUM_FIRST=len(raw), _NUM_HELD=len(raw)):
      return find_motion(*burst).parameters

  at_once = jax.jit(at_once)
  whole = jax.jit(lambda *burst: find_local_motion(*burst).residual)
  apply = jax.jit(lambda planes: model.restorer.apply(model.restorer_variables, planes))
  parts = {"search at once": lambda: at_once(raw, times_s, weights), "search": lambda: search(raw, times_s, weights),
           "search and residual": lambda: whole(raw, times_s, exposure_s, weights), "network": lambda: apply(planes)}
  best = dict.fromkeys(parts, np.inf)
  for turn in range(repeats + 1):
    for name, part in parts.items():
      start = time.perf_counter()
      jax.block_until_ready(part())
      if turn:
        best[name] = min(best[name], time.perf_counter() - start)
  return [dict(frames=num_frames, side_px=side_px, part=name, ms=1e3 * seconds, ratio=seconds / best["network"])
          for name, seconds in best.items()]


def burst(num_frames, side, seed=0):
  """A preview and frames `[1 + n, side, side, 4]`, their middles and exposure times, s."""
  exposure_s = np.array([8, *[16] * num_frames]) / 1920
  start_s = np.cumsum([-0.012, 0.012, *[0.012] * (num_frames - 1)])
  texture = gaussian_blur(jax.random.normal(jax.random.key(seed), (2 * side, 2 * side)), 1.5)
  shifts = np.round(150 * (start_s + exposure_s / 2)).astype(int)  # Packed px.
  frames = jnp.stack([jax.lax.dynamic_slice(texture, (side // 2, side // 2 + shift), (side, side)) for shift in shifts])
  raw = 0.2 + 0.2 * jnp.repeat(frames[..., None], 4, -1)
  noise = 0.05 * jax.random.normal(jax.random.key(seed + 1), raw.shape)
  return raw + noise, jnp.asarray(start_s + exposure_s / 2, jnp.float32), jnp.asarray(exposure_s, jnp.float32)


if __name__ == "__main__":
  main()
