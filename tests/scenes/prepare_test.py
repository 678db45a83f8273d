"""Laws of preparing data sets: counts, splits, going on, and what is refused."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from small_data import GOPRO_TEST_CLIPS, gopro_tree, moving, realblur_tree, write_frames
import tensorflow_datasets as tfds

from debir_jax.scenes import frame_codec, gopro, prepare, realblur, shards
from debir_jax.scenes.prepared import PreparedData

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = ("--crop_size=16", "--interpolator=cross_fade", "--num_workers=1")


def _num_frames(name):
  """One window in most clips, two in one, and one clip that is too short for any."""
  return {"GOPR0374_11_00": 69, "GOPR0857_11_00": 40}.get(name, 46)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
  """Both data sets as they are downloaded."""
  folder = tmp_path_factory.mktemp("downloads")
  gopro_tree(folder / "gopro", _num_frames)
  realblur_tree(folder / "realblur")
  return folder


@pytest.fixture(scope="module")
def data_dir(downloads):
  """Both, prepared."""
  for name in ("gopro", "realblur"):
    _prepare(f"{name}_debir", downloads / name, downloads / "data")
  return downloads / "data"


def _prepare(dataset, manual_dir, data_dir, *options):
  prepare.main([f"--dataset={dataset}", f"--manual_dir={manual_dir}", f"--data_dir={data_dir}", *_SMALL, *options])


def _examples(data_dir, name, split):
  return tfds.builder_from_directory(str(data_dir / name / "1.0.0")).as_data_source(split=split)


def test_gopro_has_the_papers_sequences(data_dir):
  """11 windows of restore, 8 crops of each; 11 of bae, 2 of each; 11 of the test, whole frames."""
  assert {split: len(_examples(data_dir, "gopro_debir", split)) for split in ("restore", "bae", "test")} == dict(
      restore=(9 + 2) * 8, bae=11 * 2, test=11)
  example = _examples(data_dir, "gopro_debir", "restore")[3]
  assert (example["clip"].decode(), example["start"], example["top"], example["left"]) == ("GOPR0374_11_00", 0, 0, 48)
  assert len(example["frames"]) == 358 and example["capture_rate_hz"] == 240
  assert len(_examples(data_dir, "gopro_debir", "test")[0]["frames"]) == 230


def test_a_sequence_is_its_frames(data_dir, downloads):
  """Captured frames come back pixel for pixel, every eighth; those between are their mixture, but for JPEG's loss."""
  example = _examples(data_dir, "gopro_debir", "restore")[8 + 5]  # The second window, moved from 179 to 176.
  assert example["start"] == 176 and (example["top"], example["left"]) == (16, 16)
  decoded = [frame_codec.decode(data) for data in example["frames"]]
  read = lambda k: cv2.imread(str(downloads / "gopro/train/GOPR0374_11_00" / f"{k:06d}.png"))[16:32, 16:32, ::-1]
  for place in (0, 10, 44):
    np.testing.assert_array_equal(decoded[8 * place], read(22 + place))
  between = 0.625 * read(32).astype(float) + 0.375 * read(33)
  assert np.abs(decoded[83] - between).mean() < 3 and np.abs(decoded[83] - between).max() < 20


def test_realblur_has_the_papers_sequences(data_dir, downloads):
  """Scenes 1 to 91 with 4 crops, 92 to 182 with one; of the first sharp photo by number; a single frame each."""
  splits = {split: _examples(data_dir, "realblur_debir", split) for split in ("restore", "bae")}
  assert {split: len(source) for split, source in splits.items()} == dict(restore=364, bae=91)
  clips = [[splits[split][place]["clip"].decode() for place in (0, -1 + len(splits[split]))] for split in splits]
  assert clips == [["scene001", "scene091"], ["scene092", "scene182"]]
  example = splits["restore"][3]
  photo = next((downloads / "realblur").glob("*/scene001/gt/gt_1.png"))
  np.testing.assert_array_equal(
      frame_codec.decode(example["frames"][0]), cv2.imread(str(photo))[18:34, 20:36, ::-1])
  assert len(example["frames"]) == 1 and (example["top"], example["left"]) == (18, 20)


