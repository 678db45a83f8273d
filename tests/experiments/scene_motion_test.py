"""How clips and drawn scenes move: numbers of motions that are known."""

import json

import cv2
import numpy as np
import pytest

from debir_jax.scenes import MotionStatistics
from experiments import scene_motion


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
  """A texture that moves by (3, -2) px from frame to frame, 320x192 px, as a folder of PNG files."""
  folder = tmp_path_factory.mktemp("clips")
  (folder / "pan").mkdir()
  texture = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(240, 400)), (0, 0), 2.0)
  texture = np.clip(128 + 40 * texture / texture.std(), 0, 255).astype(np.uint8)
  for index in range(5):
    top, left = 20 + 2 * index, 30 - 3 * index
    cv2.imwrite(str(folder / "pan" / f"{index:04d}.png"), texture[top:top + 192, left:left + 320])
  return folder


def test_a_clip_of_known_translation_is_measured_in_px_of_1280_across(clip_folder):
  """sqrt(13) px per frame at 10 per second, a frame of 320 px: 144 px/s in every crop; hardly any spread."""
  clip = scene_motion.Clip("pan", ("pan",), 10.0, "we")
  found = scene_motion.of_clip(clip, clip_folder, num_pairs=100)
  assert len(found[256][0]) == 4 * 5 * 3 and len(found[96][0]) == 4 * 13 * 8  # Pairs, columns, rows.
  expected = np.sqrt(13) * 10 * 1280 / 320
  summary = scene_motion.summary(*found[256])
  assert list(summary["speed"].values()) == pytest.approx([expected] * 4, rel=0.05)
  assert summary["spread"]["50"] < 0.06 * expected and summary["number"] == 60
  assert found[scene_motion.FRAME][0] == pytest.approx([expected] * 4, rel=0.05)


def test_pairs_of_frames_are_spread_over_the_clip(clip_folder):
  """As many as were asked for, of all files of a clip together."""
  clip = scene_motion.Clip("pan", ("pan",), 10.0, "we")
  assert len(scene_motion.of_clip(clip, clip_folder, num_pairs=2)[256][0]) == 2 * 15
  twice = scene_motion.Clip("pans", ("pan", "pan"), 10.0, "we")
  assert len(scene_motion.of_clip(twice, clip_folder, num_pairs=4)[256][0]) == 4 * 15


def test_speed_and_spread_are_means_over_a_crop():
  """Three quarters that move by (3, 4) and a quarter that stands: mean length 3.75, mean distance 1.25."""
  flow = np.zeros((1, 8, 8, 2))
  flow[:, 2:] = 3.0, 4.0
  speed, spread = scene_motion.speed_and_spread(flow)
  np.testing.assert_allclose(speed, 3.75)
  np.testing.assert_allclose(spread, 1.25)


def test_windows_lie_in_the_middle():
  """Of 7x10 px, two of 4 px a side: one row from row 1 on, columns from 1 on."""
  flow = np.stack(np.meshgrid(np.arange(10), np.arange(7)), -1)
  cut = scene_motion.windows(flow, 4)
  assert cut.shape == (2, 4, 4, 2)
  np.testing.assert_array_equal(cut[1, 0, 0], [5, 1])
  with pytest.raises(ValueError, match=r"\(7, 10\) px has no window of 8 px"):
    scene_motion.windows(flow, 8)


def test_drawn_scenes_move_as_their_statistics_say():
  """Without slow ones, layers, turns that matter at the middle: by the median speed, half of them."""
  statistics = MotionStatistics(static_fraction=0, slow_fraction=0.0, parallax_fraction=0.0, object_fraction=0.0)
  speed, spread = scene_motion.of_drawn_scenes(statistics, 96, 200)
  assert len(speed) == 600
  assert np.median(speed) == pytest.approx(300, rel=0.15)
  assert np.median(spread) < 0.2 * np.median(speed)


def test_it_writes_quantiles_and_a_figure(clip_folder, tmp_path, monkeypatch):
  """Clips that are absent are left out; without any, it says what is missing."""
  monkeypatch.setattr(scene_motion, "CLIPS", (scene_motion.Clip("pan", ("pan",), 10.0, "we"),
                                              scene_motion.Clip("absent", ("absent.mp4",), 10.0, "we")))
  scene_motion.main([f"--clips={clip_folder}", f"--to={tmp_path / 'to'}", "--scenes=8"])
  scores = json.loads((tmp_path / "to" / "scores.json").read_text())
  assert set(scores["motion"]) == {"pan", "drawn scenes"} and scores["clips"]["pan"]["scale"] == 4
  assert "| pan | 320x192 | 4.00 | 10, we |" in (tmp_path / "to" / "table.md").read_text()
  assert (tmp_path / "to" / "scene_motion.png").read_bytes()[:4] == b"\x89PNG"
  with pytest.raises(SystemExit, match=r"none of the clips pan, absent.mp4. Name their folder by --clips"):
    scene_motion.main([f"--clips={tmp_path}"])
