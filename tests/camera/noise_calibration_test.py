"""A camera's noise over ISO is fitted, kept in a file, and fits simulator and networks alike."""

import json

import numpy as np
import pytest

from debir_jax.camera.noise_calibration import (
  NoiseCalibration,
  calibrate,
  calibration_json,
  equivalent_gain,
  read_calibration,
)
from debir_jax.camera.noise_fit import NoiseFit
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.simulator import IsoNoise

_TRUE = NoiseCalibration(shot_at_iso_0=5e-5, shot_per_iso=1e-6, read_at_iso_0=2e-7, read_per_iso2=3e-12)


def fit_at(iso, shot_factor=1.0, error=0.01):
  """A fit of the true camera at an ISO, or of one that is off."""
  profile = _TRUE.profile_at(iso)
  values = np.array([shot_factor * profile.shot_noise, profile.read_variance])
  return NoiseFit(shot_noise=values[0], read_variance=values[1], shot_interval=(0.0, 1.0), read_interval=(0.0, 1.0),
                  covariance=np.diag((error * values)**2), signals=np.zeros(0), variances=np.zeros(0))


def test_the_course_over_iso_is_found():
  """Both lines, from four ISOs."""
  found = calibrate({iso: fit_at(iso) for iso in (100, 400, 1600, 6400)}, "A camera")
  for iso in (100, 1000, 6400):
    assert found.profile_at(iso).shot_noise == pytest.approx(_TRUE.profile_at(iso).shot_noise, rel=1e-3)
    assert found.profile_at(iso).read_variance == pytest.approx(_TRUE.profile_at(iso).read_variance, rel=1e-3)
  assert (found.camera, found.iso_range) == ("A camera", (100, 6400))


def test_one_iso_that_is_off_hardly_counts():
  """By 50 standard errors; the others decide."""
  fits = {iso: fit_at(iso) for iso in (100, 200, 400, 800, 1600, 6400)} | {3200: fit_at(3200, shot_factor=1.5)}
  assert calibrate(fits).profile_at(3200).shot_noise == pytest.approx(_TRUE.profile_at(3200).shot_noise, rel=0.05)


def test_of_one_iso_physics_tells_the_others():
  """Shot noise in proportion to ISO, read variance to its square."""
  found = calibrate({400: fit_at(400)})
  assert found.profile_at(1600).shot_noise == pytest.approx(4 * _TRUE.profile_at(400).shot_noise)
  assert found.profile_at(1600).read_variance == pytest.approx(16 * _TRUE.profile_at(400).read_variance)
  with pytest.raises(ValueError, match="nothing"):
    calibrate({})


def test_the_simulator_draws_this_noise():
  """At gain g that of ISO base_iso * g."""
  model, profile = _TRUE.noise_model(base_iso=50.0), _TRUE.profile_at(400)
  for signal in (0.0, 0.3, 1.0):
    assert float(model.variance(signal, 8.0)) == pytest.approx(profile.std_at(signal)**2, rel=1e-4)


def test_networks_are_told_the_gain_that_is_as_noisy():
  """Of the noise that they were trained with; at the ends of what can be told, the end."""
  gain = equivalent_gain(NoiseProfile.of_model(IsoNoise(), 700.0), IsoNoise(), 0.1)
  assert gain == pytest.approx(700.0, rel=1e-3)
  assert equivalent_gain(NoiseProfile(shot_noise=1e-12, read_variance=1e-12), IsoNoise(), 0.1) == pytest.approx(1 / 16)


def test_a_calibration_comes_back_from_its_file(tmp_path):
  """With what it was fitted to beside it; what is no calibration is refused by the file's name."""
  path, content = tmp_path / "a camera.json", calibration_json(_TRUE, {100: fit_at(100)})
  content["iso_range"] = [100, 6400]
  path.write_text(json.dumps(content))
  read = read_calibration(path)
  assert read.profile_at(200) == _TRUE.profile_at(200)
  for changes in (dict(schema="x"), dict(version=2), dict(shot_per_iso=-1), dict(shot_per_iso="1"), dict(iso_range=3),
                  dict(read_per_iso2=1e999)):
    path.write_text(json.dumps(content | changes))
    with pytest.raises(ValueError, match="a camera.json"):
      read_calibration(path)
  for text in ("", "[]", "{", "3"):
    path.write_text(text)
    with pytest.raises(ValueError, match="a camera.json"):
      read_calibration(path)
