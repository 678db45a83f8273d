"""What measures best how fast a scene moves, from two noisy previews: BAENet's motion input.

  python -m experiments.motion_meters --photos=FOLDER,FOLDER --raft=FILE    # ten minutes of one core

On validation scenes of a config (choices may rest on them), static and moving ones, their previews taken at gains as in
training and at half of these. The meters, each of which tells the mean length of a flow:

- Lucas-Kanade, the default of `config.motion`;
- the search: `find_motion`, made for bursts, given the two previews; a few global parameters, and exactly 0 where the
  frames are as alike without motion;
- both: Lucas-Kanade, and 0 where the search says 0;
- RAFT-small, the paper's (--raft: its weights, see `debir_jax.convert`), at crops of 256 px or more.

Read against the exact mean speed between the middles of the previews. All speeds are in px of the half-size preview per
second, as `config.motion.full_scale_px_per_s` is; those of the mosaic are twice as large. What is wanted is a reading
that orders scenes by their speed (rank correlation) and does not take noise for motion (static scenes). The table also
tells the quantiles of the true speed, of which the 95 % quantile is a sensible full scale.

Written to --to: table.md, scores.json, motion_meters.png (every scene at the first crop).
"""

import argparse
from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from scipy import stats

from debir_jax.config.capture import capture_setup_of
from debir_jax.config.scenes import scene_sources_of
from debir_jax.convert.raft import raft_params
from debir_jax.evaluation.canvas import figure_and_axes, save
from debir_jax.motion import MotionEstimator, Raft, find_motion, mean_flow_magnitude
from debir_jax.runtime.command_line import load_config
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.scenes import camera_path, photo_motion
from debir_jax.simulator import CaptureSetup, sample_conditions, simulate_previews
from debir_jax.simulator.shutter import preview_windows
from debir_jax.types import BurstTiming, CameraColor
from debir_jax.weights.weight_file import load_weights

QUANTILES = (25, 50, 75, 90)  # %
TRUE_QUANTILES = (5, 25, 50, 75, 90, 95, 99)
_SETS = dict(static=1.0, moving=0.0)  # Fraction of static scenes.
_SMALLEST_RAFT_CROP = 256  # px
_LEAST_SPEED = 1.0  # px/s: readings below it count as this in logarithms.
_TIMED_RUNS = 10

Meter = Callable[[jax.Array, CameraColor], jax.Array]  # Previews [2, h, w, 4] -> mean length of the flow, px.


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  config = load_config(args.config)
  config.data.update(dict(photos=args.photos or config.data.photos, num_validation_scenes=args.scenes, cache=False,
                          validation_source="photos"))
  raft = raft_variables(args.raft) if args.raft else None
  scores = {str(crop): run(config, crop, raft) for crop in args.crops}
  args.to.mkdir(parents=True, exist_ok=True)
  table = format_table(scores)
  write_text(args.to / "table.md", table + "\n")
  write_json(args.to / "scores.json", scores)
  draw(args.to / "motion_meters.png", scores[str(args.crops[0])])
  print(table)


def run(config: ml_collections.ConfigDict, crop: int, raft: Mapping | None) -> dict:
  """Readings and true speeds at one size of crops, px/s of the half-size preview, and times in ms; JSON."""
  config.data.crop_size = crop
  setup = capture_setup_of(config, training=False)
  meters = meters_of(setup.timing, raft if crop >= _SMALLEST_RAFT_CROP else None)
  gap_s = setup.timing.preview_exposure_s + setup.timing.preview_gap_s
  found = dict(readings={}, true={}, milliseconds={})
  for name, fraction in _SETS.items():
    config.data.held_out_static_fraction = fraction
    source = scene_sources_of(config)["validation"]
    log(f"measuring {len(source)} {name} scenes of {crop} px ...")
    found["true"][name] = [float(true_speed(source.params(index), setup.timing, crop)) for index in range(len(source))]
    for index in range(len(source)):
      scene = source.scene(index)
      for gains, its_setup in _setups(setup).items():
        previews = _previews(jax.random.fold_in(jax.random.key(config.evaluation.seed), index), scene.radiance,
                             its_setup)
        for meter, length in meters.items():
          found["readings"].setdefault(gains, {}).setdefault(name, {}).setdefault(meter, []).append(
              float(length(previews, scene.color)) / gap_s)
  found["milliseconds"] = {meter: _milliseconds(length, previews, scene.color) for meter, length in meters.items()}
  for of_gains in found["readings"].values():
    for readings in of_gains.values():
      readings["both"] = with_rest(readings["Lucas-Kanade"], readings["search"])
  return found | dict(agreement=agreements(found))


