"""Laws of the windows that are cut from clips."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax import scenes
from debir_jax.imaging import color
from debir_jax.imaging.color import Unprocessing
from debir_jax.types import CameraColor


def _neutral(key):
  del key
  return CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3))


_PLAIN = Unprocessing(_neutral, preserve_highlights=False)


def _write(folder, names, size=(16, 24)):
  """Frames whose levels count up in the order of the names."""
  folder.mkdir(parents=True)
  for level, name in enumerate(names):
    cv2.imwrite(str(folder / name), np.full((*size, 3), level % 256, np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Clip "b" has 540 frames, named as the interpolation of 68 frames is; "a" 358 in plain numbers, without zeros."""
  path = tmp_path_factory.mktemp("clips")
  _write(path / "b", [f"{40 + i // 8:06d}_{125 * (i % 8):03d}.png" for i in range(540)])
  _write(path / "a", [f"{i}.png" for i in range(358)])
  (path / "notes.txt").write_text("")
  return path


def test_windows_are_the_papers(folder):
  """k = 0 .. floor(N / 179) - 2, at 179 k, or rounded down to a frame that is no interpolation."""
  clips = scenes.clip_folder(folder)
  assert [(clip.name, len(clip.frames), clip.size, clip.num_windows) for clip in clips] == [
      ("a", 358, (16, 24), 1), ("b", 540, (16, 24), 2)]
  windows = lambda **options: [source.window(i) for source in [scenes.ClipScenes(clips, num_subframes=179, **options)]
                               for i in range(len(source))]
  assert windows() == [("a", 0), ("b", 0), ("b", 179)]
  assert windows(start_multiple=scenes.FRAMES_PER_CAPTURE) == [("a", 0), ("b", 0), ("b", 176)]
  assert windows(num_scenes=2) == [("a", 0), ("b", 0)] and len(windows(num_scenes=99)) == 3


def test_a_scene_is_its_frames_in_their_order(folder):
  """Entry k is the frame with number start + k; linear light, all four planes."""
  source = scenes.ClipScenes(scenes.clip_folder(folder), num_subframes=179, unprocessing=_PLAIN)
  for index, start in ((0, 0), (2, 179)):
    scene = source.scene(index)
    assert scene.radiance.shape == (179, 8, 12, 4) and int(scene.scene_id) == index
    levels = np.asarray(color.srgb_to_linear(jnp.asarray((start + np.arange(179)) % 256 / 255, jnp.float32)))
    np.testing.assert_allclose(scene.radiance, np.broadcast_to(levels[:, None, None, None], (179, 8, 12, 4)), atol=1e-6)


def test_a_crop_is_the_middle_with_the_mosaic_in_phase(tmp_path):
  """Against the obvious: linearise, undo the color, take the middle, pick the samples of RGGB one by one."""
  pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8)
  (tmp_path / "clip").mkdir()
  for number in range(358):
    (tmp_path / "clip" / f"{number:04d}.png").write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
  source = scenes.ClipScenes(scenes.clip_folder(tmp_path), num_subframes=2, crop_size=16, seed=3)
  scene = source.scene(0)
  linear = np.where(pixels / 255 <= 0.04045, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055)**2.4)
  inverse = np.linalg.inv(np.asarray(scene.color.ccm, np.float64))
  raw = np.clip(linear @ inverse.T / np.asarray(scene.color.white_balance, np.float64), 0, 1)[4:20, 12:28]
  planes = [raw[0::2, 0::2, 0], raw[0::2, 1::2, 1], raw[1::2, 0::2, 1], raw[1::2, 1::2, 2]]
  np.testing.assert_allclose(scene.radiance[1], np.stack(planes, -1), atol=2e-6)
  again = scenes.ClipScenes(scenes.clip_folder(tmp_path), num_subframes=2, crop_size=16, seed=4).scene(0)
  assert np.abs(again.color.white_balance - scene.color.white_balance).max() > 1e-3


def test_decimal_names_are_numbers(tmp_path):
  """0.png, .125.png, .25.png: as some tools name what they interpolate."""
  names = [f"{i / 8:.3f}".lstrip("0").rstrip("0").rstrip(".") or "0" for i in range(358)]
  assert names[:3] == ["0", ".125", ".25"]
  _write(tmp_path / "clip", [f"{name}.png" for name in names])
  scene = scenes.ClipScenes(scenes.clip_folder(tmp_path), num_subframes=9, unprocessing=_PLAIN).scene(0)
  assert np.all(np.diff(scene.radiance[:, 0, 0, 0]) > 0)


def test_frames_out_of_order_are_named(tmp_path):
  """A gap, and a frame that is there twice."""
  names = [f"{i:04d}.png" for i in range(400)]
  _write(tmp_path / "gap" / "clip", names[:100] + names[140:])
  with pytest.raises(ValueError, match="clip/0140.png does not follow 0099.png"):
    scenes.clip_folder(tmp_path / "gap")
  _write(tmp_path / "twice" / "clip", names + ["0007.jpg"])
  with pytest.raises(ValueError, match="clip/0007.png has the same number as 0007.jpg"):
    scenes.clip_folder(tmp_path / "twice")


