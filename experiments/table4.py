"""Table 4 of the paper: bursts of 2, 4, 6 and 8 frames.

  python -m experiments.table4 --scale=tiny                # minutes; its numbers say nothing
  python -m experiments.table4                             # the quickstart's networks and scenes
  python -m experiments.table4 --frames 2 4                # some of them

For every burst length a restorer of its own (stage 1), DEBIR (stages 2 and 3), and the restorer fine-tuned for exposure
bracketing and for the uniform exposures {16} and {32}. The budget is 32/1920 s per frame. Scenes of longer bursts are
longer sequences with motion of their own: compare methods within a column. Results go into <workdir>/table4.

The paper's numbers belong to other scenes (GoPro) and networks of full size: compare the order, not the values.
"""

import pathlib
from typing import Sequence

import ml_collections

from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from experiments import networks, scales, tables

FRAMES = (2, 4, 6, 8)
PAPER = {networks.DEBIR: (34.22, 35.32, 35.84, 36.11), "bracketing": (33.59, 35.04, 35.69, 35.89)}


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, frames: Sequence[int]) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  records = {}
  for count in frames:
    its_config, root = networks.with_frames(config, workdir, count)
    _, start = networks.pretrained(its_config, root)
    experiment, state = networks.trained(its_config, root, networks.DEBIR, {"bae.network": "baenet"})
    methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, root)]
    records[f"{count} frames"] = experiment.evaluate(methods)
  with locked(str(workdir / "table4")) as path:
    return tables.write(records, path, reference=networks.DEBIR, paper=PAPER,
                        paper_columns=[f"PSNR, {count} frames" for count in FRAMES])


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "table4")
  parser.add_argument("--frames", type=int, nargs="+", choices=FRAMES, default=FRAMES, metavar="N",
                      help="burst lengths, some of 2, 4, 6, 8")
  args = scales.parse(parser)
  config = args.config
  scales.report(lambda: run(config, args.workdir, args.frames), args.workdir / "table4")


if __name__ == "__main__":
  prepare_memory()
  main()
