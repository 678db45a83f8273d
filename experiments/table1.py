"""Table 1 of the paper: DEBIR against auto-exposure, bracketing and learned exposure times.

  python -m experiments.table1 --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.table1                   # the quickstart's networks and scenes: 45 minutes on 2 CPU cores

Every method starts from the same restorer (stage 1). Learned exposure times go through the same stages as BAENet's; the
free number of hand-made ones is set to what is best on BAENet's training scenes. Then the restorer is fine-tuned for
every method by as many steps as for DEBIR. The workdir gets table.md, table.csv, records and a figure. The same command
goes on with what was stopped. Not among the methods yet: Active S-L, which has two frames.

The paper's numbers belong to other scenes (GoPro) and networks of full size: compare the order, not the values.
"""

import csv
import functools
import json
import pathlib
from typing import Any, Sequence

import ml_collections

from debir_jax.command_line import keep_freed_memory
from debir_jax.evaluation import calibrate, plots
from debir_jax.evaluation.evaluate import Method
from debir_jax.evaluation.records import write_records
from debir_jax.evaluation.summary import format_table, summarize
from debir_jax.files import folder_name, write_text
from debir_jax.policies import AverageAE, GradientAE, MotionMetering, Policy, bracket, uniform
from debir_jax.training import comparison, processes, runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.logs import say
from experiments import scales

REFERENCE = "DEBIR"
# PSNR, SSIM, LPIPS of the paper's Table 1, and of Sec. 6.2 for the single exposure time.
PAPER = {
    "DEBIR": (35.32, 0.9519, 0.154), "BAENet, one time": (35.01, None, None), "Digital Gimbal": (33.87, 0.9309, 0.187),
    "bracketing": (35.04, 0.9481, 0.164), "Average AE": (34.69, 0.9484, 0.157), "Gradient AE 2014": None,
    "Gradient AE 2018": (34.86, 0.9494, 0.156)}
_LEARNED = {"DEBIR": "baenet", "BAENet, one time": "one_time", "Digital Gimbal": "digital_gimbal"}
_REFERENCE_GAINS = [2.0 ** (exponent / 2) for exponent in range(12, 27)]  # 64 to 8192
_HAND_MADE = {
    "Average AE": (lambda gain: AverageAE(reference_gain=gain), _REFERENCE_GAINS),
    "Gradient AE 2014": (lambda gain: GradientAE(reference_gain=gain, update="2014"), _REFERENCE_GAINS),
    "Gradient AE 2018": (lambda gain: GradientAE(reference_gain=gain, update="2018"), _REFERENCE_GAINS),
    "motion metering": (lambda blur_px: MotionMetering(max_blur_px=blur_px), [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6]),
}
_UNIFORM_SUBFRAMES = (8, 16, 24, 32)
_UNIFORM = [f"uniform {{{count}}}" for count in _UNIFORM_SUBFRAMES]
METHODS = [*_LEARNED, *_HAND_MADE, "bracketing", *_UNIFORM]


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, methods: Sequence[str]) -> str:
  """Trains what is missing, measures the methods, writes the results; returns the table."""
  trained, policies, restorers = _train_learned(config, workdir, methods)
  experiment = Experiment(config)
  with processes.owned(str(workdir)) as path:
    policies |= _hand_made(experiment, trained.restoration_params, path, methods)
    policies |= {name: policy for name, policy in _fixed(experiment).items() if name in methods}
    restorers |= {name: comparison.finetuned(experiment, name, policy, trained, path)
                  for name, policy in policies.items() if name not in restorers}
    columns = {"one restorer": dict.fromkeys(policies, trained.restoration_params), "fine-tuned": restorers}
    records = {}
    for column, params in columns.items():
      say(f"measuring {len(policies)} methods on the held-out scenes, {column} ...")
      records[column] = experiment.evaluate([Method(name, policies[name], params[name]) for name in policies])
    return _write(records, path) if processes.is_main() else ""


