"""Scenes out of a prepared data set: records by index, frames decoded in the reading thread, RAW made on the device.

A sequence is read whole, at random. The training sees another crop (where it takes less than is stored) and another
camera color in every epoch, drawn from (seed, epoch, index); what is measured on sees the middle, and one color.
`python -m debir_jax.scenes.prepare` wrote the folder `data_dir/NAME/VERSION`; TFDS's `builder.as_data_source()` reads
it.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.color import Unprocessing
from debir_jax.runtime.files import read_json
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes import frame_codec, gopro, high_fps, realblur
from debir_jax.scenes.clips import packed_raw
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.scenes.source import CROP_MULTIPLE, check_index, scene_key, scene_rng
from debir_jax.types import CameraColor, Scene

WHERE = dict(gopro_debir=gopro.WHERE, realblur_debir=realblur.WHERE, high_fps_video=high_fps.WHERE)


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
  """Sequences of a split.

  Attributes:
    name: of the data set and the split.
    records: TFDS's source of examples.
    places: in `records`, of each sequence.
    entries: what the metadata tells of each sequence.
    settings: that the data set was prepared with.
  """

  name: str
  records: Sequence[dict[str, Any]]
  places: list[int]
  entries: list[dict[str, Any]]
  settings: dict[str, Any]


class PreparedData:
  """A data set that was prepared, and which sequences its splits have.

  Attributes:
    name: of the data set.
    folder: with its records.
    sequences: by stored split, what `metadata.json` tells of each record.
    settings: that it was prepared with.
  """

  def __init__(self, data_dir: pathlib.Path, name: str):
    """Raises ValueError, telling where the data set is to be had and how it is prepared, if it is not there."""
    versions = [path.parent for path in (data_dir / name).glob("[0-9]*/dataset_info.json")]
    if not versions:
      raise ValueError(
          f"There is no data set {name} in {data_dir}. Prepare it: python -m debir_jax.scenes.prepare --dataset={name} "
          f"--manual_dir=FOLDER --data_dir={data_dir}. {WHERE.get(name, '')} Elsewhere prepared? Name its folder: "
          "--config.data.data_dir.")
    self.name = name
    self.folder = max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
    told = read_json(self.folder / "metadata.json", "Prepare the data set again.")
    self.sequences, self.settings = told["sequences"], told["settings"]

  def split(self, name: str, validation_groups: Sequence[str] | None = None) -> PreparedSplit:
    """The sequences of "restore", "bae", "validation" or "test".

    Where no "validation" is stored, it is made of groups of "bae" that are then left out there, so that no two splits
    show the same thing.

    Args:
      name: of the split.
      validation_groups: of "bae", where no "validation" is stored; None: the last one; (): none.

    Raises:
      ValueError: a group that is not there, or a split without sequences.
    """
    stored, places = self._places(name, validation_groups)
    if not places:
      raise ValueError(f"The data set {self.name} has no scenes for {name}. Name another source of them: "
                       f"config.data.{name}_source.")
    return PreparedSplit(f"{self.name}/{name}", _data_source(self.folder, stored), places,
                         [self.sequences[stored][place] for place in places], self.settings)

  def size(self, name: str, validation_groups: Sequence[str] | None = None) -> int:
    """Number of sequences of a split; see `split`."""
    return len(self._places(name, validation_groups)[1])

  def _places(self, name, validation_groups) -> tuple[str, list[int]]:
    if name in ("bae", "validation") and "validation" not in self.sequences:
      groups = [entry["group"] for entry in self.sequences.get("bae", [])]
      held_out = self._held_out(groups, validation_groups)
      return "bae", [place for place, group in enumerate(groups) if (group in held_out) == (name == "validation")]
    return name, list(range(len(self.sequences.get(name, []))))

  def _held_out(self, groups, wanted) -> set[str]:
    if self.name == "realblur_debir":
      return set()  # Nothing moves in it: no scenes to choose by.
    if wanted is None:
      return {groups[-1]} if len(set(groups)) > 1 else set()
    if missing := sorted(set(wanted) - set(groups)):
      raise ValueError(f"config.data.validation_clips names {', '.join(missing)}, but the split bae of {self.name} has "
                       f"{', '.join(sorted(set(groups)))}.")
    return set(wanted)


class PreparedScenes:
  """Sequences of one split as a `SceneSource`."""

  def __init__(self, split: PreparedSplit, *, crop_size: int, num_subframes: int, num_scenes: int | None = None,
               seed: int = 0, unprocessing: Unprocessing = Unprocessing()):
    """Checks sizes; records are read when a scene is made.

    Args:
      split: see `PreparedData`.
      crop_size: side of what is taken of the stored frames, mosaic px; 0: all of them.
      num_subframes: length of every sequence.
      num_scenes: at most so many, evenly spread; None: all.
      seed: of colors and crops.
      unprocessing: draws the camera's color, and makes RAW of sRGB with it.

    Raises:
      ValueError: crops that cannot be taken.
    """
    total = len(split.places)
    count = min(num_scenes or total, total)
    chosen = [i * total // count for i in range(count)]
    self._places, self._entries = ([of_all[i] for i in chosen] for of_all in (split.places, split.entries))
    self._records, self._kind = split.records, split.name
    self.crop_size, self.num_subframes = crop_size, num_subframes
    self._seed, self._unprocessing = seed, unprocessing
    self._made_of = fingerprint(split.name, split.settings, self._entries)
    self._check_crop()

  def _check_crop(self):
    sizes = {(entry["height"], entry["width"]) for entry in self._entries}
    smallest = min(map(min, sizes))
    if self.crop_size % CROP_MULTIPLE or self.crop_size < 0 or self.crop_size > smallest:
      raise ValueError(f"The frames of {self._kind} are stored with {smallest} px and more, of which "
                       f"config.data.crop_size={self.crop_size} cannot be taken: choose a multiple of {CROP_MULTIPLE} "
                       "up to that, or prepare the data set with a larger --crop_size.")
    if not self.crop_size and len(sizes) > 1:
      raise ValueError(f"Whole frames of {self._kind} have several sizes, {sorted(sizes)}, but batches have one. Take "
                       "a piece of each: --config.data.test_clips_crop.")

  def __len__(self) -> int:
    return len(self._places)

  def group(self, index: int) -> str:
    """What a scene shows: scenes of one group are not independent of each other."""
    check_index(index, len(self))
    return self._entries[index]["group"]

  def made_of(self) -> str:
    """A fingerprint of the sequences and of what is drawn."""
    return fingerprint(self._made_of, self.crop_size, self.num_subframes, self._seed, self._unprocessing.description)

  def scene(self, index: int) -> Scene:
    """The middle of the frames, and one camera.

    Raises:
      ValueError: there is no such scene, or it is too short.
      UnreadablePhotoError: its record is damaged.
    """
    check_index(index, len(self))
    height, width = self._sides(index)
    entry = self._entries[index]
    corner = tuple((entry[name] - side) // 4 * 2 for name, side in (("height", height), ("width", width)))
    return self._scene(index, corner, scene_key(self._kind, self._seed, index))

  def scene_in_epoch(self, index: int, epoch: int) -> Scene:
    """A piece of the frames and a camera that are drawn anew in every epoch. Raises as `scene` does."""
    check_index(index, len(self))
    entry, rng = self._entries[index], scene_rng(f"{self._kind} in epochs", self._seed, epoch, index)
    corner = tuple(2 * int(rng.integers((entry[name] - side) // 2 + 1))
                   for name, side in zip(("height", "width"), self._sides(index)))
    return self._scene(index, corner, jax.random.fold_in(scene_key(self._kind, self._seed, index), epoch))

  def _sides(self, index) -> tuple[int, int]:
    entry = self._entries[index]
    return (self.crop_size, self.crop_size) if self.crop_size else (entry["height"], entry["width"])

  def _scene(self, index, corner, key) -> Scene:
    frames = self._frames(index, corner)
    radiance, color = _captured(frames, key, self._unprocessing)
    if len(frames) < self.num_subframes:  # Nothing moves.
      radiance = jnp.broadcast_to(radiance, (self.num_subframes, *radiance.shape[1:]))
    return Scene(radiance=radiance, color=color, scene_id=jnp.asarray(index, jnp.int32))

  def _frames(self, index, corner) -> np.ndarray:
    """sRGB `[F, H, W, 3]`, uint8 or uint16; F is 1 of a scene in which nothing moves."""
    (top, left), (height, width) = corner, self._sides(index)
    try:
      encoded = self._records[self._places[index]]["frames"]
      is_static = len(encoded) == 1
      if len(encoded) < self.num_subframes and not is_static:
        raise ValueError(f"Sequences of {self._kind} have {len(encoded)} subframes, but {self.num_subframes} are asked "
                         "for. Prepare it again, or choose a timing with shorter bursts.")
      wanted = encoded[:1 if is_static else self.num_subframes]
      first = frame_codec.decode(wanted[0])
      frames = np.empty((len(wanted), height, width, 3), first.dtype)
      for frame, data in zip(frames, wanted):
        frame[:] = frame_codec.decode(data)[top:top + height, left:left + width]
      return frames
    except (RuntimeError, OSError, IndexError, KeyError) as error:
      raise UnreadablePhotoError(f"Record {self._places[index]} of {self._kind} is damaged ({error}). Prepare the data "
                                 "set again.") from error


@functools.partial(jax.jit, static_argnames="unprocessing")
def _captured(frames: jax.Array, key: jax.Array, unprocessing: Unprocessing) -> tuple[jax.Array, CameraColor]:
  """Packed RAW `[F, h, w, 4]` of sRGB `[F, H, W, 3]`, and the camera that was drawn for it.

  Frame after frame, so that RGB in floats never stands in full.
  """
  color = unprocessing.draw_color(key)
  return jax.lax.map(lambda frame: packed_raw(frame, color, unprocessing), frames), color


@functools.lru_cache(maxsize=16)
def _data_source(folder, split):
  import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top
  return tfds.builder_from_directory(str(folder)).as_data_source(split=split)
