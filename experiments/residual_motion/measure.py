"""How well the motion of bursts of validation scenes is known: by the global search alone, and with the residual.

  python -m experiments.residual_motion.measure --photos=FOLDER,FOLDER --workdir=runs/residual_motion

Endpoint error until the middle of the last frame, in mosaic px: of its median over the px of a burst the median and the
80 % quantile over bursts, and its mean over all px of all bursts. A scene has layers where they cover 2 % of it or
more. Bursts are made once and kept in WORKDIR.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.motion.burst_flow import UNIT_S, WindowedMotion
from debir_jax.motion.residual_flow import certain_part, find_residual, load_networks, residual_flow
from debir_jax.policies import format_exposure_times
from debir_jax.runtime.files import write_text
from debir_jax.scenes.camera_path import cell_positions
from debir_jax.scenes.photo_motion import motion_field
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments.residual_motion.examples import SETS, Example, config_of, load_examples, make_example, save_examples

_NUM_SCENES = dict(static=46, moving=60)
_PREVIEWS = {"with the preview": True, "without a preview": False}
_LEAST_LAYER = 0.02
_METHODS = ("search alone", "first look", "second look", "third look", "in use")


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  variables, text = load_networks(args.weights) if args.weights else load_networks(), ""
  for known, with_preview in _PREVIEWS.items():
    folder = args.workdir / "validation" / known.replace(" ", "_")
    for name in _NUM_SCENES:
      if not (folder / name).is_dir():
        make_examples(args.photos, folder / name, name, with_preview)
    text += f"{known.capitalize()}:\n\n" + "\n".join(table(variables, folder)) + "\n\n"
  write_text(args.workdir / "errors.md", text.strip() + "\n")
  print(text.strip())


def table(variables: Any, folder: pathlib.Path) -> list[str]:
  """Markdown rows."""
  names = [format_exposure_times(np.array(times) / SUBFRAME_RATE_HZ) for times in SETS]
  lines = ["| scenes | motion | " + " | ".join(names) + " |", "| --- " * (2 + len(names)) + "|"]
  for name in _NUM_SCENES:
    errors = errors_of(variables, load_examples(folder / name))
    shares = np.loadtxt(folder / name / "layer_share.txt", ndmin=1)
    groups = {"static": {"static": shares >= 0}, "moving": {
        "moving": shares >= 0, "without layers": shares < _LEAST_LAYER, "with layers": shares >= _LEAST_LAYER}}[name]
    for group, chosen in groups.items():
      for method, of_method in zip(_METHODS, errors[:, chosen]) if chosen.any() else ():
        fields = (f"{np.median(medians):.2f} {np.quantile(medians, 0.8):.2f} {mean:.2f}" for medians, mean in zip(
            np.median(of_method, -1).T, of_method.mean((0, 2))))
        lines.append(f"| {group}, {chosen.sum()} | {method} | " + " | ".join(fields) + " |")
  return lines


def errors_of(variables: Any, examples: Example) -> np.ndarray:
  """Endpoint errors of the last frame, mosaic px: `[methods, scenes, sets, px]`."""

  @jax.jit
  def of_one(variables, example):
    base = WindowedMotion(parameters=example.parameters, size=example.gray.shape[1:])
    last_s = example.middle_s[-1:]
    missing = example.flow_px[-1].astype(jnp.float32) - base.at(last_s)[0]
    found = find_residual(variables, example.gray, example.middle_s, example.exposure_s, example.weights, base)
    motions = [0 * found[0][0], *(residual for residual, _ in found), certain_part(*found[-1])]
    error = lambda residual: 2 * jnp.linalg.norm(missing - residual_flow(residual, last_s / UNIT_S)[0], axis=-1)
    return jnp.stack([error(residual).ravel() for residual in motions])

  count = len(examples.gray)
  errors = np.stack([of_one(variables, jax.tree.map(lambda leaf: leaf[i], examples)) for i in range(count)], 1)
  return errors.reshape(len(errors), -1, len(SETS), errors.shape[-1])


def make_examples(photos: str, folder: pathlib.Path, name: str, with_preview: bool) -> None:
  """Takes the bursts of the static or of the moving scenes with every set of exposure times."""
  config = config_of(photos)
  config.data.update(dict(num_validation_scenes=_NUM_SCENES[name],
                          held_out_static_fraction=1.0 if name == "static" else 0.0))
  experiment = Experiment(config)
  timing, source = experiment.setup.timing, experiment.scenes["validation"]
  make = jax.jit(lambda *capture: make_example(*capture, timing, float(with_preview)))
  start_s = (timing.target_index + 0.5) / SUBFRAME_RATE_HZ

  @jax.jit
  def layer_share(params):
    flow = lambda params: motion_field(params, cell_positions(source.crop_size), start_s, start_s + 0.05)
    return jnp.mean(jnp.linalg.norm(flow(params) - flow(dataclasses.replace(params, layers=())), axis=-1) > 0.3)

  shares, examples = [], []
  for index in range(len(source)):
    scene = source.scene(index)
    conditions = jax.tree.map(lambda leaf: leaf[0], experiment.evaluator.conditions(scene.scene_id[None], 0))
    shares.append(float(layer_share(source.params(index))))
    examples += [jax.device_get(make(scene, conditions, jnp.asarray(times) / SUBFRAME_RATE_HZ)) for times in SETS]
  folder.mkdir(parents=True)
  save_examples(folder / "0.npz", examples)
  np.savetxt(folder / "layer_share.txt", shares)


def _parser():
  parser = argparse.ArgumentParser(prog="python -m experiments.residual_motion.measure", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--photos", required=True, metavar="FOLDER,FOLDER", help="of the list in experiments/pretraining")
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--weights", type=pathlib.Path, help="a file of networks; those inside the package by default")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