def test_splits_never_share_a_clip(data_dir):
  """Validation takes the last clip of BAENet's, or those that are named, and leaves the others to it."""
  data = PreparedData(data_dir, "gopro_debir")
  for held_out in (None, ("GOPR0385_11_00", "GOPR0477_11_00")):
    groups = [{entry["group"] for entry in data.split(split, held_out).entries}
              for split in ("restore", "bae", "validation", "test")]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 10 + 11 + 11
    assert groups[2] == set(held_out or ("GOPR0884_11_00",))
  assert data.size("bae", ()) == 22 and data.size("validation", ()) == 0
  with pytest.raises(ValueError, match="validation_clips names GOPR9, but the split bae of gopro_debir has GOPR0384"):
    data.size("bae", ("GOPR9",))


def test_interpolated_frames_of_any_tool_are_taken(tmp_path):
  """EMA-VFI's names, floor(1000 i / 8) behind the number: 1920 per second as they are; captured ones lossless."""
  frames = moving(361, (32, 32))
  names = [f"{place // 8:06d}_{1000 * (place % 8) // 8:03d}.png" for place in range(361)]
  for split in ("restore", "bae", "validation", "test"):
    write_frames(tmp_path / "clips" / split / "clip", frames, names)
  _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data")
  example = _examples(tmp_path / "data", "high_fps_video", "restore")[0]
  decoded = np.stack([frame_codec.decode(data) for data in example["frames"]])
  np.testing.assert_array_equal(decoded[::8], frames[:358:8, :16, :16])
  assert np.abs(decoded - frames[:358, :16, :16].astype(float)).mean() < 2


def test_what_is_there_is_not_made_again(data_dir, downloads, capsys, monkeypatch):
  """The same command again does nothing; one with other settings says what is there."""
  monkeypatch.setattr(shards, "write_shard", None)
  _prepare("gopro_debir", downloads / "gopro", data_dir)
  assert "is there already" in capsys.readouterr().err
  with pytest.raises(SystemExit, match="was prepared with other settings.*another --data_dir"):
    _prepare("gopro_debir", downloads / "gopro", data_dir, "--encoding=png")


def test_preparing_goes_on_where_it_was_stopped(downloads, tmp_path, monkeypatch):
  """After a failure in the fourth clip three are there; the next start makes the others, and the data are the same."""
  made, write_shard = [], shards.write_shard

  def fails_at_the_fourth(shard, settings, folder):
    if len(made) == 3:
      raise OSError("disk full")
    made.append(shard.name)
    return write_shard(shard, settings, folder)

  monkeypatch.setattr(shards, "write_shard", fails_at_the_fourth)
  with pytest.raises(SystemExit, match="disk full"):
    _prepare("realblur_debir", downloads / "realblur", tmp_path)
  assert not (tmp_path / "realblur_debir" / "1.0.0").exists()
  unfinished, = (tmp_path / "realblur_debir").glob(".shards-*")
  assert len(list(unfinished.glob("*.array_record"))) == 3
  made.clear()
  monkeypatch.setattr(shards, "write_shard", lambda *args, **of: made.append(args[0].name) or write_shard(*args, **of))
  _prepare("realblur_debir", downloads / "realblur", tmp_path)
  assert len(made) == 14 - 3 and not list((tmp_path / "realblur_debir").glob(".shards-*"))
  again, whole = (_examples(folder, "realblur_debir", "bae") for folder in (tmp_path, downloads / "data"))
  assert [example["frames"][0] for example in again] == [example["frames"][0] for example in whole]


def test_a_killed_process_leaves_nothing_half_written(downloads, tmp_path):
  """kill -9 while the second shard is written: its file has no name yet, and the first is whole."""
  script = """if True:
    import os, signal, sys
    from debir_jax.scenes import prepare, shards
    examples, count = shards.examples, 0
    def killed(*args, **options):
      global count
      for example in examples(*args, **options):
        count += 1
        if count == 60:
          os.kill(os.getpid(), signal.SIGKILL)
        yield example
    shards.examples = killed
    prepare.main(sys.argv[1:])
  """
  command = ["--dataset=realblur_debir", f"--manual_dir={downloads / 'realblur'}", f"--data_dir={tmp_path}", *_SMALL]
  run = subprocess.run([sys.executable, "-c", script, *command], cwd=_ROOT, capture_output=True, timeout=3600)
  assert run.returncode == -9
  unfinished, = (tmp_path / "realblur_debir").glob(".shards-*")
  assert len([path for path in unfinished.iterdir() if path.suffix == ".array_record"]) == 1
  _prepare("realblur_debir", downloads / "realblur", tmp_path)
  assert len(_examples(tmp_path, "realblur_debir", "restore")) == 364


