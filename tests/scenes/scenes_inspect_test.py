"""Laws of what is told of a data set before training on it."""

import json

import numpy as np
from PIL import Image
import pytest
from small_data import moving, write_frames

from debir_jax.scenes import inspect, prepare
from debir_jax.scenes.frame_codec import encode
from debir_jax.scenes.inspect import burst_of, contact_sheet, speed_px_s


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Clips of 64x64 px whose pixels move by 240 px/s, and one that stands still."""
  folder = tmp_path_factory.mktemp("clips")
  for seed, split in enumerate(("restore", "bae", "validation", "test")):
    frames = moving(46, (64, 64), seed)
    write_frames(folder / "clips" / split / f"{split}_clip", frames if split != "bae" else np.repeat(frames[:1], 46, 0))
  prepare.main(["--dataset=high_fps_video", f"--manual_dir={folder / 'clips'}", f"--data_dir={folder / 'data'}",
                "--fps=240", "--crop_size=64", "--interpolator=cross_fade", "--num_workers=1"])
  return folder


def test_speeds_counts_and_pictures_of_a_data_set(folder, tmp_path):
  """A pixel per 1/240 s is 240 px/s; what stands still is told; a burst of four frames is animated."""
  to = tmp_path / "report"
  inspect.main(["high_fps_video", f"--data_dir={folder / 'data'}", f"--to={to}"])
  told = json.loads((to / "summary.json").read_text())["splits"]
  assert {split: (numbers["sequences"], numbers["groups"], numbers["static_fraction"])
          for split, numbers in told.items()} == dict(
              restore=(1, 1, 0.0), bae=(1, 1, 1.0), validation=(1, 1, 0.0), test=(1, 1, 0.0))
  assert abs(told["restore"]["speed_px_s"]["50"] - 240) < 36
  with Image.open(to / "burst.gif") as gif:
    assert gif.n_frames == 4 and gif.size == (64, 64)
  for name in ("sheet.png", "motion.png", "burst.png"):
    with Image.open(to / name) as image:
      assert min(image.size) > 64
  with pytest.raises(SystemExit, match="is not empty"):
    inspect.main(["high_fps_video", f"--data_dir={folder / 'data'}", f"--to={to}"])


def test_a_folder_of_clips_is_told_before_it_is_prepared(folder, tmp_path, capsys):
  """Rates, frames, windows."""
  inspect.main([str(folder / "clips" / "restore"), "--fps=240", f"--to={tmp_path / 'report'}"])
  told, = json.loads((tmp_path / "report" / "summary.json").read_text())["recordings"]
  assert (told["name"], told["rate_hz"], told["num_frames"], told["windows"]) == ("restore_clip", 240, 46, 1)
  assert "46 frames of 64x64 px at 240 per second (--fps), 1 windows" in capsys.readouterr().err


def test_a_burst_is_the_mean_of_linear_light():
  """Of frames that alternate between black and white half of the light, 188 of 255 in sRGB."""
  frames = [encode(np.full((8, 8, 3), 255 * (k % 2), np.uint8), "png", is_captured=True) for k in range(300)]
  assert [int(frame[0, 0, 0]) for frame in burst_of(frames)] == [188] * 4


def test_speed_is_that_of_the_pixels():
  """Two pixels in 1/120 s."""
  frames = moving(3, (64, 64))
  assert abs(speed_px_s([frames[0], frames[2]], 16) - 240) < 36 and speed_px_s([frames[0]] * 2, 16) < 5


def test_contact_sheets_have_a_row_for_each_name():
  assert contact_sheet({"a": moving(3, (16, 24)), "b": moving(14, (16, 24))}).shape == (3 * 184, 12 * 160, 3)


def test_what_is_not_there_is_named(tmp_path):
  with pytest.raises(SystemExit, match="no data set nothing in"):
    inspect.main(["nothing", f"--data_dir={tmp_path}", f"--to={tmp_path / 'to'}"])
