"""Pictures that a person can judge: a scene that stands still, a slow and a fast one, by DEBIR and fixed exposures.

  python -m experiments.pictures --photos=FOLDER,FOLDER --photo_list=experiments/pretraining/photo_splits.json \
      --to experiments/results/pictures

Photos of the list's test split, which no weights inside the package saw, are set in motion and taken by every method
under the same noise: the first ones that are large enough, not chosen ones. All are restored by the restorer of
stage 1, which was made for none of the methods. All images go through the viewing ISP.
Written to --to: restored.jpg, every method's image and one detail at the same place; burst.gif, the two previews and
DEBIR's frames of the fastest scene one after the other; table.md, exposure times and PSNR; environment.json.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
from PIL import Image

from debir_jax.demo import compare, table_of
from debir_jax.evaluation.canvas import developed, figure_and_axes
from debir_jax.evaluation.evaluate import Example
from debir_jax.policies import format_exposure_times
from debir_jax.runtime.files import local_path, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.scenes import builtin_photos, moving_photo
from debir_jax.scenes.photo_splits import read_list
from debir_jax.weights.model import load
from experiments import capture_plots, scales, tables

_FAIR = "small_stage1"
_SCENES = {"still": 0.0, "slow": 120.0, "fast": 600.0}  # Speeds of the camera, mosaic px/s.
_GIF_MS, _GIF_SIDE = 600, 288
_PANEL_INCHES, _DOTS_PER_INCH = 2.6, 110


def run(options: argparse.Namespace) -> str:
  """Takes, restores and draws; returns the table."""
  model = load(options.weights or _FAIR)
  others = {"one time": load(options.one_time).policy} if options.one_time else {}
  photos = builtin_photos()
  if options.photos:
    folders = [local_path(folder, "--photos") for folder in options.photos.split(",")]
    photos = read_list(local_path(options.photo_list, "--photo_list"), folders).test
  photos = [photo for photo in photos if min(photo.size) >= options.size]
  of_scenes, text = {}, []
  for number, (name, speed) in enumerate(_SCENES.items()):
    scene = moving_photo(photos[number:number + 1], options.size, speed, model.timing, seed=options.seed)
    scene = dataclasses.replace(scene, scene_id=scene.scene_id + number)
    of_scenes[f"{name}, {speed:g} px/s"] = examples = compare(
        model, scene, options.gain, seed=options.seed, others=others)
    text.append(f"{name.capitalize()}: {speed:g} px/s, gain {options.gain:g}, {options.size}x{options.size} px.\n\n"
                f"{table_of(examples)}")
  draw(options.to / "restored.jpg", of_scenes)
  animate(options.to / "burst.gif", list(of_scenes.values())[-1][0])
  write_text(options.to / "table.md", "\n".join(text))
  tables.write_environment(options.to)
  return "\n".join(text)


def draw(path: pathlib.Path, of_scenes: dict[str, list[Example]]) -> None:
  """Two rows a scene: a frame and the image of each method, and below them the same detail."""
  first = next(iter(of_scenes.values()))
  columns = ["DEBIR's first frame", *(example.method for example in first), "true image"]
  figure, axes = figure_and_axes(2 * len(of_scenes), len(columns), (
      len(columns) * _PANEL_INCHES, 2 * len(of_scenes) * (_PANEL_INCHES + 0.25)))
  for row, (name, examples) in enumerate(of_scenes.items()):
    restored = [example.restored for example in examples]
    images = developed(np.stack([examples[0].raw[0], *restored, examples[0].target]), examples[0].color)
    captions = ["", *(f"{example.psnr:.2f} dB; {format_exposure_times(example.exposure_times)}/1920 s"
                      for example in examples), ""]
    capture_plots.show_with_details(axes[2 * row:2 * row + 2], images, captions)
    axes[2 * row, 0].set_ylabel(name, fontsize=11)
  for axis, title in zip(axes[0], columns):
    axis.set_title(title, fontsize=11)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=_DOTS_PER_INCH, format="jpeg", pil_kwargs=dict(quality=88))


def animate(path: pathlib.Path, example: Example) -> None:
  """The previews and the frames of a burst, one after the other, as a GIF."""
  frames = developed(np.concatenate([example.previews, example.raw]), example.color)
  shown = [Image.fromarray(np.uint8(np.rint(255 * np.clip(frame, 0, 1)))) for frame in frames]
  shown = [frame.resize((_GIF_SIDE, _GIF_SIDE), Image.NEAREST) for frame in shown]
  shown[0].save(path, save_all=True, append_images=shown[1:], duration=_GIF_MS, loop=0)


def main(argv: list[str]) -> None:
  """Reads the options and runs."""
  parser = argparse.ArgumentParser(prog="python -m experiments.pictures", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--to", type=pathlib.Path, required=True, help="a folder")
  add("--weights", help="a name of debir_jax.list_weights(), a folder or a file (small_stage1)")
  add("--one_time", metavar="WEIGHTS", help="whose BAENet predicts one time for all frames: a column of its own")
  scales.add_listed_photos(parser)
  add("--size", type=int, default=384, help="side of the scenes, mosaic px (%(default)s)")
  add("--gain", type=float, default=700.0, help="of the previews (%(default)s)")
  add("--seed", type=int, default=0, help="of motion and noise (%(default)s)")
  print(run(parser.parse_args(argv)))


if __name__ == "__main__":
  prepare_memory()
  main(sys.argv[1:])
