"""Table 5 of the paper: what each stage of training is worth, and training both networks at once.

  python -m experiments.table5 --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.table5                   # the quickstart's networks and scenes
  python -m experiments.table5 --rows "S1, S2-2" "S1, S2-2, S3"     # some of them

S1: the restorer on exposure times drawn at random. S2-1, S2-2: BAENet's warm-up and its training through the simulator.
S3: fine-tuning of the restorer. E2E: both networks at once along the gradient of Eq. 13, BAENet at the learning rate of
S2-2, the restorer at that of S3 and for as many steps; E2E alone at the rate of S1, for the steps of S1 and S3. Rows
share S1. Results go into <workdir>/table5.

E2E alone trains its restorer on few exposure times only, all along. What that is worth without BAENet says a row that
the paper has not: a restorer trained in the same way, from random weights, on the longest uniform exposure. Both take
as long as S1 does, which at the scale "medium" is hours: --rows leaves them out.

The paper's numbers belong to other scenes (GoPro) and networks of full size: compare the order, not the values.
"""

import pathlib
from typing import Sequence

import ml_collections

from debir_jax.evaluation import Method
from debir_jax.policies import uniform
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison
from debir_jax.training.experiment import Experiment
from experiments import networks, scales, tables

REFERENCE = "S1, S2-1, S2-2, S3"
# PSNR, SSIM, LPIPS.
PAPER = {
    "S1, S2-2": (34.93, 0.9482, 0.162), "S1, S2-1, S2-2": (35.01, 0.9489, 0.160),
    "S1, S2-2, S3": (35.16, 0.9502, 0.157), REFERENCE: (35.32, 0.9519, 0.154),
    "S1, S2-1, E2E": (34.99, 0.9496, 0.158), "S1, S2-1, S2-2, E2E": (35.11, 0.9500, 0.158),
    "E2E": (33.60, 0.9279, 0.196)}
_NO_WARM_UP = dict(name="no warm-up", stages=("stage2", "stage3"))
_NETWORKS = {  # By row: see `networks.trained`. Rows of one network share it.
    REFERENCE: dict(name=networks.DEBIR), "S1, S2-1, S2-2": dict(name=networks.DEBIR, until="stage2"),
    "S1, S2-2, S3": _NO_WARM_UP, "S1, S2-2": dict(until="stage2", **_NO_WARM_UP),
    "S1, S2-1, S2-2, E2E": dict(name="end to end at last", stages=("end_to_end",), start=(networks.DEBIR, "stage2")),
    "S1, S2-1, E2E": dict(name="end to end after warm-up", stages=("end_to_end",), start=networks.WARM_UP),
    "E2E": dict(name="end to end", stages=("end_to_end",))}
UNIFORM_ALONE = "longest uniform exposure alone"
ROWS = [*_NETWORKS, UNIFORM_ALONE]


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, rows: Sequence[str]) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  config.end_to_end.num_steps = config.stage3.num_steps
  plain, _ = networks.pretrained(config, workdir)
  records = []
  for row, network in _NETWORKS.items():
    if row not in rows:
      continue
    changes = {"bae.network": "baenet", **(_from_scratch(config) if row == "E2E" else {})}
    experiment, state = networks.trained(config, workdir, changes=changes, **network)
    records += experiment.evaluate([networks.method(row, experiment, state)])
  with locked(str(workdir / "table5")) as path:
    if UNIFORM_ALONE in rows:
      records += plain.evaluate([_uniform_alone(config, path)])
    return tables.write({"measured": records}, path, reference=REFERENCE, paper=PAPER)


def _from_scratch(config):
  return {"init_from": "", "start_from_scratch": True,
          "end_to_end.num_steps": config.stage1.num_steps + config.stage3.num_steps,
          "end_to_end.lr_warmup_steps": config.stage1.lr_warmup_steps,
          "end_to_end.learning_rate": config.stage1.learning_rate,
          "end_to_end.final_learning_rate": config.stage1.final_learning_rate}


def _uniform_alone(config, folder) -> Method:
  """The longest uniform exposure with a restorer that has seen nothing else, for the steps and at the rates of E2E."""
  config = config.copy_and_resolve_references()
  config.stage3.num_steps += config.stage1.num_steps
  for field in ("lr_warmup_steps", "learning_rate", "final_learning_rate"):
    config.stage3[field] = config.stage1[field]
  experiment = Experiment(config)
  timing = experiment.setup.timing
  policy = uniform(timing.budget_s / timing.num_frames)
  restorer = comparison.finetuned(experiment, "uniform alone", policy, experiment.initial_state(), folder)
  return Method(UNIFORM_ALONE, policy, restorer)


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "table5")
  parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW",
                      help=f"some of {'; '.join(ROWS)}; the one of all stages always is among them")
  args = scales.parse(parser)
  rows = [REFERENCE, *args.rows]
  scales.report(lambda: run(args.config, args.workdir, rows), args.workdir / "table5")


if __name__ == "__main__":
  prepare_memory()
  main()
