"""Bursts of two to eight frames by one pair of networks, against fixed exposures of as many frames.

  python -m experiments.frames --photos=FOLDER,FOLDER --photo_list=experiments/pretraining/photo_splits.json \
      --to=experiments/weights/frames

The pair is `small_burst_sizes` of the weights inside the package, or another one of `configs/burst_sizes.py`, and
chooses the exposure times of each size; all methods are restored by its restorer as stage 1 left it, which was made for
none of them. Each frame has the same part of the budget, as in Table 4 of the paper. All sizes see the same scenes, so
columns may be compared. A row that is the same in all of them: as many frames as the pair chooses by itself, which is
free to take all. With --exact_motion frames are aligned by the motion that scenes tell. Written to --to: table.md,
table.csv, records and figures.
"""

import argparse
import functools
import pathlib
import sys

from configs import burst_sizes
from debir_jax.evaluation import Method
from debir_jax.policies import Fixed, bracket
from debir_jax.runtime.files import local_path
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming
from debir_jax.weights.shipped import shipped_files
from experiments import networks, scales, table4, tables

_UNIFORM_SUBFRAMES = (16, 24, 32)
_CHOICE = "as many as it chooses"


def run(options: argparse.Namespace) -> str:
  """Measures all sizes; returns the table."""
  experiment = Experiment(config_of(options))
  weights = local_path(experiment.config.init_from, "--weights")
  state = experiment.load_stage("stage2", weights, experiment.initial_state())
  policy, restorer = experiment.bae_policy(state), state.restoration_variables
  timing, records = experiment.setup.timing, {}
  evaluate = functools.partial(experiment.evaluate, split=options.split, evaluator=experiment.evaluator_with(
      num_draws=1, exact_motion=options.exact_motion))
  chosen = evaluate([Method(_CHOICE, policy, restorer)])
  for size in experiment.models.burst_sizes:
    methods = {networks.DEBIR: policy.for_frames(size), **fixed_policies(timing, size)}
    records[f"{size} frames"] = chosen + evaluate([
        Method(name, policy, restorer) for name, policy in methods.items()])
  with locked(str(options.to)) as path:
    return tables.write(records, path, reference=networks.DEBIR, paper=table4.PAPER,
                        paper_columns=[f"PSNR, {count} frames" for count in table4.FRAMES])


def fixed_policies(timing: BurstTiming, size: int) -> dict[str, Fixed]:
  """Bracketing and uniform exposures of the first `size` frames of a burst."""
  shorter = timing.with_frames(size)
  times = {"bracketing": bracket(shorter).exposure_times}
  times |= {f"uniform {{{count}}}": (count / SUBFRAME_RATE_HZ,) * size for count in _UNIFORM_SUBFRAMES}
  return {name: Fixed((*of_frames, *(0,) * (timing.num_frames - size))) for name, of_frames in times.items()}


def config_of(options: argparse.Namespace):
  """The pair's config, with the scenes of `configs/pretrain_small.py`."""
  config = burst_sizes.get_config()
  config.init_from = options.weights or str(shipped_files("small_burst_sizes")[0].parent)
  config.data.update(dict(photos=options.photos, photo_list=options.photo_list if options.photos else "",
                          crop_size=options.size, num_test_scenes=options.scenes,
                          num_validation_scenes=options.scenes, cache=False))
  config.data.photos = config.data.photos or "builtin"
  config.evaluation.num_draws = 1
  return config


def main(argv: list[str]) -> None:
  """Reads the options and runs."""
  parser = argparse.ArgumentParser(prog="python -m experiments.frames", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--to", type=pathlib.Path, required=True, help="a folder")
  add("--weights", help="a folder of weights, or the workdir of a run (small_burst_sizes)")
  scales.add_listed_photos(parser)
  add("--size", type=int, default=96, help="side of the scenes, mosaic px (%(default)s)")
  add("--scenes", type=int, default=128, help="how many (%(default)s)")
  add("--split", choices=("validation", "test"), default="test", help="of the photos (%(default)s)")
  add("--exact_motion", action="store_true", help="align by the motion that scenes tell: what is lost without is the "
                                                  "search's")
  options = parser.parse_args(argv)
  scales.report(lambda: run(options), options.to)


if __name__ == "__main__":
  prepare_memory()
  main(sys.argv[1:])