def meters_of(timing: BurstTiming, raft: Mapping | None) -> dict[str, Meter]:
  """Compiled meters by name; RAFT with these variables, where they are given."""
  times_s = jnp.array([0, timing.preview_exposure_s + timing.preview_gap_s])

  def search(previews, color):
    del color
    return mean_flow_magnitude(find_motion(previews, times_s, jnp.ones(2)).at(times_s[1:])[0])

  of_estimator = lambda estimator: lambda previews, color: estimator(previews, color, timing)[0]
  meters = {"Lucas-Kanade": of_estimator(MotionEstimator()), "search": search}
  if raft is not None:
    meters["RAFT-small"] = of_estimator(MotionEstimator(estimator=Raft("small"), variables=raft))
  return {name: jax.jit(meter) for name, meter in meters.items()}


def raft_variables(path: pathlib.Path) -> dict:
  """RAFT-small's variables: of a file that `debir_jax.convert` wrote, or of a state dict in an npz, whose names may
  begin with "state_dict/".

  Raises:
    FileNotFoundError, ValueError: it is absent or another file.
  """
  if path.suffix != ".npz":
    return jax.tree.map(jnp.asarray, load_weights(path)[0])
  with np.load(path) as file:
    prefix = "state_dict/" if any(name.startswith("state_dict/") for name in file) else ""
    state_dict = {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}
  return jax.tree.map(jnp.asarray, raft_params(state_dict))


@functools.partial(jax.jit, static_argnums=(1, 2))
def true_speed(params: photo_motion.PhotoMotionParams, timing: BurstTiming, crop: int) -> jax.Array:
  """Mean speed of what is seen from the middle of the first preview to that of the second, half-size px/s."""
  first_s, second_s = jnp.mean(jnp.stack(preview_windows(timing)), 0)
  flow = photo_motion.motion_field(params, camera_path.cell_positions(crop), first_s, second_s) / 2
  return mean_flow_magnitude(flow) / (second_s - first_s)


def with_rest(readings: list[float], search: list[float]) -> list[float]:
  """A meter's readings, 0 where the search finds no motion."""
  return [reading if found else 0.0 for reading, found in zip(readings, search, strict=True)]


def agreements(found: Mapping) -> dict:
  """By gains and meter: quantiles of the readings of static scenes, and `agreement` for moving ones; JSON."""
  return {gains: {meter: dict(static=_quantiles(readings["static"][meter], QUANTILES),
                              **agreement(moving, found["true"]["moving"]))
                  for meter, moving in readings["moving"].items()}
          for gains, readings in found["readings"].items()}


def agreement(reading: list[float], true: list[float]) -> dict:
  """How a meter's readings of moving scenes agree with their true speeds, both in px/s; JSON.

  Returns:
    `spearman`, of ranks; `pearson_log`, of logarithms, readings below 1 px/s taken as 1; `relative_error`, quantiles
    by %.
  """
  reading, true = np.asarray(reading), np.asarray(true)
  logs = [np.log(np.maximum(values, _LEAST_SPEED)) for values in (reading, true)]
  errors = np.abs(reading - true) / true
  return dict(spearman=float(stats.spearmanr(reading, true)[0]), pearson_log=float(stats.pearsonr(*logs)[0]),
              relative_error=_quantiles(errors, QUANTILES))


def _quantiles(values, shares):
  return {str(share): float(np.percentile(values, share)) for share in shares}


def _setups(setup: CaptureSetup) -> dict[str, CaptureSetup]:
  """The setup's gains, and half of them."""
  found = {}
  for factor in (1.0, 0.5):
    low, high = factor * setup.min_preview_gain, factor * setup.max_preview_gain
    found[f"{low:g} to {high:g}"] = dataclasses.replace(setup, min_preview_gain=low, max_preview_gain=high)
  return found


@functools.partial(jax.jit, static_argnames="setup")
def _previews(key, radiance, setup):
  conditions = sample_conditions(key, setup)
  return simulate_previews(conditions.preview_key, radiance, conditions.preview_gain, conditions.preview_noise_model,
                           setup.timing, black_level=setup.black_level)


