"""Laws of what is found in a folder of clips."""

import numpy as np
import pytest
from small_data import moving, write_frames

from debir_jax.scenes import recordings
from debir_jax.scenes.recordings import Rates


def test_folders_of_frames_come_with_their_names_groups_and_rates(tmp_path):
  """Sorted; odd sides cut; hidden folders and those of systems left out."""
  for name in ("b", "a", ".hidden", "@eaDir"):
    write_frames(tmp_path / name, moving(3, (17, 23)))
  found = recordings.find_recordings(tmp_path, Rates.parse("a=240,120"))
  assert [(clip.name, clip.group, clip.rate_hz, clip.size) for clip in found] == [
      ("a", "a", 240, (16, 22)), ("b", "b", 120, (16, 22))]
  frames = list(found[0].frames("stop"))
  assert [round(240 * time) for time, _, _ in frames] == [0, 1, 2] and all(captured for _, _, captured in frames)
  assert frames[0][1].shape == (16, 22, 3)


def test_names_of_interpolated_frames_tell_which_were_captured(tmp_path):
  """Every eighth of 1920 per second, whatever rate is stated; without such names 1920 per second are meant to be so."""
  write_frames(tmp_path / "clip", moving(17, (16, 16)), [f"{k // 8:06d}_{125 * (k % 8):03d}.png" for k in range(17)])
  clip = recordings.frame_folder(tmp_path / "clip", name="clip", group="clip", rate_hz=240.0)
  captured = [place for place, (_, _, is_captured) in enumerate(clip.frames("stop")) if is_captured]
  assert clip.rate_hz == 1920 and captured == [0, 8, 16]
  assert not recordings.coarse(clip)


def test_an_image_is_a_recording_in_which_nothing_moves(tmp_path):
  write_frames(tmp_path, moving(1, (16, 16)))
  still = recordings.still(tmp_path / "000000.png", name="photo", group="photo")
  (time, pixels, captured), = still.frames("stop")
  assert still.is_static and captured and time == 0 and pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("text, message", [("fast", "must be a number"), ("a=0", "0 frames per second"),
                                           ("a=5000", "5000 frames per second; expected 1 to 1920"), ("nan", "nan")])
def test_rates_that_cannot_be_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    Rates.parse(text)


def test_rates_are_those_of_the_name_or_of_all():
  rates = Rates.parse("60, a.mp4=240")
  assert (rates.of("a.mp4"), rates.of("b.mp4"), Rates().of("b.mp4")) == (240, 60, None)


def test_below_100_frames_per_second_interpolation_guesses(tmp_path):
  write_frames(tmp_path, moving(2, (16, 16)))
  coarse = [recordings.coarse(recordings.frame_folder(tmp_path, name="", group="", rate_hz=rate))
            for rate in (30.0, 60.0, 120.0, 240.0)]
  assert coarse == [True, True, False, False]


def test_frames_that_change_their_size_are_named_or_left_out(tmp_path):
  write_frames(tmp_path, moving(3, (16, 16)))
  write_frames(tmp_path, moving(1, (16, 24)), ["000001.png"])
  clip = recordings.frame_folder(tmp_path, name="clip", group="clip", rate_hz=240.0)
  with pytest.raises(ValueError, match="000001.png has 16x24 px, the first frame of its clip 16x16"):
    list(clip.frames("stop"))
  np.testing.assert_allclose([time for time, _, _ in clip.frames("skip")], [0, 2 / 240])


def test_an_empty_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match="holds no videos .* and no folders of frames"):
    recordings.find_recordings(tmp_path)
