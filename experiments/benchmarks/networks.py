"""How long do restoration networks take to compile and to run, forward and with gradients?

  python experiments/benchmarks/networks.py --features 8 16

prints a line per program and writes experiments/benchmarks/results/networks_<device>.json. The case: 4 bursts of 4
packed frames of 32x32x4, float32, one attention block per level and per fusion.

Wall time is what one waits for on a free machine; the processor time of all threads is steadier on a busy one. Both are
minima over the repeats. Compilation includes tracing; no cache on disk is used.
"""

import argparse
import json
import os
import pathlib
import platform
import time

import jax
import jax.numpy as jnp

from debir_jax.restoration import light_burstormer

_RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def _programs(model, target):
  def loss_fn(variables, bursts):
    return jnp.mean(jnp.abs(model.apply(variables, bursts) - target))

  return {"forward": model.apply, "gradient to weights": jax.value_and_grad(loss_fn),
          "gradient to burst": jax.value_and_grad(loss_fn, 1)}


def _measure(fn, args, repeats):
  """Seconds to compile, minimal wall and processor seconds of a run."""
  start = time.perf_counter()
  program = jax.jit(fn).lower(*args).compile()
  compile_s = time.perf_counter() - start
  jax.block_until_ready(program(*args))
  runs = []
  for _ in range(repeats):
    wall, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(program(*args))
    runs.append((time.perf_counter() - wall, time.process_time() - processor))
  return {"compile_s": compile_s, "wall_s": min(run[0] for run in runs), "processor_s": min(run[1] for run in runs)}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--features", type=int, nargs="+", default=[8], help="features per frame, multiples of 8")
  parser.add_argument("--bursts", type=int, default=4)
  parser.add_argument("--size", type=int, default=32, help="height and width of a packed frame")
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument("--output", default=None, help='where to write the JSON; "" writes nothing')
  args = parser.parse_args()

  bursts = jax.random.uniform(jax.random.key(0), (args.bursts, 4, args.size, args.size, 4))
  device = jax.devices()[0].device_kind.replace(" ", "_")
  results = {"device": device, "processor": platform.processor(), "cores": os.cpu_count(), "jax": jax.__version__,
             "bursts": args.bursts, "size": args.size, "programs": {}}
  for features in args.features:
    model = light_burstormer(num_features=features)
    variables = model.init(jax.random.key(1), bursts)
    for name, fn in _programs(model, bursts[:, 0]).items():
      numbers = results["programs"][f"{features} features, {name}"] = _measure(fn, (variables, bursts), args.repeats)
      print(f"{features:3d} features  {name:20s}" + "".join(f"  {key} {value:7.3f}" for key, value in numbers.items()),
            flush=True)
  path = pathlib.Path(args.output) if args.output else _RESULTS / f"networks_{device}.json"
  if args.output != "":
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
  main()
