"""Time and memory of a stage 1 step under some settings, in a process of its own.

For scaling.py and training_options.py; alone,

  PYTHONPATH=. python experiments/benchmarks/stage1_step.py configs/quickstart.py '{"batch_size": 8}'

prints one JSON object.
"""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time


def in_own_process(config, changes, repeats):
  """What `measure` tells, from a fresh process."""
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
  command = [sys.executable, __file__, config, json.dumps(changes), str(repeats)]
  done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
  if done.returncode:
    sys.exit(f"{changes}: {done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def write_result(name, rows):
  """Writes the rows of a benchmark into results/<name>_<device>.json and says so."""
  device = rows[0]["device"].lower().replace(" ", "_")
  result = dict(date=datetime.date.today().isoformat(), command=sys.argv, cores=os.cpu_count(), rows=rows)
  path = pathlib.Path(__file__).resolve().parent / "results" / f"{name}_{device}.json"
  path.write_text(json.dumps(result, indent=2) + "\n")
  print(f"written to {path}")


def measure(path, changes, repeats):
  """Median time of a step, s, after two that warm up; fraction of the time that waits for data; most memory, GB."""
  import jax  # Here: the number of CPU devices must be said before JAX starts.
  num_devices = changes.get("parallel.num_devices")
  if num_devices:
    jax.config.update("jax_num_cpu_devices", num_devices)

  from debir_jax.runtime.command_line import load_config
  from debir_jax.training.experiment import Experiment
  from debir_jax.training.logs import memory
  from debir_jax.training.stages import STAGES
  config = load_config(path)
  config.update_from_flattened_dict(changes)
  experiment = Experiment(config)
  state = experiment.place(experiment.initial_state())
  batches = experiment.batches("restore", 0)
  step_fn, step_s, wait_s = experiment.step_fn(STAGES["stage1"]), [], []
  for _ in range(repeats + 2):
    start, waited = time.perf_counter(), batches.wait_s
    state, outputs = step_fn(state, next(batches))
    jax.block_until_ready((state, outputs))
    step_s.append(time.perf_counter() - start)
    wait_s.append(batches.wait_s - waited)
  batches.close()
  return dict(device=jax.devices()[0].device_kind, step_s=statistics.median(step_s[2:]), first_step_s=step_s[0],
              data_wait_fraction=sum(wait_s[2:]) / sum(step_s[2:]), batch_size=config.batch_size,
              loss=float(outputs["loss"]), **memory())


if __name__ == "__main__":
  from debir_jax.runtime.platform import prepare_memory
  prepare_memory()
  num_repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 10
  print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]), num_repeats)))
