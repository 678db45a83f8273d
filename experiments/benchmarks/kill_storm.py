"""A training run that is killed again and again, and what comes of it.

  PYTHONPATH=. python experiments/benchmarks/kill_storm.py --kills=40

runs all stages of a small config through `debir_jax.main`, once undisturbed, and again with SIGKILL (or SIGTERM) at
random moments, start-up, label search and saves included; as often as it takes until so many have hit. Then the arrays
of every stage's last checkpoint, the labels, the logs of every step and the results on held-out scenes must be the
same, bit for bit. Prints what was hit and writes experiments/benchmarks/results/kill_storm_<device>.json; exits with 1
where anything differs.
"""

import argparse
import collections
import datetime
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import jax
import numpy as np

from debir_jax.runtime.command_line import load_config
from debir_jax.training.checkpoint import Checkpoints
from debir_jax.training.experiment import Experiment

_FOLDER = pathlib.Path(__file__).resolve().parent
# Numbers of a step that do not depend on how long it took.
_EXACT = ("stage", "step", "loss", "grad_norm", "param_norm", "update_norm", "learning_rate", "applied", "psnr",
          "watched_psnr", "label_error", "mean_exposure")

_UNFINISHED = "**/*orbax-checkpoint-tmp*"  # Checkpoints that are being written.


def main():
  args = _parse()
  folder = pathlib.Path(tempfile.mkdtemp(prefix="kill_storm_"))
  print(f"{folder}: the undisturbed run ...", flush=True)
  start = time.monotonic()
  _run_to_the_end(args, folder / "whole")
  whole_s = time.monotonic() - start
  hits, compared = [], {}
  while len(hits) < args.kills:
    run = folder / f"killed_{len(list(folder.glob('killed_*')))}"
    _storm(args, run, hits)
    _run_to_the_end(args, run)
    _compare(args, folder / "whole", run, compared)
  result = dict(date=datetime.date.today().isoformat(), command=sys.argv, device=jax.devices()[0].device_kind,
                undisturbed_s=round(whole_s), runs=len(list(folder.glob("killed_*"))),
                hits=dict(collections.Counter(hits)), compared_and_differing=compared)
  name = result["device"].lower().replace(" ", "_")
  (_FOLDER / "results" / f"kill_storm_{name}.json").write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))
  sys.exit(any(differing for _, differing in compared.values()))


def _parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/quickstart.py:debug", help="config that is run")
  parser.add_argument("--kills", type=int, default=40, help="signals that have to hit a running process")
  parser.add_argument("--steps", type=int, default=30, help="of every stage; a checkpoint every third")
  parser.add_argument("--term-fraction", type=float, default=0.25, help="of the signals that are SIGTERM")
  parser.add_argument("--longest-s", type=float, default=20.0, help="signals come within so many seconds of a start")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  return parser.parse_args()


def _overrides(args):
  steps = {f"{stage}.num_steps": args.steps for stage in ("stage1", "stage2_warmup", "stage2", "stage3")}
  return steps | dict(checkpoint_every_steps=3, log_every_steps=1)


def _start(args, workdir):
  options = [f"--config.{field}={value}" for field, value in _overrides(args).items()]
  return subprocess.Popen([sys.executable, "-m", "debir_jax.main", f"--config={args.config}", f"--workdir={workdir}",
                           *options], stderr=subprocess.PIPE, text=True)


def _run_to_the_end(args, workdir):
  process = _start(args, workdir)
  _, errors = process.communicate()
  if process.returncode:
    sys.exit(f"{workdir}: exit code {process.returncode}\n{errors[-3000:]}")


def _storm(args, workdir, hits):
  """Kills one start after the other until one gets to the end, or all signals are sent; adds what each of them hit."""
  moments = random.Random(f"{args.seed} {len(hits)}")
  while len(hits) < args.kills:
    left_over = set(workdir.glob(_UNFINISHED))
    process, said = _start(args, workdir), []
    reader = threading.Thread(target=lambda process=process, said=said: said.extend(process.stderr))
    reader.start()
    number = signal.SIGTERM if moments.random() < args.term_fraction else signal.SIGKILL
    try:
      process.wait(timeout=moments.uniform(0, args.longest_s))
    except subprocess.TimeoutExpired:
      phase = said[-1].split()[0] if said else "start-up"
      hit = "during a save" if set(workdir.glob(_UNFINISHED)) - left_over else f"in {phase}"
      process.send_signal(number)
    code = process.wait()
    reader.join()
    if code == 0:
      return
    if code not in (-signal.SIGTERM, -signal.SIGKILL, 75):
      sys.exit(f"{workdir}: exit code {code}\n{''.join(said)[-3000:]}")
    hits.append(f"{number.name} {hit}")
    print(f"{len(hits)}/{args.kills} {hits[-1]}", flush=True)


def _compare(args, whole, killed, counts):
  """Adds to what is compared: how many, and how many of them differ."""

  def count(name, same):
    number, differing = counts.get(name, (0, 0))
    counts[name] = number + 1, differing + (not same)

  config = load_config(args.config)
  config.update_from_flattened_dict(_overrides(args))
  experiment = Experiment(config)
  like = experiment.initial_state()
  for checkpoints in sorted(whole.glob("**/checkpoints")):
    states = []
    for run in (whole, killed):
      opened = Checkpoints(run / checkpoints.relative_to(whole), experiment.compatibility)
      states.append((opened.latest_step(), opened.load_latest(like)))
      opened.close()
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
      count("arrays of last checkpoints", np.asarray(one).tobytes() == np.asarray(other).tobytes())
  for path in sorted(whole.glob("**/*.json*")):
    twin = killed / path.relative_to(whole)
    if path.name == "log.jsonl":
      lines = [[{name: line.get(name) for name in _EXACT} for line in map(json.loads, file.read_text().splitlines())]
               for file in (path, twin)]
      for one, other in zip(*lines, strict=True):
        count("logged steps", one == other)
    elif path.name == "labels.json" or path.name.startswith("records"):
      count("files of labels and results", path.read_bytes() == twin.read_bytes())


if __name__ == "__main__":
  main()
