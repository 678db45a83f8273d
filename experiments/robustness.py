"""What becomes of DEBIR's lead where the preview misleads it, or the light does.

  python -m experiments.robustness --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.robustness                   # the quickstart's networks and scenes

DEBIR, bracketing and the uniform exposures {16} and {32}, each with its fine-tuned restorer, on all test scenes, as
they are and where

  motion stops, motion starts    at the end of the previews: the motion that BAENet sees is not that of the burst
  gain x 0.5, gain x 2           BAENet is told a wrong gain of the preview; the burst is taken with the true one
  motion unseen, motion x 2      BAENet is told that nothing moves, or that everything moves twice as fast
  jolt                           pressing the button shakes the camera for 20 ms: the first frame is blurred
  flicker                        the light swings by 30 % at 100 Hz, as lamps on mains do: frames differ in brightness

Fixed exposures see neither gain nor motion: under wrong numbers only DEBIR changes. Written to <workdir>/robustness: a
table, JSON and a figure.
"""

import dataclasses
import pathlib
from typing import Any, Callable

import jax
import jax.numpy as jnp
import ml_collections

from debir_jax.evaluation import Method, summarize
from debir_jax.policies import Policy
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.types import BurstTiming, Observation, Scene
from experiments import networks, plots, scales, tables

_FLICKER_HZ, _FLICKER = 100, 0.3
_JOLT_PX, _JOLT_S = 2.0, 0.02  # Packed px, downwards and back.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Misled:
  """A policy that is told wrong numbers.

  Attributes:
    policy: a pytree.
    gain_factor, motion_factor: on the gain and on the motion that it is told.
  """

  policy: Any
  gain_factor: float = 1.0
  motion_factor: float = 1.0

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """What the policy chooses, `[n]` s."""
    told = dataclasses.replace(
        observation, preview_gain=self.gain_factor * observation.preview_gain,
        mean_flow_px=self.motion_factor * observation.mean_flow_px,
        motion_magnitude=jnp.clip(self.motion_factor * observation.motion_magnitude, 0, 1))
    return self.policy(key, told, timing)


def motion_stops(scene: Scene, timing: BurstTiming) -> Scene:
  """From the start of the burst on, the sequence shows what it shows then."""
  return _with_entries(scene, lambda entries: jnp.minimum(entries, timing.target_index))


def motion_starts(scene: Scene, timing: BurstTiming) -> Scene:
  """Up to the start of the burst, the sequence shows what it shows then."""
  return _with_entries(scene, lambda entries: jnp.maximum(entries, timing.target_index))


def jolt(scene: Scene, timing: BurstTiming) -> Scene:
  """From the start of the burst on the camera swings downwards and back once, by half a sine; edges are repeated."""
  times_s = (jnp.arange(scene.radiance.shape[1]) - timing.target_index) * timing.subframe_interval_s
  shifts = _JOLT_PX * jnp.sin(jnp.pi * jnp.clip(times_s / _JOLT_S, 0, 1))
  height = scene.radiance.shape[2]
  rows = jnp.clip(jnp.arange(height) + shifts[:, None], 0, height - 1)
  above = jnp.floor(rows).astype(jnp.int32)
  fraction = (rows - above)[None, :, :, None, None]
  entries = jnp.arange(len(shifts))[:, None]
  upper, lower = (scene.radiance[:, entries, index] for index in (above, jnp.minimum(above + 1, height - 1)))
  return dataclasses.replace(scene, radiance=(1 - fraction) * upper + fraction * lower)


def flicker(scene: Scene, timing: BurstTiming) -> Scene:
  """Light that swings around its mean; the target is what the burst begins with, as ever."""
  times_s = (jnp.arange(scene.radiance.shape[1]) + 0.5) * timing.subframe_interval_s
  light = 1 + _FLICKER * jnp.sin(2 * jnp.pi * _FLICKER_HZ * times_s)
  return dataclasses.replace(scene, radiance=scene.radiance * light[None, :, None, None, None])


def _with_entries(scene, entry_of):
  entries = entry_of(jnp.arange(scene.radiance.shape[1]))
  return dataclasses.replace(scene, radiance=scene.radiance[:, entries])


_SCENES: dict[str, Callable[[Scene, BurstTiming], Scene]] = {
    "motion stops": motion_stops, "motion starts": motion_starts, "jolt": jolt, "flicker": flicker}
_TOLD = {"gain x 0.5": dict(gain_factor=0.5), "gain x 2": dict(gain_factor=2.0),
         "motion unseen": dict(motion_factor=0.0), "motion x 2": dict(motion_factor=2.0)}
_CONDITIONS = ("as it is", "motion stops", "motion starts", *_TOLD, "jolt", "flicker")


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures under every condition, writes the results; returns the table."""
  _, start = networks.pretrained(config, workdir)
  experiment, state = networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  with locked(str(workdir / "robustness")) as path:
    methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, workdir)]
    summaries = {}
    for condition in _CONDITIONS:
      log(f"measuring: {condition} ...")
      misled = [_misled(method, condition) for method in methods]
      change = _SCENES.get(condition)
      records = experiment.evaluate(
          misled, change=change and (lambda scene, change=change: change(scene, experiment.setup.timing)))
      summaries[condition] = summarize(records, reference=networks.DEBIR)
    plots.differences_by_condition(path / "robustness.png", summaries, reference=networks.DEBIR)
    return tables.write_conditions(summaries, path)


def _misled(method: Method, condition: str) -> Method:
  policy: Policy = method.policy
  if condition in _TOLD and method.name == networks.DEBIR:
    policy = Misled(policy, **_TOLD[condition])
  return dataclasses.replace(method, policy=policy)


main = scales.main_of(__doc__, "robustness", run)

if __name__ == "__main__":
  prepare_memory()
  main()
