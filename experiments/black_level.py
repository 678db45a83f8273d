"""Room below black: what clipping at 0 does to dark noisy frames, to bracketing and to DEBIR.

  python -m experiments.black_level --scale=tiny
  python -m experiments.black_level             # two sets of the quickstart's networks: half an hour on 2 CPU cores

Eq. 6 cuts frames at 0, so noise around black has a mean above 0, and the shorter a frame, the brighter it becomes.
Sensors count from a pedestal and cut below it (`config.capture.black_level`). First table: how much brighter frames of
each length are than their scene, on the test scenes. Then DEBIR, bracketing and uniform exposures with networks that
were trained and measured at either black level, restorers fine-tuned for each. Written to <workdir>/black_level.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from debir_jax.evaluation import summarize
from debir_jax.pipeline import capture
from debir_jax.policies import bracket
from debir_jax.runtime.files import write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.simulator import burst_windows, integrate_windows
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments import networks, scales, tables

LEVELS = (0.0, 1 / 16)  # Of white; 1/16 is 64 of 1023 counts.
_BIAS_LEVELS = (0.0, 1 / 32, 1 / 16, 1 / 4)
_NUM_SCENES = 16


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures at every black level, writes the results; returns the tables."""
  summaries, bias = {}, {}
  for level in LEVELS:
    its_config, root = _at(config, workdir, level)
    experiment, start = networks.pretrained(its_config, root)
    experiment, state = networks.trained(its_config, root, networks.DEBIR, {"bae.network": "baenet"})
    log(f"measuring at a black level of {level:g} ...")
    methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, root),
               *networks.finetuned(experiment, start, root, networks.uniforms([8]))]
    summaries[f"black level {level:g}"] = summarize(experiment.evaluate(methods))
  for level in _BIAS_LEVELS:
    bias[f"{level:g}"] = brightness_bias(Experiment(_at(config, workdir, level)[0]), _NUM_SCENES)
  with locked(str(workdir / "black_level")) as path:
    table = tables.write_conditions(summaries, path)
    first = format_bias(bias)
    write_text(path / "bias.json", json.dumps(bias, indent=2) + "\n")
    write_text(path / "table.md", f"{first}\n\n{(path / 'table.md').read_text()}")
  return f"{first}\n\n{table}"


def _at(config, workdir, level) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
  """Config and folder of networks of a black level; those of the config's own stay where they are."""
  if level == config.capture.black_level:
    return config, workdir
  config = config.copy_and_resolve_references()
  config.capture.black_level = level
  return config, workdir / f"black_level_{level:g}".replace(".", "_")


def brightness_bias(experiment: Experiment, num_scenes: int) -> dict[str, float]:
  """How much brighter the frames of an exposure bracket are than what they see, relative, in the mean over test scenes.

  By exposure time, 1/1920 s.
  """
  timing = experiment.setup.timing
  times = jnp.asarray(bracket(timing).exposure_times)

  @jax.jit
  def means_of(radiance, conditions):
    burst = capture(conditions.burst_key, radiance, times, conditions.preview_gain, conditions.noise_model, timing,
                    black_level=conditions.black_level)
    signal = integrate_windows(radiance, *burst_windows(times, timing), timing)
    return burst.raw.mean((1, 2, 3)), signal.mean((1, 2, 3))

  taken, true = [], []
  for scene in experiment.all_scenes("test", num_scenes):
    conditions = experiment.evaluator.conditions(scene.scene_id, 0)
    of_one = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
    for values, found in zip((taken, true), means_of(scene.radiance[0], of_one(conditions))):
      values.append(np.asarray(found))
  relative = np.mean(taken, axis=0) / np.mean(true, axis=0) - 1
  return {f"{time * SUBFRAME_RATE_HZ:.3g}": float(change) for time, change in zip(np.asarray(times), relative)}


def format_bias(bias: dict[str, dict[str, float]]) -> str:
  """A Markdown table, a row per black level."""
  header = list(next(iter(bias.values())))
  rows = [f"| {level} | " + " | ".join(f"{100 * change:+.1f} %" for change in of_times.values()) + " |"
          for level, of_times in bias.items()]
  return "\n".join(["How much brighter frames are than their scene, by exposure time in 1/1920 s:", "",
                    f"| black level | {' | '.join(header)} |", "| --- " * (1 + len(header)) + "|", *rows])


main = scales.main_of(__doc__, "black_level", run)

if __name__ == "__main__":
  prepare_memory()
  main()
