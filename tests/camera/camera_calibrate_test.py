"""The command measures a camera from pairs, series, single frames or tags, and says what is wrong with files."""

import json

import numpy as np
import pytest

from debir_jax.camera import calibrate, dng
from debir_jax.camera.noise_calibration import read_calibration
from debir_jax.camera.noise_profile import NoiseProfile
from tests.camera.frames import frame
from tests.camera.noise_fit_test import scene

pytest.importorskip("rawpy")
_SHOT, _READ = 2e-6, 1e-11  # Of the camera: per ISO, per ISO squared.


def shot_at(iso, seed, image, **changes):
  """A frame of the camera."""
  noise = np.sqrt(_READ * iso**2 + _SHOT * iso * image) * np.random.default_rng(seed).standard_normal(image.shape)
  return frame(iso=float(iso), **(dict(noise=None) | changes)).with_packed(image + noise, changes.get("noise"))


@pytest.fixture
def files(tmp_path):
  """Two frames of each of three ISOs that show the same."""
  image, names = scene(np.random.default_rng(0)), []
  for iso in (400, 1600, 6400):
    for number in range(2):
      names.append(str(tmp_path / f"iso {iso} {number}.dng"))
      dng.write_dng(names[-1], shot_at(iso, iso + number, image))
  return names


@pytest.mark.parametrize("source", ["auto", "frames"])
def test_a_camera_is_measured(files, tmp_path, capsys, source):
  """Pairs, or each file alone: both curves, a table, a plot; nothing is overwritten."""
  out = tmp_path / "camera.json"
  arguments = [*files, "--out", str(out), "--source", source]
  calibrate.main(arguments)
  profile = read_calibration(out).profile_at(1600)
  assert profile.shot_noise == pytest.approx(1600 * _SHOT, rel=0.05)
  assert profile.read_variance == pytest.approx(1600**2 * _READ, rel=0.4)
  assert "| 6400 |" in capsys.readouterr().out and out.with_suffix(".png").stat().st_size > 1000
  assert len(json.loads(out.read_text())["points"]) == 3
  with pytest.raises(SystemExit, match="--overwrite"):
    calibrate.main(arguments)


def test_frames_that_do_not_show_the_same_are_no_pair():
  """They are measured one by one: what moved is not taken for noise."""
  rng = np.random.default_rng(0)
  frames = [shot_at(1600, 1, scene(rng)), shot_at(1600, 2, scene(rng))]
  _, fits = calibrate.fits_by_iso(iter(frames))
  assert fits[1600].shot_noise == pytest.approx(1600 * _SHOT, rel=0.15)


def test_tags_are_taken_as_they_are():
  """NoiseProfile of each file; one without it is named."""
  image = scene(np.random.default_rng(0))[:64, :64]
  profile = NoiseProfile(shot_noise=1e-3, read_variance=1e-6)
  _, fits = calibrate.fits_by_iso(iter([shot_at(800, 0, image, noise=profile)]), source="tags")
  assert fits[800].profile == profile
  with pytest.raises(ValueError, match="no NoiseProfile"):
    calibrate.fits_by_iso(iter([shot_at(800, 0, image)]), source="tags")


def test_what_cannot_be_measured_is_said():
  """No ISO, two cameras, no pairs, an unknown source, too many files."""
  image = scene(np.random.default_rng(0))[:64, :64]
  one = shot_at(800, 0, image)
  for frames, options, message in (
      ([frame(iso=None)], {}, "--iso=100"), ([one, shot_at(800, 1, image, camera="B")], {}, "camera by camera"),
      ([one], dict(source="pairs"), "--source=frames"), ([one], dict(source="guess"), "--source=guess")):
    with pytest.raises(ValueError, match=message):
      calibrate.fits_by_iso(iter(frames), **options)
  assert calibrate.fits_by_iso(iter([frame(iso=None, height=256, width=256)] * 1), iso=100.0)[1].keys() == {100.0}
  with pytest.raises(SystemExit, match="1001 files"):
    calibrate.main(["x.dng"] * 1001 + ["--out", "x.json"])
