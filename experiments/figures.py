"""Figures 2, 3 and 4 of the paper.

  python -m experiments.figures --scale=tiny      # minutes; its pictures say nothing
  python -m experiments.figures                   # the quickstart's networks and scenes
  python -m experiments.figures --scenes 0 7 21   # other test scenes in Figures 2 and 4
  python -m experiments.figures --captures my_captures    # Figure 4 alone, of images restored elsewhere; trains nothing

Figure 2: what DEBIR, bracketing and the uniform exposures {16} and {32} make of the same captures, each with its
fine-tuned restorer; the first test scenes, not chosen ones. Figure 3: exposure times that BAENet predicts against
motion, at the lowest gain of training, and histograms of t_1 at the lowest and the highest. Figure 4, in the paper of
real cameras: bursts and results of the same methods on large scenes, with the detail that has the strongest gradients;
or the images of `--captures`, a folder with a subfolder for every method (see experiments/captures.py). Written to
<workdir>/figures.
"""

import itertools
import pathlib
from typing import Sequence

import ml_collections

from debir_jax.evaluation import records_path, write_records
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from experiments import capture_plots, captures, networks, plots, scales

_NUM_SCENES = 4
_NUM_LARGE_SCENES = 1
_NUM_CAPTURES = 6


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, scenes: Sequence[int] | None) -> str:
  """Trains what is missing and draws; returns what is where."""
  _, start = networks.pretrained(config, workdir)
  experiment, state = networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  debir = networks.method(networks.DEBIR, experiment, state)
  with locked(str(workdir / "figures")) as path:
    methods = [debir, *networks.fixed(experiment, start, workdir)]
    examples = experiment.evaluator.examples(
        methods, experiment.all_scenes("test", _NUM_SCENES if scenes is None else scenes))
    plots.method_sheet(path / "figure2.png", {
        method.name: [example for example in examples if example.method == method.name] for method in methods})
    records = {}
    for gain in (config.capture.min_preview_gain, config.capture.max_preview_gain):
      evaluator = experiment.evaluator_with(num_draws=config.evaluation.num_draws, preview_gain=gain)
      records[gain] = experiment.evaluate([debir], evaluator=evaluator)
      write_records(records_path(path, f"gain {gain:.0f}"), records[gain])
    plots.times_at_gains(path / "figure3.png", records)
    large = captures.simulated(config, methods, scenes=range(_NUM_LARGE_SCENES) if scenes is None else scenes)
    capture_plots.burst_sheet(path / "figure4.png", [example for of_capture in large for example in of_capture])
  return ("figure2.png: the same captures by every method; figure3.png: exposure times against motion, and by gain; "
          "figure4.png: bursts and details of large scenes.")


def of_captures(folder: pathlib.Path, workdir: pathlib.Path) -> str:
  """Draws Figure 4 of a folder of captures; returns what is where."""
  with locked(str(workdir / "figures")) as path:
    shown = dict(itertools.islice(captures.read(folder), _NUM_CAPTURES))
    capture_plots.capture_sheet(path / "figure4.png", shown)
  return f"figure4.png: the first {len(shown)} captures of {folder} by every method."


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "figures")
  parser.add_argument("--scenes", type=int, nargs="+", metavar="ID",
                      help="test scenes of Figures 2 and 4 (the first ones)")
  parser.add_argument("--captures", type=pathlib.Path, metavar="DIR",
                      help="restored images of your own for Figure 4, a subfolder for every method")
  args = scales.parse(parser)
  compute = (lambda: of_captures(args.captures, args.workdir)) if args.captures else (
      lambda: run(args.config, args.workdir, args.scenes))
  scales.report(compute, args.workdir / "figures")


if __name__ == "__main__":
  prepare_memory()
  main()
