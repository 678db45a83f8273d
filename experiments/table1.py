"""Table 1 of the paper: DEBIR against auto-exposure, bracketing and learned exposure times.

  python -m experiments.table1 --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.table1                   # the quickstart's networks and scenes: 35 minutes on 2 busy CPU cores

Every method starts from the same restorer (stage 1). Learned exposure times go through the same stages as BAENet's; the
free number of hand-made ones is set to what is best on BAENet's training scenes, 128 of them at most. Then the restorer
is fine-tuned for every method by as many steps as for DEBIR. Results go into <workdir>/table1: table.md, table.csv,
records and figures, one of them of where each method pays, by motion and gain. The same command goes on with what was
stopped. Active S-L, which has two frames, is in `experiments.active_sl`.

The paper's numbers belong to other scenes (GoPro) and networks of full size: compare the order, not the values.
"""

import json
import pathlib
from typing import Any, Sequence

import jax
import ml_collections

from debir_jax.evaluation import Method, calibrate, plots
from debir_jax.policies import AverageAE, GradientAE, MotionMetering, Policy, bracket
from debir_jax.runtime.files import read_json, write_text
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.scenes import scenes_made_of
from debir_jax.training import comparison
from debir_jax.training.experiment import Experiment
from experiments import networks, scales, tables

REFERENCE = networks.DEBIR
# PSNR, SSIM, LPIPS of the paper's Table 1; Sec. 6.3 for the single exposure time. Gradient AE is its [38], the form
# of 2018.
PAPER = {
    REFERENCE: (35.32, 0.9519, 0.154), networks.UNIFORM_EXPOSURE: (35.01,), "Digital Gimbal": (33.87, 0.9309, 0.187),
    "Average AE": (34.69, 0.9484, 0.157), "Gradient AE 2018": (34.86, 0.9494, 0.156),
    "bracketing": (35.04, 0.9481, 0.164)}
_LEARNED = {REFERENCE: "baenet", networks.UNIFORM_EXPOSURE: "uniform_exposure", "Digital Gimbal": "digital_gimbal"}
_REFERENCE_GAINS = [2.0 ** (exponent / 2) for exponent in range(12, 27)]  # 64 to 8192
_HAND_MADE = {
    "Average AE": (lambda gain: AverageAE(reference_gain=gain), _REFERENCE_GAINS),
    "Gradient AE 2014": (lambda gain: GradientAE(reference_gain=gain, update="2014"), _REFERENCE_GAINS),
    "Gradient AE 2018": (lambda gain: GradientAE(reference_gain=gain, update="2018"), _REFERENCE_GAINS),
    "motion metering": (lambda blur_px: MotionMetering(max_blur_px=blur_px), [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6]),
}
_NUM_CALIBRATION = 128
_UNIFORM = networks.uniforms((8, 16, 24, 32))  # In 1/1920 s.
METHODS = [*_LEARNED, *_HAND_MADE, "bracketing", *_UNIFORM]


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, methods: Sequence[str]) -> str:
  """Trains what is missing, measures the methods, writes the results; returns the table."""
  experiment, start = networks.pretrained(config, workdir)
  learned = [networks.method(name, *networks.trained(config, workdir, name, {"bae.network": _LEARNED[name]}))
             for name in _LEARNED if name in methods]
  policies = {method.name: method.policy for method in learned}
  restorers = {method.name: method.restorer_variables for method in learned}
  with locked(str(workdir / "table1")) as path:
    policies |= _hand_made(experiment, start.restoration_variables, path, methods)
    fixed = {"bracketing": bracket(experiment.setup.timing), **_UNIFORM}
    policies |= {name: policy for name, policy in fixed.items() if name in methods}
    unlearned = {name: policy for name, policy in policies.items() if name not in restorers}
    restorers |= {method.name: method.restorer_variables
                  for method in networks.finetuned(experiment, start, workdir, unlearned)}
    columns = {comparison.STAGE1_COLUMN: dict.fromkeys(policies, start.restoration_variables),
               comparison.FINETUNED_COLUMN: restorers}
    records = {}
    for column, variables in columns.items():
      log(f"measuring {len(policies)} methods on the test scenes, {column} ...")
      records[column] = experiment.evaluate([Method(name, policies[name], variables[name]) for name in policies])
    if len(policies) > 1:
      plots.differences_by_condition(path / "by_condition.png", records[comparison.FINETUNED_COLUMN],
                                     reference=REFERENCE)
    return tables.write(records, path, reference=REFERENCE, paper=PAPER)


def _hand_made(experiment: Experiment, restorer_variables: Any, path: pathlib.Path,
               methods: Sequence[str]) -> dict[str, Policy]:
  """Policies whose free number is the best one on BAENet's training scenes; kept in calibration.json."""
  record, policies = path / "calibration.json", {}
  known = read_json(record, "Delete it.") if record.exists() else {}
  scenes = range(min(_NUM_CALIBRATION, len(experiment.scenes["bae"])))
  made_of = fingerprint(jax.device_get(restorer_variables), scenes_made_of(experiment.scenes["bae"]), len(scenes),
                        experiment.config.data.seed)
  evaluator = experiment.label_evaluator(num_draws=1)
  evaluate = lambda methods: experiment.evaluate(methods, "bae", which=scenes, evaluator=evaluator)
  for name in [name for name in _HAND_MADE if name in methods]:
    policy_of, values = _HAND_MADE[name]
    if known.get(name, {}).get("made_of") != (made := fingerprint(made_of, values)):
      found = calibrate(policy_of, values, evaluate, restorer_variables)
      known[name] = dict(made_of=made, best=found.best, values=found.values, l1=found.l1.tolist(),
                         at_the_end=found.at_the_end)
      log(f"{name}: best at {found.best:g}{', the end of what was tried' if found.at_the_end else ''}")
      write_text(record, json.dumps(known, indent=2))
    policies[name] = policy_of(known[name]["best"])
  return policies


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "table1")
  parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD",
                      help=f"some of {', '.join(METHODS)}; DEBIR always is among them")
  args = scales.parse(parser)
  config = args.config
  scales.report(lambda: run(config, args.workdir, [REFERENCE, *args.methods]), args.workdir / "table1")


if __name__ == "__main__":
  prepare_memory()
  main()
