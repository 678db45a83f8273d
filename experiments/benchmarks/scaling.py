"""Time of a training step over 1, 2, 4, 8 devices, for the same global batch.

  python experiments/benchmarks/scaling.py                      # CPU: devices are parts of this machine
  python experiments/benchmarks/scaling.py --config=configs/default.py --batch-size=32     # on a machine with 8 GPUs

prints a table and writes experiments/benchmarks/results/scaling_<device>.json. Efficiency is the time on one device over
devices x time; CPU devices share the machine's cores, so that it cannot exceed cores over devices. Each number of devices
runs in a process of its own; times are medians. Run it from the top folder of the checkout.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

_FOLDER = pathlib.Path(__file__).resolve().parent


def main():
  args = _parse()
  if args.only:
    print(json.dumps(measure(args, args.only)))
    return
  rows = [_in_own_process(num_devices) for num_devices in args.devices]
  print("| devices | step, ms | efficiency |\n|---|---|---|")
  for row in rows:
    row["efficiency"] = rows[0]["step_s"] * rows[0]["devices"] / (row["devices"] * row["step_s"])
    print(f"| {row['devices']} | {1e3 * row['step_s']:.0f} | {row['efficiency']:.2f} |")
  name = rows[0]["device"].lower().replace(" ", "_")
  result = dict(date=datetime.date.today().isoformat(), command=sys.argv, cores=os.cpu_count(), rows=rows)
  path = _FOLDER / "results" / f"scaling_{name}.json"
  path.write_text(json.dumps(result, indent=2) + "\n")
  print(f"written to {path}")


def _parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/quickstart.py", help="config file; its stage 1 step is measured")
  parser.add_argument("--batch-size", type=int, default=8, help="bursts over all devices")
  parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of devices")
  parser.add_argument("--repeats", type=int, default=10, help="steps that are timed, after two that warm up")
  parser.add_argument("--only", type=int, default=0, help=argparse.SUPPRESS)
  return parser.parse_args()


def _in_own_process(num_devices):
  command = [sys.executable, __file__, *sys.argv[1:], f"--only={num_devices}"]
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
  done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
  if done.returncode:
    sys.exit(f"{num_devices} devices: {done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def measure(args, num_devices):
  """Median time of a stage 1 step, s."""
  import jax  # Here: the number of CPU devices must be said before JAX starts.
  jax.config.update("jax_num_cpu_devices", num_devices)
  import jax.numpy as jnp

  from debir_jax.command_line import load_config
  from debir_jax.training.experiment import Experiment
  from debir_jax.training.stages import STAGES
  config = load_config(args.config)
  config.batch_size, config.parallel.num_devices = args.batch_size, num_devices
  experiment = Experiment(config)
  state = experiment.place(experiment.initial_state())
  batches = experiment.batches("restore", 0)
  scenes, step_fn, times = next(batches), experiment.step_fn(STAGES["stage1"]), []
  batches.close()
  for _ in range(args.repeats + 2):
    start = time.perf_counter()
    state, outputs = step_fn(state, scenes)
    jax.block_until_ready((state, outputs))
    times.append(time.perf_counter() - start)
  return dict(devices=num_devices, step_s=statistics.median(times[2:]), device=jax.devices()[0].device_kind,
              batch_size=args.batch_size, loss=float(jnp.asarray(outputs["loss"])))


if __name__ == "__main__":
  main()
