"""Room below black: what clipping at 0 does to dark noisy frames, to bracketing and to DEBIR.

  python -m experiments.black_level --scale=tiny
  python -m experiments.black_level             # two sets of the quickstart's networks: half an hour on 2 CPU cores

Eq. 6 cuts frames at 0, so noise around black has a mean above 0, and the shorter a frame, the brighter it becomes.
Sensors count from a pedestal and cut below it (`config.capture.black_level`). First table: how much brighter frames of
each length are than their scene, on the test scenes. Then DEBIR, bracketing and uniform exposures with networks that
were trained and measured at either black level, restorers fine-tuned for each. Last: what the black level changes for
each of them, on the same scenes, gains and noise. Written to <workdir>/black_level: tables, JSON, records.
"""

import dataclasses
import pathlib
from typing import Any, Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from debir_jax.evaluation import Record, records_path, summarize, write_records
from debir_jax.evaluation.records import by_method
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.evaluation.summary import scene_means, units_of, warning_of
from debir_jax.pipeline import capture_under
from debir_jax.policies import bracket
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.scenes import group_of
from debir_jax.simulator import burst_windows, integrate_windows
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments import networks, scales, tables

LEVELS = (0.0, 1 / 16)  # Of white; 1/16 is 64 of 1023 counts.
_BIAS_LEVELS = (0.0, 1 / 32, 1 / 16, 1 / 4)
_NUM_SCENES = 16


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures at every black level, writes the results; returns the tables."""
  records, bias = {}, {}
  for level in LEVELS:
    its_config, root = _at(config, workdir, level)
    experiment, start = networks.pretrained(its_config, root)
    experiment, state = networks.trained(its_config, root, networks.DEBIR, {"bae.network": "baenet"})
    log(f"measuring at a black level of {level:g} ...")
    methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, root),
               *networks.finetuned(experiment, start, root, networks.uniforms([8]))]
    records[f"black level {level:g}"] = experiment.evaluate(methods)
  for level in _BIAS_LEVELS:
    bias[f"{level:g}"] = brightness_bias(Experiment(_at(config, workdir, level)[0]), _NUM_SCENES)
  with locked(str(workdir / "black_level")) as path:
    for condition, rows in records.items():
      write_records(records_path(path, condition), rows)
    table = tables.write_conditions({condition: summarize(rows) for condition, rows in records.items()}, path)
    first, last = format_bias(bias), format_changes(records)
    write_json(path / "bias.json", bias)
    write_text(path / "table.md", f"{first}\n\n{(path / 'table.md').read_text()}\n{last}\n")
  return f"{first}\n\n{table}\n\n{last}"


def _at(config, workdir, level) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
  """Config and folder of networks of a black level; those of the config's own stay where they are."""
  if level == config.capture.black_level:
    return config, workdir
  config = config.copy_and_resolve_references()
  config.capture.black_level = level
  return config, workdir / f"black_level_{level:g}".replace(".", "_")


def brightness_bias(experiment: Experiment, num_scenes: int) -> dict[str, Any]:
  """How much brighter the frames of an exposure bracket are than what they see, relative, in the mean over test scenes.

  Returns:
    `change` and its standard error over photos (NaN for one photo) by exposure time in 1/1920 s, `num_scenes`,
    `num_groups`.
  """
  timing = experiment.setup.timing
  times = jnp.asarray(bracket(timing).exposure_times)

  @jax.jit
  def means_of(radiance, conditions):
    burst = capture_under(conditions, radiance, times, timing)
    signal = integrate_windows(radiance, *burst_windows(times, timing), timing)
    return burst.raw.mean((1, 2, 3)), signal.mean((1, 2, 3))

  means, groups = [], []
  for scene in experiment.all_scenes("test", num_scenes):
    conditions = jax.tree.map(lambda leaf: leaf[0], experiment.evaluator.conditions(scene.scene_id, 0))
    means.append(means_of(scene.radiance[0], conditions))
    groups.append(group_of(experiment.scenes["test"], int(scene.scene_id[0])))
  taken, true = np.asarray(means).swapaxes(0, 1)
  units = Units(groups, [0] * len(groups))
  changes, errors = mean_and_error((taken - true) / true.mean(axis=0), units)
  names = [f"{time * SUBFRAME_RATE_HZ:.3g}" for time in np.asarray(times)]
  return dict(change=dict(zip(names, changes.tolist())), num_scenes=len(groups), num_groups=units.num_groups,
              error=dict(zip(names, errors.tolist())))


def format_bias(bias: Mapping[str, Mapping[str, Any]]) -> str:
  """What `brightness_bias` found, by black level, as a Markdown table."""
  found = next(iter(bias.values()))
  header = ["black level", *found["change"]]
  rows = [[level, *[_percent(change, its["error"][time]) for time, change in its["change"].items()]]
          for level, its in bias.items()]
  return "\n".join([
      "How much brighter frames are than their scene, by exposure time in 1/1920 s:", "", *_markdown(header, rows), "",
      f"Mean over {found['num_scenes']} scenes of {found['num_groups']} photos or clips, ± one standard error over "
      "photos or clips; the same scenes and noise at all black levels.", *warning_of(found["num_groups"])])


def format_changes(records: Mapping[str, Sequence[Record]]) -> str:
  """What the second condition changes against the first, for each method and for its distance to DEBIR, as Markdown.

  Args:
    records: of the same methods and captures under two conditions.
  """
  first, second = records
  of = by_method([dataclasses.replace(row, method=f"{row.method}, {name}") for name, rows in records.items()
                  for row in rows])  # Raises where captures are not the same.
  methods = dict.fromkeys(row.method for row in records[first])
  changes = {method: scene_means(of[f"{method}, {second}"], "psnr") - scene_means(of[f"{method}, {first}"], "psnr")
             for method in methods}
  units = units_of(of[f"{networks.DEBIR}, {first}"])
  rows = [[method, tables.mean_with_interval(change, units),
           "" if method == networks.DEBIR else tables.mean_with_interval(change - changes[networks.DEBIR], units)]
          for method, change in changes.items()]
  title = f"What {second} changes against {first}, paired by scene, dB ± one standard error [95 % interval]:"
  return "\n".join([title, "", *_markdown(["method", "PSNR", f"vs {networks.DEBIR}"], rows), "",
                    "One training at either black level: what differs between two trainings is in these numbers, and "
                    "not in their intervals.", *warning_of(units.num_groups)])


def _percent(change, error) -> str:
  return f"{100 * change:+.1f} %" if not np.isfinite(error) else f"{100 * change:+.1f} ± {100 * error:.1f} %"


def _markdown(header, rows) -> list[str]:
  return ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]


main = scales.main_of(__doc__, "black_level", run)

if __name__ == "__main__":
  prepare_memory()
  main()
