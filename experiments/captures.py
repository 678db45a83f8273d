"""Captures to look at: simulated ones of large scenes, or a folder of real ones that were restored by whatever system.

Such a folder has a subfolder for every method, whose images of one name show the same:

  captures/DEBIR/street.png    captures/bracketing/street.png    ...

PNG or JPEG; names and sizes are the same in all subfolders. One called `reference` holds the true images, where
somebody has them.
"""

import pathlib
from typing import Iterator, Sequence

import jax
import ml_collections
import numpy as np

from debir_jax.evaluation import Example, Method
from debir_jax.imaging import view
from debir_jax.scenes import image_files, photo_folder
from debir_jax.simulator import CaptureConditions, target_of
from debir_jax.training.experiment import Experiment
from debir_jax.types import Observation, Scene
from experiments import networks, scales

REFERENCE = "reference"


def first_of(scene: Scene, experiment: Experiment) -> tuple[CaptureConditions, Observation]:
  """Conditions of the first capture of one scene, as in every evaluation, and what a policy sees of it."""
  batch = jax.tree.map(lambda leaf: leaf[None], scene)
  both = experiment.evaluator.conditions(batch.scene_id, 0), experiment.evaluator.observe(batch, 0)
  return jax.tree.map(lambda leaf: leaf[0], both)


def simulated(config: ml_collections.ConfigDict, methods: Sequence[Method], *, scenes: Sequence[int] | None = None,
              num_draws: int = 1) -> Iterator[list[Example]]:
  """What every method makes of one large test capture after the other.

  Args:
    config: of the experiments, under which the methods were trained.
    methods: to compare.
    scenes: indices of test scenes; None: all.
    num_draws: of each scene.
  """
  large = Experiment(scales.for_viewing(config))
  for scene in large.all_scenes("test", scenes):
    for draw in range(num_draws):
      yield large.evaluator.examples(methods, [scene], draw=draw)


def pristine(config: ml_collections.ConfigDict, count: int) -> list[np.ndarray]:
  """True images of large scenes of training, sRGB `[h, w, 3]` in [0, 1], less the border that is not measured.

  As the camera shows them: metrics know sharpness and demosaicking as well as noise, and photos themselves have others.
  Of photos alone, which no test scene shows.

  Args:
    config: of the experiments.
    count: of scenes, where there are so many.
  """
  config = scales.for_viewing(config)
  config.data.dead_leaves_fraction = 0.0
  experiment, border = Experiment(config), 2 * config.evaluation.border
  shown = jax.jit(jax.vmap(lambda scene: view(target_of(scene.radiance, experiment.setup.timing), scene.color)))
  images = [np.asarray(shown(scene))[0] for split in ("restore", "bae")
            for scene in experiment.all_scenes(split, count // 2)]
  return [image[border:image.shape[0] - border, border:image.shape[1] - border] for image in images]


def read(folder: pathlib.Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
  """Name, and sRGB `[h, w, 3]` in [0, 1] by method, of one capture after the other.

  The method to compare with comes first: DEBIR, or the first by name.

  Raises:
    ValueError: there is nothing of this kind, files are missing or damaged, or sizes differ.
  """
  files = _files(folder)
  for name in sorted(next(iter(files.values()))):
    images = {method: _pixels(of_method[name]) for method, of_method in files.items()}
    shapes = {method: image.shape[:2] for method, image in images.items()}
    if len(set(shapes.values())) > 1:
      raise ValueError(f"The images {name} of {folder} differ in size: "
                       f"{', '.join(f'{method} {h}x{w}' for method, (h, w) in shapes.items())}.")
    yield name, images


def _files(folder) -> dict[str, dict[str, pathlib.Path]]:
  """Files by method and by name without suffix."""
  if not folder.is_dir():
    raise ValueError(f"--captures={folder} is no folder. It needs a subfolder with images for every method.")
  methods = sorted((path for path in folder.iterdir() if path.is_dir()),
                   key=lambda path: (path.name != networks.DEBIR, path.name))
  if not methods:
    raise ValueError(f"--captures={folder} has no subfolders. It needs one with images for every method.")
  files = {method.name: {photo.path.stem: photo.path for photo in photo_folder(method)} for method in methods}
  first, *others = files
  for other in others:
    if different := sorted(set(files[first]) ^ set(files[other])):
      raise ValueError(f"{folder}: {first} and {other} must hold images of the same names, but {len(different)} are in "
                       f"one only, such as {different[0]}.")
  return files


def _pixels(path) -> np.ndarray:
  """In full size: a smaller image is another one to these metrics."""
  return image_files.read_pixels(path).astype(np.float32) / 255