def test_what_systems_leave_beside_clips_and_frames_is_no_clip(tmp_path):
  """Hidden folders, thumbnails of network storage, resource forks."""
  names = [f"{i:04d}.png" for i in range(358)]
  _write(tmp_path / "clip", names)
  for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails"):
    _write(tmp_path / folder, ["0001.png", "a.png"])
  (tmp_path / "clip" / "._0000.png").write_bytes(b"\0\5\x16\7")
  (tmp_path / "clip" / "Thumbs.db").write_bytes(b"")
  (tmp_path / "clip" / "@eaDir").mkdir()
  clip, = scenes.clip_folder(tmp_path)
  assert clip.name == "clip" and [path.name for path in clip.frames] == names


def test_whole_frames_of_several_sizes_are_refused_at_first(tmp_path):
  """Both clips and the remedy are named; a piece of each is fine."""
  _write(tmp_path / "a", [f"{i}.png" for i in range(358)])
  _write(tmp_path / "b", [f"{i}.png" for i in range(358)], size=(24, 32))
  clips = scenes.clip_folder(tmp_path)
  with pytest.raises(ValueError, match="Clips a and b have frames of 16x24 and 24x32 px.*test_clips_crop"):
    scenes.ClipScenes(clips, num_subframes=4)
  pieces = scenes.ClipScenes(clips, num_subframes=4, crop_size=16)
  assert [pieces.scene(i).radiance.shape for i in range(2)] == [(4, 8, 8, 4)] * 2


def test_a_frame_of_another_size_is_refused_at_first(tmp_path):
  """By its header, before a scene is made."""
  _write(tmp_path / "clip", [f"{i}.png" for i in range(358)])
  cv2.imwrite(str(tmp_path / "clip" / "200.png"), np.zeros((16, 16, 3), np.uint8))
  with pytest.raises(scenes.UnreadablePhotoError, match="clip/200.png has 16x16 px, the first frame.* 16x24"):
    scenes.clip_folder(tmp_path)


def test_scenes_of_a_clip_are_one_group(folder):
  """They show the same thing."""
  source = scenes.ClipScenes(scenes.clip_folder(folder), num_subframes=179)
  assert [source.group(index) for index in range(len(source))] == ["a", "b", "b"]
  with pytest.raises(ValueError, match="no scene 3"):
    source.group(3)


def test_home_folders_and_addresses(folder, monkeypatch):
  """~ is expanded, a bucket is refused before anything else happens."""
  monkeypatch.setenv("HOME", str(folder.parent))
  assert len(scenes.clip_folder(f"~/{folder.name}")) == 2
  with pytest.raises(ValueError, match="gs://bucket/clips is an address"):
    scenes.clip_folder("gs://bucket/clips")


def test_damaged_frames_are_named(tmp_path):
  """A truncated frame, and one of another size, stop with their names."""
  _write(tmp_path / "clip", [f"{i:04d}.png" for i in range(358)])
  source = scenes.ClipScenes(scenes.clip_folder(tmp_path), num_subframes=9)
  path = tmp_path / "clip" / "0005.png"
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(scenes.UnreadablePhotoError, match="0005.png is truncated"):
    source.scene(0)
  cv2.imwrite(str(path), np.zeros((8, 24, 3), np.uint8))
  with pytest.raises(scenes.UnreadablePhotoError, match="0005.png has 8x24 px, the first frame of its clip 16x24"):
    source.scene(0)


def test_folders_without_windows_are_named(tmp_path):
  """No folder, no frames, too few frames."""
  with pytest.raises(ValueError, match="nowhere is not a folder"):
    scenes.clip_folder(tmp_path / "nowhere")
  with pytest.raises(ValueError, match="No subfolder of"):
    scenes.clip_folder(tmp_path)
  _write(tmp_path / "short", ["0.png", "1.png"])
  with pytest.raises(ValueError, match="short has 2 frames; a clip needs 358 or more.*interpolated"):
    scenes.clip_folder(tmp_path)


@pytest.mark.parametrize("options, message", [
    (dict(num_subframes=359), "at most 358 frames, but 359"), (dict(crop_size=24), "16x24 px, of which crop_size=24"),
    (dict(crop_size=12), "crop_size=12 cannot"), (dict(crop_size=-8), "crop_size=-8 cannot")])
def test_impossible_windows_are_named(folder, options, message):
  """Each raises ValueError with the value seen."""
  with pytest.raises(ValueError, match=message):
    scenes.ClipScenes(scenes.clip_folder(folder), **dict(num_subframes=179) | options)


def test_scene_numbers_are_checked(folder):
  source = scenes.ClipScenes(scenes.clip_folder(folder), num_subframes=179)
  with pytest.raises(ValueError, match="no scene 3; scenes are numbered 0 to 2"):
    source.scene(3)
