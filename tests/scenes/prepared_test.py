"""Laws of scenes that are read from a prepared data set."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_data import moving, write_frames

from debir_jax import scenes
from debir_jax.imaging import bayer, color
from debir_jax.imaging.color import Unprocessing
from debir_jax.runtime.mesh import by_example, make_mesh
from debir_jax.scenes import BatchOptions, frame_codec, prepare
from debir_jax.scenes.prepared import PreparedData, PreparedScenes
from debir_jax.scenes.source import scene_in_epoch
from debir_jax.types import CameraColor

_PLAIN = Unprocessing(lambda key: CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3)), preserve_highlights=False)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """Clips of 24x40 px: restore has two windows in each of two crops, bae one in one, the others one."""
  folder = tmp_path_factory.mktemp("clips")
  for seed, (split, num_frames) in enumerate(dict(restore=69, bae=46, validation=46, test=46).items()):
    write_frames(folder / "clips" / split / f"{split}_clip", moving(num_frames, (24, 40), seed))
  prepare.main(["--dataset=high_fps_video", f"--manual_dir={folder / 'clips'}", f"--data_dir={folder / 'data'}",
                "--fps=240", "--crop_size=16", "--interpolator=cross_fade", "--num_workers=1", "--encoding=png"])
  return folder / "data"


@pytest.fixture
def data(data_dir):
  return PreparedData(data_dir, "high_fps_video")


def _scenes(data, split="restore", **options):
  return PreparedScenes(data.split(split), **dict(crop_size=16, num_subframes=230) | options)


def test_a_scene_is_the_mosaic_of_its_frames(data):
  """Against the obvious: linearise, undo the color, pick RGGB; whole sequences in their order."""
  source = _scenes(data, num_subframes=358, unprocessing=_PLAIN)
  assert len(source) == 4 and source.group(3) == "restore_clip"
  scene = source.scene(3)
  frames = np.stack([frame_codec.decode(frame) for frame in data.split("restore").records[3]["frames"]])
  expected = bayer.pack(bayer.mosaic(color.srgb_to_linear(jnp.asarray(frames / 255, jnp.float32))))
  np.testing.assert_allclose(scene.radiance, expected, atol=1e-6)
  assert scene.radiance.shape == (358, 8, 8, 4) and int(scene.scene_id) == 3


def test_stored_frames_move_as_the_clip_does(data):
  """Captured frames are the clip's, moved by a pixel per eight subframes."""
  frames = moving(69, (24, 40), 0)
  first = frame_codec.decode(data.split("restore").records[0]["frames"][16])
  np.testing.assert_array_equal(first, frames[2][4:20, 4:20])


def test_epochs_see_other_crops_and_cameras_and_evaluation_the_middle(data):
  """Drawn from (seed, epoch, index); the mosaic keeps its phase."""
  source = _scenes(data, crop_size=8)
  one, again, other = (source.scene_in_epoch(0, epoch) for epoch in (1, 1, 2))
  jax.tree.map(np.testing.assert_array_equal, one, again)
  assert np.abs(one.color.white_balance - other.color.white_balance).max() > 1e-3
  assert scene_in_epoch(source, 0, 1).radiance.shape == (230, 4, 4, 4)
  plain = _scenes(data, crop_size=8, unprocessing=_PLAIN)
  whole = _scenes(data, unprocessing=_PLAIN).scene(0).radiance
  np.testing.assert_array_equal(plain.scene(0).radiance, whole[:, 2:6, 2:6])
  pieces = {tuple(np.asarray(whole[0, row:row + 4, column:column + 4]).ravel()[:4])
            for row in range(5) for column in range(5)}
  seen = {tuple(np.asarray(plain.scene_in_epoch(0, epoch).radiance[0]).ravel()[:4]) for epoch in range(6)}
  assert seen <= pieces and len(seen) > 2


def test_scenes_in_which_nothing_moves_are_one_frame(data):
  """Repeated to the length that is asked for."""
  split = data.split("test")
  still = dataclasses.replace(split, records=[dict(frames=split.records[0]["frames"][:1])])
  scene = PreparedScenes(still, crop_size=16, num_subframes=358).scene(0)
  assert scene.radiance.shape == (358, 8, 8, 4) and not np.ptp(scene.radiance, axis=0).any()


def test_batches_are_the_same_on_any_devices_and_from_any_step(data):
  """Bit for bit on 1 and 4 devices, with one thread or three, and resumed in the middle of an epoch."""
  source = _scenes(data)
  run = lambda **options: scenes.batches(source, 4, 7, **options)
  expected = run(options=BatchOptions(reorient=True))
  expected = [jax.device_get(next(expected)) for _ in range(5)]
  assert np.abs(expected[0].radiance - expected[1].radiance).max() > 0  # Drawn anew in the next epoch.
  several = run(sharding=by_example(make_mesh(min(4, jax.device_count()))),
                options=BatchOptions(reorient=True, num_threads=3))
  resumed = run(start_step=3, options=BatchOptions(reorient=True, num_threads=2))
  for step, batch in enumerate(expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(next(several)), batch)
    if step >= 3:
      jax.tree.map(np.testing.assert_array_equal, jax.device_get(next(resumed)), batch)
  several.close()
  resumed.close()


