"""Bursts with the motion that the global search sees in them and the exact one: what the residual is trained on."""

from collections.abc import Iterator
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from debir_jax.motion.burst_flow import find_motion
from debir_jax.pipeline import capture_under
from debir_jax.policies import random_exposure_times
from debir_jax.restoration.aligned_inputs import searched_frames
from debir_jax.runtime.command_line import load_config
from debir_jax.simulator import sample_conditions
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ

# Exposure times of the frames, 1/1920 s.
SETS = ((8,) * 4, (16,) * 4, (24,) * 4, (32,) * 4, (8, 16, 24, 32), (8, 24, 40, 56))
_RANDOM_PER_SCENE, _SETS_PER_SCENE = 2, 2
_WITHOUT_PREVIEW = 0.25  # Share of the bursts.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Example:
  """A burst and the preview before it, what the search found, and the truth; arrays of many have a leading axis.

  Attributes:
    gray: `[1 + n, h, w]`, mean of the packed planes; the preview first.
    middle_s, exposure_s, weights: `[1 + n]`, see `find_motion`; the weight of the preview is 0 where there is none.
    parameters: `[rows, columns, 8]`, of the motion that was found.
    flow_px: `[1 + n, h, w, 2]`, exact, until the middle of each exposure; to the preview's by the first velocity.
  """

  gray: jax.Array
  middle_s: jax.Array
  exposure_s: jax.Array
  weights: jax.Array
  parameters: jax.Array
  flow_px: jax.Array


def make_example(scene, conditions, times, timing, with_preview) -> Example:
  """Takes the burst of a scene with these exposure times, s, and searches its motion, by the preview or without it."""
  burst = capture_under(conditions, scene.radiance, times, timing)
  raw, middle_s, exposure_s, weights = searched_frames(burst)
  weights = weights.at[0].multiply(with_preview)
  found = find_motion(raw, middle_s, weights)
  return Example(raw.mean(-1), middle_s, exposure_s, weights / weights.sum(), found.parameters,
                 scene.motion.at(middle_s).astype(jnp.float16))


def training_examples(config: ml_collections.ConfigDict, count: int) -> Iterator[Example]:
  """Bursts of the first scenes of the split "restore", by twos of random exposure times and twos of `SETS`; one of four
  has no preview."""
  experiment = Experiment(config)
  timing, rng = experiment.setup.timing, np.random.default_rng(config.data.seed)
  make = jax.jit(lambda *capture: make_example(*capture[:3], timing, capture[3]))
  draw = jax.jit(lambda key: sample_conditions(key, experiment.setup))
  for index in range(count):
    scene = experiment.scenes["restore"].scene(index)
    sets = rng.choice(len(SETS), _SETS_PER_SCENE, replace=False)
    for number in range(_RANDOM_PER_SCENE + _SETS_PER_SCENE):
      key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.data.seed), index), number)
      conditions = draw(key)
      times = (random_exposure_times(conditions.exposure_key, timing, ()) if number < _RANDOM_PER_SCENE else
               jnp.asarray(SETS[sets[number - _RANDOM_PER_SCENE]]) / SUBFRAME_RATE_HZ)
      yield jax.device_get(make(scene, conditions, times, float(rng.random() >= _WITHOUT_PREVIEW)))


def config_of(photos: str) -> ml_collections.ConfigDict:
  """Scenes of these photos, at crops of 96 px and gains of 256 to 1024."""
  config = load_config("configs/pretrain_small.py")
  config.data.update(dict(photos=photos, cache=False))
  config.capture.min_preview_gain = 256.0
  config.comparison.enabled, config.evaluation.watched_scenes = False, 0
  return config


def load_examples(folder: pathlib.Path) -> Example:
  """All bursts of a folder, as numpy arrays with a leading axis."""
  parts = []
  for path in sorted(folder.glob("*.npz")):
    with np.load(path) as file:
      parts.append(Example(**file))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def save_examples(path: pathlib.Path, examples: list[Example]) -> None:
  """Writes bursts to a file of the folder for `load_examples`."""
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
  np.savez(path, **{field.name: getattr(stacked, field.name) for field in dataclasses.fields(Example)})
