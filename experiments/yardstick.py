r"""Are scenes and restorer like the paper's? The yardstick is the one published trace of these: the release's labels.

  python -m experiments.yardstick --config=configs/pretrain_small.py --from=runs/pretrain_small --photos=FOLDER

The authors' release tells for every scene which of the set E its restorer restores best. Here the same is asked of the
restorer of stage 1, on validation scenes (choices may rest on it), and two more things:

- Nothing moves: an inverse-variance mean has the same noise for every split of one total exposure time, so {32}x4 and
  bracketing must restore alike. A restorer that cannot tell blur from noise trusts long frames less.
- How well the motion is known, of which the alignment lives: the endpoint error, in mosaic px.

--exact_motion aligns by the motion that scenes tell: what is lost without it is the estimator's. Gains are drawn from
the config's range; --max_gain=512 --min_gain=256 asks for half of it. Written into <from>/yardstick (or --to): a folder
for every set of options, with table.md and scores.json.

Other restorers on the same scenes, here the one inside the package:

  python -m experiments.yardstick --config=configs/pretrain_small.py --restorer_of=configs/quickstart.py \
      --from=debir_jax/weights/small --to=runs/shipped --photos=FOLDER
"""

import argparse
import pathlib
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from debir_jax.config.capture import candidates_of
from debir_jax.evaluation import headroom
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.pipeline import capture_under
from debir_jax.policies import bracket, format_exposure_times
from debir_jax.restoration import Restorer
from debir_jax.restoration.aligned_inputs import found_motion
from debir_jax.runtime.command_line import load_config
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.training.experiment import Experiment

# Best of E by PSNR, % of scenes, of the release's labels: GoPro test, 532 scenes, nothing static.
RELEASE_PERCENT = {"{8}x4": 0, "{16}x4": 30, "{24}x4": 33, "{32}x4": 20, "{8,16,24,32}": 17}
_RESTORER_SECTIONS = ("restorer", "restorer_inputs", "aligned_unet")
_SETS = dict(static=1.0, moving=0.0)  # Fraction of static scenes.


def main(argv: list[str]) -> None:
  parser = make_parser("yardstick", __doc__)
  parser.add_argument("--from", dest="source", type=pathlib.Path, required=True, metavar="WORKDIR",
                      help="workdir of a run with stage 1, or a folder of weights")
  args = parser.parse_args(argv)
  prepare_memory()
  measure(config_of(args), args)


def measure(config: ml_collections.ConfigDict, args: argparse.Namespace, restorer: Restorer | None = None) -> None:
  """Writes and shows the scores of the config's restorer, or of another one, as stage 1 left it in `args.source`."""
  gains = (f"{gain:g}" for gain in _gains(config, args).values())
  name = "_".join(["exact" if args.exact_motion else "found", *gains, f"{config.data.median_speed_px_s:g}px_s"])
  path = (args.to or args.source / "yardstick") / name
  results = run(config, args, restorer)
  write(path, format_table(results), results)


def write(path: pathlib.Path, table: str, results: dict) -> None:
  """Writes and shows a table, and the scores behind it."""
  path.mkdir(parents=True, exist_ok=True)
  write_text(path / "table.md", table + "\n")
  write_json(path / "scores.json", results)
  print(table)


def run(config: ml_collections.ConfigDict, args: argparse.Namespace, restorer: Restorer | None = None) -> dict:
  """Scores by set of scenes, JSON."""
  trained = Experiment(config, restorer=restorer)
  variables = trained.load_stage1_restorer(args.source, trained.initial_state()).restoration_variables
  config.capture.update(_gains(config, args))
  results = {}
  for name, static_fraction in _SETS.items():
    config.data.held_out_static_fraction = static_fraction
    experiment = Experiment(config, restorer=restorer)
    times, names = _candidates(config, experiment.setup.timing)
    evaluator = experiment.evaluator_with(num_draws=args.draws, exact_motion=args.exact_motion)
    scores = experiment.score_candidates(evaluator, times, "validation", variables)
    results[name] = dict(candidates=names, psnr=scores.psnr.tolist(), groups=list(scores.groups))
    if config.restorer_inputs.aligned:  # Others search for no motion, and their scenes tell none.
      results[name]["endpoint_error_px"] = endpoint_errors(experiment, times).tolist()
  return results


def endpoint_errors(experiment: Experiment, times: np.ndarray) -> np.ndarray:
  """How wrong the motion until the middle of the last frame is, median over pixels, in mosaic px: `[S, m]`."""
  timing = experiment.setup.timing

  @jax.jit
  def error(scene, conditions, times):
    burst = capture_under(conditions, scene.radiance, times, timing)
    middle_s = burst.start_s + times / 2
    wrong = found_motion(burst).at(middle_s[-1:]) - scene.motion.at(middle_s[-1:])
    return 2 * jnp.median(jnp.linalg.norm(wrong, axis=-1))

  source, errors = experiment.scenes["validation"], []
  for index in range(len(source)):
    scene = source.scene(index)
    conditions = jax.tree.map(lambda leaf: leaf[0], experiment.evaluator.conditions(scene.scene_id[None], 0))
    errors.append([float(error(scene, conditions, jnp.asarray(each))) for each in times])
  return np.array(errors)


