"""The command: from RAW files to a DNG and pictures, by metadata or plan; or one line that says what is wrong."""

import dataclasses
import json
import types
import warnings

import numpy as np
import pytest

import debir_jax
from debir_jax.camera import dng, restore
from debir_jax.camera.noise_calibration import NoiseCalibration, calibration_json
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.plan import ActualSettings, plan_json
from debir_jax.camera.raw_files import read_raw
from debir_jax.camera.real_burst import real_burst
from debir_jax.camera.restore import profiles_by, restore_frames
from debir_jax.camera.tile_restoration import check_model
from debir_jax.restoration import RestorerInputs
from tests.camera.coarse_motion_test import scene, seen
from tests.camera.frames import frame
from tests.camera.plan_test import some_plan

pytest.importorskip("rawpy")


@pytest.fixture
def files(tmp_path):
  """Four noisy frames of a scene that stands still."""
  image, names = scene(60, 72), []
  for number in range(4):
    names.append(str(tmp_path / f"my frame {number}.dng"))
    rng = np.random.default_rng(number)
    planes = np.repeat(image[..., None], 4, -1)
    dng.write_dng(names[-1], frame(noise=None).with_packed(planes + 0.1 * rng.standard_normal(planes.shape), None))
  return names


@pytest.mark.filterwarnings("ignore")
def test_files_become_a_dng_and_pictures(files, tmp_path):
  """Of full size, with the reference's metadata, less noisy than a frame; nothing is overwritten."""
  out = tmp_path / "out" / "restored.dng"
  restore.main([*files, "--out", str(out), "--png", "--tiff"])
  restored, image = read_raw(out), scene(60, 72)[..., None]
  assert restored.size == (60, 72) and (restored.exposure_time, restored.iso) == (pytest.approx(1 / 120), 3200)
  error = lambda one: np.mean((np.clip(one.packed(), 0, 1) - image)**2)
  assert error(restored) < 0.5 * error(read_raw(files[0]))  # 3 dB.
  assert out.with_suffix(".png").exists() and out.with_suffix(".tiff").exists()
  with pytest.raises(SystemExit, match="--overwrite"):
    restore.main([*files, "--out", str(out)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options, message", [
    (["{0}"], "2 frames or more"), (["{0}", "{1}", "none.dng"], "no file none.dng"), (["{0}"] * 65, "65 files"),
    (["{0}", "{1}", "{2}", "{3}", "--tile_size=3"], "--tile_size"),
    (["{0}", "{1}", "{2}", "{3}", "--alignment=maybe"], "--alignment"),
    (["{0}", "{1}", "{2}", "{3}", "--exposure_times=1,2"], "--exposure_times"),
    (["{0}", "{1}", "{2}", "{3}", "--weights=none"], "no weights"),
    (["{0}", "{1}", "{2}", "{3}", "--noise=none.json"], "none.json")])
def test_what_is_wrong_is_said_in_a_line(files, tmp_path, options, message):
  """And no file is left."""
  with pytest.raises(SystemExit, match=message):
    restore.main([option.format(*files) for option in options] + ["--out", str(tmp_path / "restored.dng")])
  assert not (tmp_path / "restored.dng").exists()


def test_a_frame_may_be_left_out_where_the_restorer_knows_it(files, tmp_path):
  """Those that align frames do; others are refused."""
  restore.main([*files[:3], "--out", str(tmp_path / "of_three.dng")])
  assert read_raw(tmp_path / "of_three.dng").size == (60, 72)
  other = dataclasses.replace(debir_jax.load(), restorer_inputs=RestorerInputs())
  with pytest.raises(ValueError, match="bursts of 4 frames, got 3"):
    check_model(other, types.SimpleNamespace(frames=files[:3]))


def test_a_plans_actual_settings_count(files):
  """Not what files say; frames that failed have no file."""
  plan = some_plan()
  actual = [ActualSettings(exposure_time_ns=4_000_000 + number, iso=500.0) for number in range(4)]
  frames = restore.frames_by_plan([read_raw(path) for path in files], plan.with_actual(actual))
  assert [one.exposure_time for one in frames] == pytest.approx([0.004] * 4) and frames[0].iso == 500
  with pytest.raises(ValueError, match="3 frames were taken"):
    restore.frames_by_plan(frames, plan.with_actual([*actual[:3], None]))


def test_a_plan_without_a_capture_is_refused(files, tmp_path):
  """Its frames were not taken yet."""
  (tmp_path / "plan.json").write_text(json.dumps(plan_json(some_plan())))
  with pytest.raises(SystemExit, match="0 frames were taken"):
    restore.main([*files, "--out", str(tmp_path / "a.dng"), "--plan", str(tmp_path / "plan.json")])


def test_a_calibration_tells_the_noise_of_frames_that_do_not(tmp_path):
  """By their ISO; a frame's own profile comes first."""
  calibration = NoiseCalibration(shot_at_iso_0=0.0, shot_per_iso=1e-6, read_at_iso_0=0.0, read_per_iso2=1e-12)
  own = NoiseProfile(shot_noise=1.0, read_variance=1.0)
  of = profiles_by(calibration)
  assert of(frame(noise=None)) == calibration.profile_at(3200) and of(frame(noise=own)) == own
  assert of(frame(noise=None, iso=None)) is None and profiles_by(None)(frame(noise=None)) is None
  assert calibration_json(calibration, {})["points"] == []


def test_large_frames_are_restored_like_small_ones():
  """The front door restores the same image as tiles do, where one tile holds it, but for the noise that it is told."""
  model = debir_jax.load()
  frames = [seen(scene(200, 200), 60, 60, 64, 64, noise=0.1) for _ in range(4)]
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    restored = restore_frames(model, real_burst(frames), alignment="none").packed()
  raw = np.stack([np.maximum(one.packed(), 0) for one in frames])
  expected = np.asarray(model.restore(raw, [one.exposure_time for one in frames]))
  np.testing.assert_allclose(restored, np.clip(expected, -0.03, 1), atol=1e-4)