_READER = """if True:
  import hashlib, os, pathlib, signal, sys
  import jax, numpy as np
  from debir_jax import scenes
  from debir_jax.runtime.mesh import by_example, make_mesh
  from debir_jax.scenes.prepared import PreparedData, PreparedScenes
  folder, count, start_step, ending = sys.argv[1:]
  data = PreparedData(pathlib.Path(folder), "high_fps_video").split("restore")
  data.places[:], data.entries[:] = data.places * 2, data.entries * 2
  stream = scenes.batches(PreparedScenes(data, crop_size=16, num_subframes=230), 8, 7, start_step=int(start_step),
                          sharding=by_example(make_mesh(int(count))), options=scenes.BatchOptions(reorient=True))
  for step in range(int(start_step), 3):
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(next(stream))]
    print(hashlib.sha256(b"".join(leaves)).hexdigest(), flush=True)
  if ending == "killed":
    os.kill(os.getpid(), signal.SIGKILL)  # While the next batches are being read.
  stream.close()
"""


def test_eight_devices_go_on_with_what_one_saw_before_it_was_killed(data_dir):
  """Batches bit for bit, in another process, after kill -9."""
  env = os.environ | dict(XLA_FLAGS=os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8")
  read = lambda *options: subprocess.run(
      [sys.executable, "-c", _READER, str(data_dir), *options], env=env, capture_output=True, text=True,
      cwd=pathlib.Path(__file__).resolve().parents[2], timeout=3600)
  killed = read("1", "0", "killed")
  assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
  resumed = read("8", "1", "closed")
  assert resumed.returncode == 0, resumed.stderr[-2000:]
  assert killed.stdout.split()[1:] == resumed.stdout.split() and len(set(killed.stdout.split())) == 3


def test_a_data_set_that_is_not_there_says_where_it_is_to_be_had(tmp_path):
  """How large it is, its licence, and the command."""
  with pytest.raises(ValueError, match="There is no data set gopro_debir in .*scenes.prepare --dataset=gopro_debir.*"
                                       "35 GB, CC BY 4.0.*--config.data.data_dir"):
    PreparedData(tmp_path, "gopro_debir")


@pytest.mark.parametrize("options, message", [
    (dict(crop_size=24), "stored with 16 px and more, of which config.data.crop_size=24"),
    (dict(crop_size=12), "crop_size=12 cannot be taken"), (dict(crop_size=-8), "crop_size=-8 cannot")])
def test_crops_that_cannot_be_taken_are_named(data, options, message):
  with pytest.raises(ValueError, match=message):
    _scenes(data, **options)


def test_sequences_that_are_too_short_are_named(data):
  with pytest.raises(ValueError, match="have 230 subframes, but 358 are asked for"):
    _scenes(data, "bae", num_subframes=358).scene(0)
  with pytest.raises(ValueError, match="There is no scene 9"):
    _scenes(data).scene(9)


def test_sets_of_scenes_are_told_apart(data):
  """By crop, length, seed, camera and data set."""
  made = [_scenes(data, **options).made_of() for options in (
      {}, dict(crop_size=8), dict(num_subframes=179), dict(seed=1), dict(unprocessing=_PLAIN), dict(num_scenes=2))]
  assert len(set(made)) == len(made) and made[0] == _scenes(data).made_of()


def test_damaged_records_are_named(data, data_dir, tmp_path):
  """A hole in the file: the record is damaged; or the frames in it are."""
  copy = shutil.copytree(data_dir, tmp_path / "data")
  path, = (copy / "high_fps_video" / "1.0.0").glob("*-restore.array_record*")
  content = bytearray(path.read_bytes())
  content[20_000:60_000] = bytes(40_000)
  path.write_bytes(content)
  source = _scenes(PreparedData(copy, "high_fps_video"))
  with pytest.raises((scenes.UnreadablePhotoError, ValueError)):
    for index in range(4):
      source.scene(index)
  (copy / "high_fps_video" / "1.0.0" / "metadata.json").write_text("{")
  with pytest.raises(ValueError, match="metadata.json is damaged.*Prepare the data set again"):
    PreparedData(copy, "high_fps_video")


def test_the_metadata_tells_what_was_done(data_dir):
  """Settings, clips with their rates, and every sequence."""
  told = json.loads((data_dir / "high_fps_video" / "1.0.0" / "metadata.json").read_text())
  assert told["settings"]["interpolator"] == "cross_fade" and told["stated"] == [[["", 240.0]], 0]
  assert "240 per second (--fps)" in told["clips"]["test"][0]["description"]
  assert told["sequences"]["restore"][2] == dict(
      clip="restore_clip", group="restore_clip", start=176, stretch=0, top=4, left=4, height=16, width=16)


@pytest.mark.slow
def test_every_stage_trains_on_prepared_clips(tmp_path, monkeypatch):
  """Two steps of each, by the name of the data set, and the evaluation; crops of 32 px in every split."""
  monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parents[2]))
  from configs import quickstart
  from debir_jax.training.runner import run
  for seed, (split, num_frames) in enumerate(dict(restore=69, bae=46, validation=46, test=46).items()):
    write_frames(tmp_path / "clips" / split / "clip", moving(num_frames, (40, 72), seed))
  prepare.main(["--dataset=high_fps_video", f"--manual_dir={tmp_path / 'clips'}", f"--data_dir={tmp_path / 'data'}",
                "--fps=240", "--crop_size=32", "--interpolator=cross_fade", "--num_workers=1"])
  config = quickstart.get_config("debug")
  config.update_from_flattened_dict({
      "batch_size": 1, "compilation_cache": "", "comparison.headroom_scenes": 0, "data.source": "high_fps_video",
      "data.data_dir": str(tmp_path / "data"), "data.cache": False, "data.dead_leaves_fraction": 0.0,
      **{f"{stage}.num_steps": 2 for stage in ("stage1", "stage2_warmup", "stage2", "stage3")}})
  run(config, str(tmp_path / "run"))
  assert "| DEBIR " in (tmp_path / "run" / "results" / "table.md").read_text()