def _train_learned(config, workdir, methods):
  """The state after stage 1, the policies that learn, and the restorers fine-tuned for them."""
  restorer_dir = workdir / "restorer"
  runner.run(_changed(config, stages=("stage1",)), str(restorer_dir))
  policies, restorers = {}, {}
  for name in [name for name in _LEARNED if name in methods]:
    folder = workdir / folder_name(name)
    changed = _changed(config, stages=("stage2_warmup", "stage2", "stage3"), init_from=str(restorer_dir),
                       start_from_scratch=False)
    changed.bae.network = _LEARNED[name]
    runner.run(changed, str(folder))
    experiment = Experiment(changed)
    state = experiment.load_stage("stage3", folder, experiment.initial_state())
    policies[name], restorers[name] = experiment.bae_policy(state), state.restoration_params
  experiment = Experiment(config)
  return experiment.load_stage("stage1", restorer_dir, experiment.initial_state()), policies, restorers


def _hand_made(experiment: Experiment, restoration_params: Any, path: pathlib.Path,
               methods: Sequence[str]) -> dict[str, Policy]:
  """Policies whose free number is the best one on BAENet's training scenes; kept in calibration.json."""
  record, policies = path / "calibration.json", {}
  known = json.loads(record.read_text()) if record.exists() else {}
  evaluator = experiment.label_evaluator(num_draws=1)
  evaluate = functools.partial(_evaluate_training_scenes, experiment, evaluator)
  for name in [name for name in _HAND_MADE if name in methods]:
    policy_of, values = _HAND_MADE[name]
    if name not in known:
      found = calibrate(policy_of, values, evaluate, restoration_params)
      known[name] = dict(best=found.best, values=found.values, l1=found.l1.tolist(), at_the_end=found.at_the_end)
      say(f"{name}: best at {found.best:g}{', the end of what was tried' if found.at_the_end else ''}")
      if processes.is_main():
        write_text(record, json.dumps(known, indent=2))
    policies[name] = policy_of(known[name]["best"])
  return policies


def _evaluate_training_scenes(experiment, evaluator, methods):
  return evaluator.evaluate(methods, experiment.all_scenes("bae"))


def _fixed(experiment) -> dict[str, Policy]:
  timing = experiment.setup.timing
  times = (count * timing.subframe_interval_s for count in _UNIFORM_SUBFRAMES)
  return {"bracketing": bracket(timing)} | dict(zip(_UNIFORM, map(uniform, times)))


def _changed(config, **fields):
  config = config.copy_and_resolve_references()
  config.update(fields)
  return config


def _write(records, path) -> str:
  summaries = {column: summarize(rows, reference=REFERENCE) for column, rows in records.items()}
  for column, rows in records.items():
    write_records(path / f"records_{folder_name(column)}.jsonl", rows)
  table = format_table(summaries, reference=REFERENCE, markdown=True)
  paper = "\n".join(f"| {name} | {' | '.join('' if value is None else str(value) for value in row)} |"
                    for name, row in PAPER.items() if row)
  write_text(path / "table.md", f"{table}\n\nThe paper's Table 1, on other scenes:\n\n"
             f"| method | PSNR | SSIM | LPIPS |\n| --- | --- | --- | --- |\n{paper}\n")
  with open(path / "table.csv", "w", newline="") as file:
    fields = [name for name in summaries["fine-tuned"][0].__dataclass_fields__]
    writer = csv.writer(file)
    writer.writerow(["column", *fields])
    writer.writerows([column, *[getattr(row, name) for name in fields]] for column, rows in summaries.items()
                     for row in rows)
  plots.differences(path / "table1.png", summaries, reference=REFERENCE)
  plots.exposure_scatter(path / "exposure_times.png", records["fine-tuned"], method=REFERENCE)
  return format_table(summaries, reference=REFERENCE)


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "table1")
  parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD",
                      help=f"some of {', '.join(METHODS)}; DEBIR always is among them")
  args = scales.parse(parser, "table1")
  scales.report(lambda: run(scales.config_of(args.scale), args.workdir, [REFERENCE, *args.methods]), args.workdir)


if __name__ == "__main__":
  keep_freed_memory()
  main()