def _milliseconds(meter, *arguments) -> float:
  times = []
  for _ in range(_TIMED_RUNS):
    start = time.perf_counter()
    jax.block_until_ready(meter(*arguments))
    times.append(1e3 * (time.perf_counter() - start))
  return statistics.median(times)


def format_table(scores: Mapping[str, Mapping]) -> str:
  """Markdown: a row for every crop, range of gains and meter, then the quantiles of true speeds."""
  head = " / ".join(map(str, QUANTILES))
  cells = lambda values, digits: " / ".join(f"{value:.{digits}f}" for value in values.values())
  lines = [f"| crop, px | gain | meter | static scenes, px/s: {head} % | rank correlation | correlation of logs | "
           f"relative error: {head} % | ms |", "| --- " * 8 + "|"]
  for crop, of_crop in scores.items():
    for gains, of_gains in agreements(of_crop).items():
      for meter, row in of_gains.items():
        ms = of_crop["milliseconds"].get(meter)
        lines.append(f"| {crop} | {gains} | {meter} | {cells(row['static'], 1)} | {row['spearman']:.3f} | "
                     f"{row['pearson_log']:.3f} | {cells(row['relative_error'], 2)} | "
                     f"{'' if ms is None else f'{ms:.0f}'} |")
  num_scenes = len(next(iter(scores.values()))["true"]["moving"])
  lines += ["", f"{num_scenes} static and {num_scenes} moving scenes. All px are those of the half-size preview.", "",
            f"| crop, px | true speed of moving scenes, px/s: {' / '.join(map(str, TRUE_QUANTILES))} % |",
            "| --- | --- |"]
  for crop, of_crop in scores.items():
    lines.append(f"| {crop} | {cells(_quantiles(of_crop['true']['moving'], TRUE_QUANTILES), 0)} |")
  return "\n".join(lines)


def draw(path: pathlib.Path, of_crop: Mapping) -> None:
  """Readings of every moving scene against its true speed, a panel for every meter, a row for every range of gains."""
  rows = of_crop["readings"]
  meters = list(next(iter(rows.values()))["moving"])
  figure, axes = figure_and_axes(len(rows), len(meters), (3.1 * len(meters), 3.1 * len(rows)), sharex=True, sharey=True)
  true = np.asarray(of_crop["true"]["moving"])
  for row, (gains, of_gains) in zip(axes, rows.items()):
    for axis, meter in zip(row, meters):
      axis.scatter(true, np.maximum(of_gains["moving"][meter], _LEAST_SPEED), s=12, alpha=0.7, label="moving scenes")
      still = np.maximum(of_gains["static"][meter], _LEAST_SPEED)
      axis.scatter(np.full(len(still), _LEAST_SPEED), still, s=12, alpha=0.4, color="tab:red", label="static scenes")
      axis.plot([_LEAST_SPEED, 1000], [_LEAST_SPEED, 1000], color="grey", linewidth=0.8)
      axis.set(xscale="log", yscale="log")
      axis.set_title(f"{meter}, gains {gains}", fontsize=9)
      axis.tick_params(labelsize=8)
      axis.grid(alpha=0.25)
    row[0].set_ylabel("reading, half-size px/s", fontsize=9)
  for axis in axes[-1]:
    axis.set_xlabel("true mean speed, half-size px/s (below 1: at 1)", fontsize=9)
  axes[0][0].legend(fontsize=8, loc="lower right")
  save(figure, path)


def _parser():
  parser = argparse.ArgumentParser(prog="python -m experiments.motion_meters", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/pretrain_small.py", help="whose scenes are taken (%(default)s)")
  parser.add_argument("--photos", default="", metavar="FOLDER,FOLDER", help="in the place of the config's")
  parser.add_argument("--raft", type=pathlib.Path, metavar="FILE", help="weights of RAFT-small; left out without")
  parser.add_argument("--crops", type=int, nargs="+", default=(96, 64, 256), metavar="PX", help="(%(default)s)")
  parser.add_argument("--scenes", type=int, default=64, help="of either set (%(default)s)")
  parser.add_argument("--to", type=pathlib.Path, metavar="FOLDER", help="for the results (%(default)s)",
                      default=pathlib.Path(__file__).parent / "results" / "motion_meters")
  parser.add_argument("--nohuge_pages", action="store_true",
                      help="do not start once more to put arrays on huge pages")  # Read by prepare_memory.
  return parser


if __name__ == "__main__":
  prepare_memory()
  main(sys.argv[1:])
