r"""BAENets of several runs on the same captures, under one restorer, beside fixed exposures: to choose a recipe by.

  python -m experiments.bae_recipes --config=configs/quickstart.py --from=runs/quickstart --photos=FOLDER,FOLDER \
      --photo_list=experiments/pretraining/photo_splits.json --bae runs/quickstart runs/other --to=runs/recipes

The restorer is that of stage 1 of --from, so that only the exposure times differ; each run of --bae gives its BAENet as
stage 2 left it, by its own config; weights inside the package go by their names. Scenes are of validation photos, on
which choices are made and nothing is claimed. Written to --to: table.md, the mean and, by fifths of the motion that the
previews show, where a BAENet wins and loses; scores.json.
"""

import pathlib
import sys

import numpy as np

from debir_jax.convert.run import run_config
from debir_jax.evaluation import Method
from debir_jax.evaluation.records import by_method
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.policies import Policy, uniform
from debir_jax.runtime.platform import prepare_memory
from debir_jax.training.experiment import Experiment
from debir_jax.training.weight_files import is_weight_folder
from debir_jax.types import SUBFRAME_RATE_HZ
from debir_jax.weights.model import load
from debir_jax.weights.shipped import list_weights
from experiments import yardstick
from experiments.tables import mean_with_interval

_UNIFORM = (12, 16, 20, 24, 28, 32)  # Exposure times of all frames, in 1/1920 s.
_PARTS = 5  # Of the captures, by motion.


def policy_of(source: pathlib.Path, stage: str = "stage2") -> Policy:
  """The BAENet of a run, as a stage left it, or of weights: a folder, or a name of `debir_jax.list_weights`.

  Raises:
    FileNotFoundError: the run, or the stage, is not there.
  """
  if str(source) in list_weights() or is_weight_folder(source):
    return load(str(source)).policy
  experiment = Experiment(run_config(source))
  if not experiment.has_stage(stage, source):
    raise FileNotFoundError(f"{source} has no {stage}.")
  return experiment.bae_policy(experiment.load_stage(stage, source, experiment.initial_state()))


def run(experiment: Experiment, variables, policies: dict[str, Policy], split: str) -> dict:
  """PSNR `[N]` and exposure times `[N, n]`, 1/1920 s, of every policy, and what the captures are; JSON."""
  policies = policies | {f"{{{count}}}x{experiment.setup.timing.num_frames}": uniform(count / SUBFRAME_RATE_HZ)
                         for count in _UNIFORM}
  records = by_method(experiment.evaluate([Method(name, each, variables) for name, each in policies.items()], split))
  first = next(iter(records.values()))
  return dict(
      groups=[record.group for record in first], motion=[record.motion_magnitude for record in first],
      psnr={name: [record.psnr for record in rows] for name, rows in records.items()},
      times={name: [[SUBFRAME_RATE_HZ * time for time in record.exposure_times] for record in rows]
             for name, rows in records.items()})


def format_table(results: dict) -> str:
  """Markdown: every policy against the best fixed one, in all and by fifths of the motion."""
  psnr = {name: np.asarray(values) for name, values in results["psnr"].items()}
  units = Units(results["groups"], [0] * len(results["groups"]))
  first, fixed = next(iter(psnr)), [name for name in psnr if name.startswith("{")]
  best = max(fixed, key=lambda name: psnr[name].mean())
  parts = np.array_split(np.argsort(results["motion"], kind="stable"), _PARTS)
  lines = [f"| exposure times | PSNR, dB | ahead of {best} | {first} ahead of it | mean times, 1/1920 s | "
           + " | ".join(f"motion {np.mean(np.take(results['motion'], part)):.2f}" for part in parts) + " |",
           "| --- " * (5 + len(parts)) + "|"]
  for name, values in psnr.items():
    mean, error = mean_and_error(values - psnr[best], units)
    of_first = mean_with_interval(psnr[first] - values, units) if name != first else ""
    times = " ".join(f"{time:.1f}" for time in np.mean(results["times"][name], 0))
    lines.append(f"| {name} | {values.mean():.2f} | {mean:+.2f} ± {error:.2f} | {of_first} | {times} | "
                 + " | ".join(f"{np.mean((values - psnr[best])[part]):+.2f}" for part in parts) + " |")
  return "\n".join([*lines, "", f"{len(results['groups'])} captures of {units.num_groups} photos, ± one standard error "
                    f"over photos [95 %]; {best} is the best fixed exposure on the whole; the last columns, against "
                    "it, are fifths of the captures by the motion magnitude that BAENet sees."])


def main(argv: list[str]) -> None:
  """Measures and writes."""
  parser = yardstick.make_parser("bae_recipes", __doc__)
  yardstick.add_run_options(parser)
  parser.add_argument("--bae", nargs="+", type=pathlib.Path, default=[], metavar="RUN",
                      help="runs with stage 2, or weights")
  parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of scenes (%(default)s)")
  args = parser.parse_args(argv)
  prepare_memory()
  experiment = yardstick.experiment_of(args, args.split)
  start = experiment.load_stage("stage1", args.source, experiment.initial_state())
  policies = {path.name: policy_of(path) for path in args.bae}
  results = run(experiment, start.restoration_variables, policies, args.split)
  yardstick.write(args.to or args.source / "bae_recipes", format_table(results), results)


if __name__ == "__main__":
  main(sys.argv[1:])
