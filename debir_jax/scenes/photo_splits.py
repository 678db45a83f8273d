"""Which photo is in which split, as a list of files with hashes: splits can be published where photos cannot.

  python -m debir_jax.scenes.photo_splits FOLDER... --to splits.json
  python -m debir_jax.main --config=... --config.data.photos=FOLDER,FOLDER --config.data.photo_list=splits.json

Whole groups are dealt to restore, bae, validation and test (`split_photos`): the two images of a stereo pair, copies of
a photo under other names or at other sizes, in whatever folder. With a list, photos are found in the folders by their
names and their content must be that of the list; other photos in the folders are left out.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import hashlib
import pathlib
import sys

from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path, read_json, write_json
from debir_jax.scenes.photos import Photo, PhotoSplits, photo_folder, split_photos

_FORMAT = 1
_SPLITS = tuple(field.name for field in dataclasses.fields(PhotoSplits))


def write_list(path: pathlib.Path, splits: PhotoSplits, seed: int) -> None:
  """Writes the list of photos by split.

  Args:
    path: of the list.
    splits: of photos with different names.
    seed: of the deal, told in the list.

  Raises:
    ValueError: two photos have one name.
  """
  photos = [(split, photo) for split in _SPLITS for photo in getattr(splits, split)]
  names = [photo.name for _, photo in photos]
  if twice := sorted({name for name in names if names.count(name) > 1}):
    raise ValueError(f"Several photos are called {', '.join(twice)}; a list tells photos by their names. Rename them.")
  write_json(path, dict(format=_FORMAT, seed=seed, photos={
      photo.name: dict(split=split, group=photo.group, sha256=_hash(photo.path)) for split, photo in photos}))


def read_list(path: pathlib.Path, folders: Sequence[pathlib.Path]) -> PhotoSplits:
  """The photos of a list, found in folders by their names.

  Raises:
    FileNotFoundError: there is no such list.
    ValueError: it is no such list, a photo is missing, or its content is another one than when the list was made.
  """
  if not path.is_file():
    raise FileNotFoundError(f"There is no list of photos {path}; `python -m debir_jax.scenes.photo_splits` makes one.")
  listed = read_json(path, "Make the list again, or fetch it again.")
  if not isinstance(listed, dict) or listed.get("format") != _FORMAT:
    raise ValueError(f"{path} is no list of photos of format {_FORMAT}, as `python -m debir_jax.scenes.photo_splits` "
                     "writes it.")
  found = {photo.name: photo for photo in _photos_of(folders)}
  names = ", ".join(map(str, folders))
  if missing := sorted(set(listed["photos"]) - set(found)):
    raise ValueError(f"{len(missing)} of the {len(listed['photos'])} photos of {path} are not in {names}: "
                     f"{_shortened(missing)}. docs/training.md says where to get photos.")
  changed = sorted(name for name, entry in listed["photos"].items() if _hash(found[name].path) != entry["sha256"])
  if changed:
    raise ValueError(f"{len(changed)} photos in {names} are not those of {path}, though they have their names: "
                     f"{_shortened(changed)}. Fetch them again, or make a new list.")
  splits = PhotoSplits(**{split: [] for split in _SPLITS})
  for name, entry in listed["photos"].items():
    getattr(splits, entry["split"]).append(dataclasses.replace(found[name], group=entry["group"]))
  return splits


def _photos_of(folders) -> list[Photo]:
  return [photo for folder in folders for photo in photo_folder(folder)]


def _hash(path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _shortened(names) -> str:
  return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def main(argv: Sequence[str]) -> None:
  """See the module."""
  parser = argparse.ArgumentParser(prog="python -m debir_jax.scenes.photo_splits", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folders", nargs="+", metavar="FOLDER", help="with png and jpg photos")
  parser.add_argument("--to", required=True, metavar="FILE", help="the list; a file that is there is not overwritten")
  parser.add_argument("--seed", type=int, default=0, help="of the deal (%(default)s)")
  args = parser.parse_args(argv)
  with told_in_a_line(OSError, ValueError):
    target = local_path(args.to, "--to")
    if target.exists():
      raise FileExistsError(f"{target} is there already. Choose another name, or remove it.")
    splits = split_photos(_photos_of([local_path(folder, "FOLDER") for folder in args.folders]), seed=args.seed)
    write_list(target, splits, args.seed)
  print(f"{target}: " + ", ".join(f"{split} {len(getattr(splits, split))}" for split in _SPLITS))


if __name__ == "__main__":
  main(sys.argv[1:])
