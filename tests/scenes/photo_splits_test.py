"""Lists of photos by split: they come back as they were, and photos that changed are refused by name."""

import json
import pathlib
import shutil

from PIL import Image
import pytest

from debir_jax.scenes import builtin_photos, photo_splits


@pytest.fixture
def folders(tmp_path):
  """Two folders with the built-in photos."""
  folders = tmp_path / "first", tmp_path / "second"
  for folder in folders:
    folder.mkdir()
  for number, photo in enumerate(builtin_photos()):
    shutil.copy(photo.path, folders[number % 2] / photo.name)
  return folders


@pytest.fixture
def listed(folders, tmp_path):
  """A list of their photos."""
  photo_splits.main([*map(str, folders), "--to", str(tmp_path / "splits.json")])
  return tmp_path / "splits.json"


def _names(splits):
  return {split: sorted(photo.name for photo in getattr(splits, split)) for split in photo_splits._SPLITS}


def test_photos_come_back_in_their_splits_wherever_they_are(folders, listed, tmp_path):
  """By name, from folders in another order, without what is not listed; no group is in two splits."""
  first = photo_splits.read_list(listed, folders)
  Image.new("RGB", (200, 200), "red").save(folders[0] / "another.png")
  moved = tmp_path / "elsewhere"
  shutil.copytree(folders[1], moved)
  second = photo_splits.read_list(listed, [moved, folders[0]])
  assert _names(first) == _names(second) and sum(map(len, _names(first).values())) == 7
  groups = [{photo.group for photo in getattr(first, split)} for split in photo_splits._SPLITS]
  assert all(groups) and sum(map(len, groups)) == len(set().union(*groups)) == 6


def test_copies_in_other_folders_stay_in_one_split(folders, tmp_path):
  """A smaller copy under another name in the other folder."""
  with Image.open(folders[0] / "astronaut.png") as photo:
    photo.convert("RGB").resize((256, 256)).save(folders[1] / "smaller.png")
  photo_splits.main([*map(str, folders), "--to", str(tmp_path / "splits.json"), "--seed=3"])
  photos = json.loads((tmp_path / "splits.json").read_text())["photos"]
  assert photos["smaller.png"]["split"] == photos["astronaut.png"]["split"]


def test_photos_that_changed_or_are_missing_are_named(folders, listed):
  """A photo that was saved again is another one; so is the remedy."""
  with Image.open(folders[0] / "astronaut.png") as photo:
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folders[0] / "astronaut.png")
  with pytest.raises(ValueError, match="1 photos .* are not those of .*: astronaut.png. Fetch them again"):
    photo_splits.read_list(listed, folders)
  (folders[0] / "astronaut.png").unlink()
  with pytest.raises(ValueError, match="1 of the 7 photos .* are not in .*: astronaut.png"):
    photo_splits.read_list(listed, folders)


def test_what_is_no_list_is_refused(tmp_path, folders):
  """Absent, damaged, of another kind."""
  path = tmp_path / "splits.json"
  with pytest.raises(FileNotFoundError, match="photo_splits. makes one"):
    photo_splits.read_list(path, folders)
  path.write_text("{")
  with pytest.raises(ValueError, match="is damaged"):
    photo_splits.read_list(path, folders)
  path.write_text("[]")
  with pytest.raises(ValueError, match="no list of photos of format 1"):
    photo_splits.read_list(path, folders)


def test_nothing_is_overwritten_and_names_must_differ(folders, listed, tmp_path):
  """A list that is there stays; two photos of one name in two folders cannot be told apart."""
  before = listed.read_text()
  with pytest.raises(SystemExit, match="splits.json is there already"):
    photo_splits.main([str(folders[0]), "--to", str(listed)])
  assert listed.read_text() == before
  shutil.copy(folders[0] / "astronaut.png", folders[1] / "astronaut.png")
  with pytest.raises(SystemExit, match="Several photos are called astronaut.png"):
    photo_splits.main([*map(str, folders), "--to", str(tmp_path / "other.json")])
  with pytest.raises(SystemExit, match="cannot be dealt into four splits"):
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(next(pathlib.Path(folders[0]).iterdir()), only)
    photo_splits.main([str(only), "--to", str(tmp_path / "other.json")])
  assert not (tmp_path / "other.json").exists()