def test_a_full_disk_ends_with_a_sentence(downloads, tmp_path):
  """Files of at most 64 KiB: an error that says so, and no shard that looks complete."""
  limit = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
           "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)); "
           "from debir_jax.scenes import prepare; prepare.main(sys.argv[1:])")
  run = subprocess.run(
      [sys.executable, "-c", limit, "--dataset=gopro_debir", f"--manual_dir={downloads / 'gopro'}",
       f"--data_dir={tmp_path}", *_SMALL], cwd=_ROOT, capture_output=True, text=True, timeout=3600)
  assert run.returncode == 1 and "Is the disk full?" in run.stderr, run.stderr[-2000:]
  assert not list((tmp_path / "gopro_debir").glob(".shards-*/*.array_record"))
  assert not (tmp_path / "gopro_debir" / "1.0.0").exists()


def test_missing_clips_are_named_with_the_nearest(tmp_path, downloads):
  """Which folder, what was expected, and what is there."""
  tree = shutil.copytree(downloads / "gopro", tmp_path / "gopro")
  (tree / "train" / "GOPR0385_11_00").rename(tree / "train" / "GOPRO385_11_00")
  with pytest.raises(SystemExit, match="train has no folder GOPR0385_11_00, a clip of the split bae.*the nearest name "
                                       "there is GOPRO385_11_00"):
    _prepare("gopro_debir", tree, tmp_path)
  (tree / "train" / "GOPRO385_11_00").rename(tree / "train" / "GOPR0385_11_00")
  shutil.rmtree(tree / "test" / GOPRO_TEST_CLIPS[3])
  with pytest.raises(SystemExit, match="test has 10 clips, expected 11"):
    _prepare("gopro_debir", tree, tmp_path)
  (tree / "train").rename(tree / "Train")
  with pytest.raises(SystemExit, match="gopro has no folder train, .*nearest name there is Train.*about 35 GB"):
    _prepare("gopro_debir", tree, tmp_path)
  with pytest.raises(SystemExit, match="--manual_dir=.*nowhere is not a folder. GOPRO_Large_all is at"):
    _prepare("gopro_debir", tmp_path / "nowhere", tmp_path)


def test_lists_of_realblur_are_not_trusted(tmp_path, downloads):
  """No list, another number of scenes, paths that lead out of the folder, photos that are not there."""
  tree = shutil.copytree(downloads / "realblur", tmp_path / "realblur")
  text = (tree / realblur.LIST).read_text()
  for changed, message in ((text.replace("scene007", "scene008"), "names photos of 181 scenes, expected 182"),
                           (text.replace("RealBlur-J_ECC", "../RealBlur-J_ECC"), "outside of its folder"),
                           (text.replace("gt_1.png", "gt_0.png"), "has no RealBlur-J.*gt_0.png, which RealBlur_J_tr"),
                           (text.replace("RealBlur-J_ECC", "RealBlur-J_EC"), "nearest name there is RealBlur-J_ECC")):
    (tree / realblur.LIST).write_text(changed)
    with pytest.raises(SystemExit, match=message):
      _prepare("realblur_debir", tree, tmp_path)
  (tree / realblur.LIST).rename(tree / "RealBlur_J_test_list.txt")
  with pytest.raises(SystemExit, match="has no RealBlur_J_train_list.txt; it has RealBlur_J_test_list.txt"):
    _prepare("realblur_debir", tree, tmp_path)


def test_damaged_frames_are_named_or_left_out(tmp_path):
  """A truncated frame stops by name, or cuts the clip in two, of which the longer part still has a window."""
  for split in ("restore", "bae", "validation", "test"):
    write_frames(tmp_path / "clips" / split / "clip", moving(60, (16, 16)))
  for split in ("restore", "bae"):
    damaged = tmp_path / "clips" / split / "clip" / "000005.png"
    damaged.write_bytes(damaged.read_bytes()[:-30])
  options = ("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=240")
  with pytest.raises(SystemExit, match="clip/000005.png is truncated"):
    _prepare(*options)
  _prepare(*options, "--on_unreadable=skip")
  told = json.loads((tmp_path / "data/high_fps_video/1.0.0/metadata.json").read_text())
  assert [(entry["stretch"], entry["start"]) for entry in told["sequences"]["restore"]] == [(1, 0)]
  assert told["clips"]["restore"][0]["num_subframes"] == 4 * 8 + 1 + 53 * 8 + 1


