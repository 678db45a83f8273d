r"""What a restorer loses by motion that is found in the frames, and by the error that stands for it in training.

  python -m experiments.motion_error --config=configs/quickstart.py --from=runs/quickstart --photos=FOLDER,FOLDER \
      --photo_list=experiments/pretraining/photo_splits.json --to=runs/motion_error

No gradient leads through the search for motion, so stage 2 judges exposure times under the scenes' exact motion and an
error that is drawn (`debir_jax/motion/uncertain.py`). It has to cost what the search costs, at every exposure time:
else BAENet learns times that are too long or too short. Uniform bursts of scenes of BAENet's photos (split bae, on
which nothing is tested) are restored by the restorer of stage 1 under the exact motion, the one that is found in the
frames and the preview before them, or in the frames alone, and two kinds of drawn errors. Written to --to: table.md,
scores.json.
"""

import argparse
import dataclasses
import sys

import jax
import numpy as np

from debir_jax.evaluation import Evaluator
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.motion.uncertain import error_of_search, with_error
from debir_jax.pipeline import Chain
from debir_jax.restoration import RestorerInputs
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ, Burst, SampledMotion, Scene
from experiments import yardstick

_COUNTS = (8, 12, 16, 20, 24, 28, 32)  # Exposure times of all frames, in 1/1920 s.


@dataclasses.dataclass(frozen=True, kw_only=True)
class UncertainChain(Chain):
  """Frames are aligned by the scenes' motion and an error, relative to its speed, which is drawn for every scene."""

  relative_error: float

  def motion_of(self, scene: Scene) -> SampledMotion:
    """Of a batch of scenes."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(5), number))(scene.scene_id)
    return jax.vmap(lambda key, motion: with_error(key, motion, self.relative_error))(keys, scene.motion)


@dataclasses.dataclass(frozen=True)
class WithoutPreview(RestorerInputs):
  """Frames are aligned by what is found in them alone."""

  def __call__(self, burst: Burst) -> jax.Array:
    return super().__call__(dataclasses.replace(burst, preview=None))


def run(experiment: Experiment, variables, args: argparse.Namespace) -> dict[str, dict]:
  """PSNR and L1 `[S, m]` of every kind of motion, JSON."""
  source, chain, shortest_s = experiment.scenes["bae"], experiment.chain(), experiment.setup.timing.min_exposure_s
  times = np.array([[count / SUBFRAME_RATE_HZ] * experiment.setup.timing.num_frames for count in _COUNTS])
  growing = [float(error_of_search(args.error, each, shortest_s)) for each in times]
  fields_of = lambda thing: {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
  found = dataclasses.replace(chain, exact_motion=False)
  chains = {"found": found, "found without the preview": dataclasses.replace(
      found, restorer_inputs=WithoutPreview(**fields_of(chain.restorer_inputs)))}
  errors = {"exact": [0.0] * len(times), "found": None, "found without the preview": None,
            f"drawn, {args.error:g} at the shortest": growing, "drawn, 0.1 at all": [0.1] * len(times)}
  results = {}
  for name, relative in errors.items():
    log(f"restoring under the motion that is {name} ...")
    scores = []
    for index, each in enumerate(times):
      of_name = chains[name] if relative is None else UncertainChain(
          **fields_of(chain), relative_error=relative[index])
      evaluator = Evaluator(of_name, num_draws=args.draws, seed=experiment.config.evaluation.seed)
      found = evaluator.score_candidates(each[None], experiment.all_scenes("bae"), variables)
      scores.append((found.psnr.mean(1)[:, 0], found.l1.mean(1)[:, 0]))
    psnr, l1 = np.swapaxes(scores, 0, 1)
    results[name] = dict(psnr=psnr.T.tolist(), l1=l1.T.tolist())
  return dict(counts=list(_COUNTS), groups=[source.group(index) for index in range(len(source))], motion=results)


def format_table(results: dict) -> str:
  """Markdown: what is lost to the exact motion, and where the mean loss is least."""
  counts, groups = results["counts"], results["groups"]
  units, exact = Units(groups, [0] * len(groups)), results["motion"]["exact"]
  lines = ["| motion | " + " | ".join(f"{{{count}}}x4" for count in counts) + " | best by PSNR | by L1 |",
           "| --- " * (3 + len(counts)) + "|"]
  for name, of_motion in results["motion"].items():
    lost, error = mean_and_error(np.asarray(exact["psnr"]) - np.asarray(of_motion["psnr"]), units)
    cells = [f"{mean:.2f} ± {each:.2f}" for mean, each in zip(lost, error)]
    best = counts[int(np.mean(of_motion["psnr"], 0).argmax())], counts[int(np.mean(of_motion["l1"], 0).argmin())]
    lines.append(f"| {name} | " + " | ".join(cells) + f" | {{{best[0]}}}x4 | {{{best[1]}}}x4 |")
  note = (f"PSNR lost to the exact motion, dB, {len(groups)} scenes of {len(set(groups))} photos, ± one standard error "
          "over photos; the best by the mean over all scenes.")
  return "\n".join([*lines, "", note])


def main(argv: list[str]) -> None:
  """Measures and writes."""
  parser = yardstick.make_parser("motion_error", __doc__)
  yardstick.add_run_options(parser)
  parser.add_argument("--error", type=float, default=0.075, help="relative, at the shortest exposures (%(default)s)")
  args = parser.parse_args(argv)
  prepare_memory()
  experiment = yardstick.experiment_of(args, "bae")
  start = experiment.load_stage("stage1", args.source, experiment.initial_state())
  results = run(experiment, start.restoration_variables, args)
  yardstick.write(args.to or args.source / "motion_error", format_table(results), results)


if __name__ == "__main__":
  main(sys.argv[1:])
