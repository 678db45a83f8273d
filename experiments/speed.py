"""How long a camera would wait: from two previews to exposure times, and from a burst to the restored image.

  python -m experiments.speed --scale=tiny
  python -m experiments.speed                   # the quickstart's networks
  python -m experiments.speed --scale=paper     # the paper's: 0.023 s for BAENet with its flow, on a GPU

One capture at a time, compiled, on this machine's first device; medians and the range of the middle half. Speed does
not depend on what the weights are, so nothing is trained. Written to <workdir>/speed.
"""

import json
import pathlib
import time
from typing import Callable

import jax
import ml_collections
import numpy as np

from debir_jax.pipeline import capture_under, restore, restorer_inputs
from debir_jax.policies import AverageAE, GradientAE, MotionMetering, bracket, observe
from debir_jax.runtime.files import write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training.experiment import Experiment
from experiments import captures, scales, tables

_RUNS = 30


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Measures and writes table.md and speed.json; returns the table."""
  config.data.update(dict(num_restore_scenes=1, num_bae_scenes=1, num_test_scenes=1, dead_leaves_fraction=0.0))
  experiment = Experiment(config)
  timing = experiment.setup.timing
  rows = {name: _milliseconds(*program) for name, program in _programs(experiment).items()}
  table = "\n".join(["| what | ms, median | middle half |", "|---|---|---|"] + [
      f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |" for name, (low, middle, high) in rows.items()])
  side = config.data.crop_size
  table += f"\n\nMosaics of {side}x{side} px, {timing.num_frames} frames, {jax.devices()[0].device_kind}, {_RUNS} runs."
  with locked(str(workdir / "speed")) as path:
    tables.write_environment(path)
    write_text(path / "speed.json", json.dumps(rows, indent=2) + "\n")
    write_text(path / "table.md", table + "\n")
  return table


def _programs(experiment: Experiment) -> dict[str, tuple[Callable, jax.Array]]:
  """By name, functions and what they are called with."""
  state, timing, models = experiment.initial_state(), experiment.setup.timing, experiment.models
  scene = experiment.scenes["test"].scene(0)
  conditions, seen = captures.first_of(scene, experiment)
  look = lambda previews: observe(previews, seen.preview_gain, scene.color, models.motion, timing)
  found = {f"previews to motion, {models.motion.estimator.name}": (
      lambda previews: look(previews).mean_flow_px, seen.previews)}
  policies = {"BAENet": experiment.bae_policy(state), "motion metering": MotionMetering(max_blur_px=1.5),
              "Average AE": AverageAE(reference_gain=512.0), "Gradient AE": GradientAE(reference_gain=512.0)}
  for name, policy in policies.items():
    found[f"previews to exposure times, {name}"] = (
        lambda previews, policy=policy: policy(conditions.exposure_key, look(previews), timing), seen.previews)
  burst = capture_under(conditions, scene.radiance, bracket(timing)(None, seen, timing), timing)
  inputs_of = lambda burst: restorer_inputs(burst, models.restorer_inputs)  # Some find the motion of the burst first.
  restored = lambda burst: restore(models.restorer, state.restoration_variables, inputs_of(burst))
  return found | {"burst to the restorer's inputs": (inputs_of, burst), "burst to image": (restored, burst)}


def _milliseconds(fn: Callable, argument: jax.Array) -> list[float]:
  """Quartiles of the time that a compiled program takes, ms, after a few runs to warm up."""
  program, times = jax.jit(fn), []
  for _ in range(_RUNS + 3):
    start = time.perf_counter()
    jax.block_until_ready(program(argument))
    times.append(1e3 * (time.perf_counter() - start))
  return np.quantile(times[3:], [0.25, 0.5, 0.75]).tolist()


main = scales.main_of(__doc__, "speed", run)

if __name__ == "__main__":
  prepare_memory()
  main()