def test_folders_of_frames_want_a_rate(tmp_path):
  """Nobody else tells it; and a rate for a clip that is not there is refused."""
  for name in "abcd":
    write_frames(tmp_path / "clips" / name, moving(46, (16, 16)))
  with pytest.raises(SystemExit, match="clips/a does not tell how many frames per second.*--fps=a=RATE"):
    _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=b=240")
  with pytest.raises(SystemExit, match="--fps names e, but .* holds a, b, c, d"):
    _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=240,e=30")
  with pytest.raises(SystemExit, match="--fps=fast must be a number"):
    _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=fast")
  _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=240")
  told = json.loads((tmp_path / "data/high_fps_video/1.0.0/metadata.json").read_text())
  assert {split: len(entries) for split, entries in told["sequences"].items()} == dict.fromkeys(
      ("restore", "bae", "validation", "test"), 1)
  assert len({entry["clip"] for entries in told["sequences"].values() for entry in entries}) == 4


def test_clips_too_short_for_a_window_are_told(tmp_path, capsys):
  """They give nothing and are named; a split without any sequence is an error."""
  for name in "abcd":
    write_frames(tmp_path / "clips" / name, moving(46, (16, 16)))
  for split in ("restore", "bae", "validation", "test"):
    (tmp_path / "clips" / split).mkdir()
    (tmp_path / "clips" / "abcd"[("restore", "bae", "validation", "test").index(split)]).rename(
        tmp_path / "clips" / split / split)
  write_frames(tmp_path / "clips" / "restore" / "short", moving(20, (16, 16)))
  _prepare("high_fps_video", tmp_path / "clips", tmp_path / "data", "--fps=240")
  assert "short gives none: 153 subframes, a window needs 358" in capsys.readouterr().err
  shutil.rmtree(tmp_path / "clips" / "restore" / "restore")
  capsys.readouterr()
  with pytest.raises(SystemExit, match="no sequence for the split restore.*short gave none"):
    _prepare("high_fps_video", tmp_path / "clips", tmp_path / "other", "--fps=240")
  assert " of " not in capsys.readouterr().err  # Nothing was begun.


def test_several_processes_make_the_same(downloads, data_dir, tmp_path):
  """Two at a time; examples are in the same order with the same bytes."""
  _prepare("realblur_debir", downloads / "realblur", tmp_path, "--num_workers=2")
  for split in ("restore", "bae"):
    ours, theirs = (_examples(folder, "realblur_debir", split) for folder in (tmp_path, data_dir))
    assert [bytes(ours[k]["frames"][0]) for k in range(0, 91, 13)] == [
        bytes(theirs[k]["frames"][0]) for k in range(0, 91, 13)]


def test_beam_makes_the_same(downloads, data_dir, tmp_path):
  """The local runner of Apache Beam, where it is installed."""
  pytest.importorskip("apache_beam")
  _prepare("realblur_debir", downloads / "realblur", tmp_path, "--runner=beam")
  ours, theirs = (_examples(folder, "realblur_debir", "bae") for folder in (tmp_path, data_dir))
  assert [bytes(example["frames"][0]) for example in ours] == [bytes(example["frames"][0]) for example in theirs]


def test_a_missing_beam_is_named(downloads, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  with pytest.raises(SystemExit, match=r"pip install -e \"\.\[beam\]\""):
    _prepare("realblur_debir", downloads / "realblur", tmp_path, "--runner=beam")


def test_names_of_clips_are_those_of_the_release():
  """22 training clips, each once."""
  names = collections.Counter((*gopro.RESTORE_CLIPS, *gopro.BAE_CLIPS))
  assert len(names) == 22 and set(names.values()) == {1}
  assert len(gopro.RESTORE_CLIPS) == len(gopro.BAE_CLIPS) == 11 and os.fspath(_ROOT)
