"""RealBlur-J (J. Rim et al., ECCV 2020) as the paper uses it: sharp photos as scenes in which nothing moves.

A folder with `RealBlur_J_train_list.txt`, whose lines name a sharp and a blurred photo, and the photos that it names.
Of the 182 training scenes in order of their names the first 91 are the restorer's, 2 x 2 crops around the middle of the
first sharp photo of each: 364 sequences of crops of 256 px. The other 91 are BAENet's, one crop each. The test scenes
are not used.
"""

import pathlib
import re

from debir_jax.scenes import recordings, shards

WHERE = ("RealBlur is at http://cg.postech.ac.kr/research/realblur (about 12 GB, CC BY 4.0). Unpack it and name "
         "the folder that holds RealBlur_J_train_list.txt by --manual_dir.")
LIST = "RealBlur_J_train_list.txt"
NUM_SCENES = 182
_SCENES_PER_SHARD = 13  # 182 are 14 shards.


def find_shards(folder: pathlib.Path, settings: shards.Settings) -> list[shards.Shard]:
  """Shards of a few scenes each.

  Raises:
    ValueError: no list, a list of other scenes, or a photo that it names and that is not there.
    UnreadablePhotoError: a photo is damaged.
  """
  photos = first_photos(folder)
  layouts = dict(restore=settings.layout(2, 2, is_long=True), bae=settings.layout(1, 1))
  found = []
  for split, names in dict(restore=sorted(photos)[:NUM_SCENES // 2], bae=sorted(photos)[NUM_SCENES // 2:]).items():
    for place in range(0, len(names), _SCENES_PER_SHARD):
      stills = tuple(recordings.still(photos[name], name=name, group=name)
                     for name in names[place:place + _SCENES_PER_SHARD])
      found.append(shards.Shard(split=split, name=f"realblur-{split}-{place:03d}", recordings=stills,
                                layout=layouts[split]))
  return found


def first_photos(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The first sharp photo of every training scene by the scene's name."""
  if not (folder / LIST).is_file():
    nearest = sorted(path.name for path in folder.glob("*.txt")) if folder.is_dir() else []
    raise ValueError(f"{folder} has no {LIST}; it has {', '.join(nearest) or 'no lists'}. {WHERE}")
  photos = {}
  for line in (folder / LIST).read_text().splitlines():
    if line.strip():
      path = pathlib.PurePosixPath(line.split()[0])
      photos.setdefault(path.parts[-3] if len(path.parts) >= 3 else "", []).append(path)
  if "" in photos or len(photos) != NUM_SCENES:
    raise ValueError(f"{folder / LIST} names photos of {len(photos)} scenes, expected {NUM_SCENES}, each line as "
                     f"'.../scene001/gt/gt_1.png .../scene001/blur/blur_1.png'. {WHERE}")
  return {scene: _inside(folder, min(paths, key=_number)) for scene, paths in photos.items()}


def _number(path) -> tuple[int, str]:
  return int((re.findall("[0-9]+", path.stem) or ["0"])[-1]), path.name


def _inside(folder, path) -> pathlib.Path:
  """A list is not to lead out of its folder."""
  if path.is_absolute() or ".." in path.parts:
    raise ValueError(f"{folder / LIST} names {path}, outside of its folder.")
  if not (folder / path).is_file():
    recordings.expected_folder(folder, path.parts[0], f"which {LIST} names", WHERE)
    raise ValueError(f"{folder} has no {path}, which {LIST} names. {WHERE}")
  return folder / path
