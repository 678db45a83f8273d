"""Figures 2 and 3 of the paper.

  python -m experiments.figures --scale=tiny      # minutes; its pictures say nothing
  python -m experiments.figures                   # the quickstart's networks and scenes
  python -m experiments.figures --scenes 0 7 21   # other held-out scenes in Figure 2

Figure 2: what DEBIR, bracketing and the longest uniform exposure make of the same shots, each with its fine-tuned
restorer; the first held-out scenes, not chosen ones. Figure 3: exposure times that BAENet predicts against motion, at
the lowest gain of training, and histograms of t_1 at the lowest and the highest. Written to <workdir>/figures. Figure
4, real cameras, needs their pictures.
"""

import pathlib
from typing import Sequence

import ml_collections

from debir_jax.command_line import keep_freed_memory
from debir_jax.evaluation import plots, records_path, write_records
from debir_jax.training.workdir import locked
from experiments import networks
from experiments import scales

_NUM_SCENES = 4


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, scenes: Sequence[int] | None) -> str:
  """Trains what is missing and draws; returns what is where."""
  _, start = networks.pretrained(config, workdir)
  experiment, state = networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  debir = networks.method(networks.DEBIR, experiment, state)
  with locked(str(workdir / "figures")) as path:
    methods = [debir, *networks.fixed(experiment, start, workdir)]
    examples = experiment.evaluator.examples(
        methods, experiment.all_scenes("eval", _NUM_SCENES if scenes is None else scenes))
    plots.method_sheet(path / "figure2.png", {
        method.name: [example for example in examples if example.method == method.name] for method in methods})
    records = {}
    for gain in (config.capture.min_preview_gain, config.capture.max_preview_gain):
      evaluator = experiment.evaluator_with(num_draws=config.evaluation.num_draws, preview_gain=gain)
      records[gain] = evaluator.evaluate([debir], experiment.all_scenes("eval"))
      write_records(records_path(path, f"gain {gain:.0f}"), records[gain])
    plots.times_at_gains(path / "figure3.png", records)
  return "figure2.png: the same shots by every method; figure3.png: exposure times against motion, and by gain."


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "figures")
  parser.add_argument("--scenes", type=int, nargs="+", metavar="ID", help="held-out scenes of Figure 2 (the first 4)")
  args = scales.parse(parser)
  scales.report(lambda: run(scales.config_of(args.scale), args.workdir, args.scenes), args.workdir / "figures")


if __name__ == "__main__":
  keep_freed_memory()
  main()