def format_table(results: dict) -> str:
  """Markdown: PSNR of every choice, the laws, the histogram beside the release's, and the headroom."""
  lines = ["| scenes | " + " | ".join(results["moving"]["candidates"]) + " |",
           "| --- " * (1 + len(results["moving"]["candidates"])) + "|"]
  for name, of_set in results.items():
    mean, error = mean_and_error(np.mean(of_set["psnr"], 1), _units(of_set))
    lines.append(f"| {name}, PSNR, dB | " + " | ".join(f"{m:.2f} ± {e:.2f}" for m, e in zip(mean, error)) + " |")
    if "endpoint_error_px" in of_set:
      lines.append(f"| {name}, endpoint error, median, px | " + " | ".join(
          f"{value:.2f}" for value in np.median(of_set["endpoint_error_px"], 0)) + " |")
  moving, names = results["moving"], list(RELEASE_PERCENT)
  among = [moving["candidates"].index(name) for name in names]
  found = headroom(np.asarray(moving["psnr"])[..., among], moving["groups"])
  lines += ["", "| best of E, % of moving scenes | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|",
            "| release, GoPro test | " + " | ".join(f"{RELEASE_PERCENT[name]}" for name in names) + " |",
            "| this restorer | " + " | ".join(f"{100 * share:.0f}" for share in found.best_fraction) + " |", ""]
  worst = max(abs(100 * share - RELEASE_PERCENT[name]) for name, share in zip(names, found.best_fraction))
  gap, gap_error = _gap(results["static"], "{32}x4", "{8,24,40,56}")
  best = max(names[:4], key=lambda name: _mean_of(moving, name))
  behind, behind_error = _gap(moving, best, "{8,24,40,56}")
  lines += [
      f"- Largest distance from the release's share: {worst:.0f} points (aim: 10).",
      f"- Headroom, best of E per scene over {names[found.best_fixed]}, cross-validated over noise: "
      f"{found.unbiased:.2f} ± {found.unbiased_error:.2f} dB (aim: 0.3).",
      f"- Static scenes, {{32}}x4 over bracketing: {gap:.2f} ± {gap_error:.2f} dB (aim: 0.3 at most).",
      f"- Moving scenes, {best} over bracketing: {behind:.2f} ± {behind_error:.2f} dB (aim: 0.3 at most).",
      f"- {len(moving['psnr'])} scenes of {len(set(moving['groups']))} photos, {len(moving['psnr'][0])} noise draws "
      "each; ± is one standard error over photos."]
  return "\n".join(lines)


def _candidates(config, timing):
  """The set E and bracketing: times `[m, n]`, s, and names."""
  in_set = candidates_of(config)
  bracketing = np.asarray(bracket(timing).exposure_times)
  return np.concatenate([in_set.exposure_times, bracketing[None]]), [*in_set.names, format_exposure_times(bracketing)]


def _gap(of_set, first, second):
  """How much better one choice is than another, dB, and the standard error."""
  psnr = np.mean(of_set["psnr"], 1)
  first, second = (psnr[:, of_set["candidates"].index(name)] for name in (first, second))
  return mean_and_error(first - second, _units(of_set))


def _mean_of(of_set, name):
  return np.mean(np.asarray(of_set["psnr"])[..., of_set["candidates"].index(name)])


def _units(of_set):
  return Units(of_set["groups"], [0] * len(of_set["groups"]))


def _gains(config, args):
  """That are measured at; networks know those that they were trained with, the config's."""
  return dict(min_preview_gain=args.min_gain or config.capture.min_preview_gain,
              max_preview_gain=args.max_gain or config.capture.max_preview_gain)


def config_of(args: argparse.Namespace) -> ml_collections.ConfigDict:
  """Networks and scenes that the options name."""
  config = load_config(args.config)
  if args.restorer_of:
    other = load_config(args.restorer_of)
    config.update({section: other[section] for section in _RESTORER_SECTIONS})
  config.comparison.enabled, config.evaluation.watched_scenes = False, 0
  config.data.update(dict(photos=args.photos or config.data.photos, num_validation_scenes=args.scenes, cache=False))
  config.data.median_speed_px_s = args.speed or config.data.median_speed_px_s
  return config


def add_run_options(parser: argparse.ArgumentParser) -> None:
  """The run that is measured, and which photos are in its splits."""
  parser.add_argument("--from", dest="source", type=pathlib.Path, required=True, metavar="WORKDIR",
                      help="workdir of a run with stage 1")
  parser.add_argument("--photo_list", default="", metavar="FILE", help="splits of the photos (the config's)")


def experiment_of(args: argparse.Namespace, split: str) -> Experiment:
  """With so many scenes of a split as the options ask for, and so many draws of each."""
  config = config_of(args)
  config.data.update({f"num_{split}_scenes": args.scenes, "photo_list": args.photo_list or config.data.photo_list})
  config.evaluation.num_draws = args.draws
  return Experiment(config)


def make_parser(name: str, description: str, config: str | None = None) -> argparse.ArgumentParser:
  """Options of all that measures so; `config`: the file where none is named."""
  parser = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=description,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", required=config is None, default=config,
                      help="of the networks and scenes, such as configs/pretrain_small.py")
  parser.add_argument("--restorer_of", metavar="CONFIG",
                      help="config file of the restorer, if it is not that of --config")
  parser.add_argument("--to", type=pathlib.Path, metavar="FOLDER", help="for the results (<from>/yardstick)")
  parser.add_argument("--photos", default="", metavar="FOLDER", help="whose validation split is taken")
  parser.add_argument("--scenes", type=int, default=64, help="of either set (%(default)s)")
  parser.add_argument("--draws", type=int, default=4, help="of the noise, for each scene (%(default)s)")
  parser.add_argument("--exact_motion", action="store_true", help="align by the motion that scenes tell")
  parser.add_argument("--min_gain", type=float, help="of the preview, linear (the config's)")
  parser.add_argument("--max_gain", type=float)
  parser.add_argument("--speed", type=float, metavar="PX_S", help="median of moving scenes (the config's)")
  parser.add_argument("--nohuge_pages", action="store_true",
                      help="do not start once more to put arrays on huge pages")  # Read by prepare_memory.
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
