"""What docs/camera.md shows works as it stands there."""

import json
import pathlib
import re
import warnings

import jax.numpy as jnp
import pytest

from debir_jax.camera import folder_camera
from debir_jax.camera.limits import limits_of_json
from debir_jax.camera.noise_calibration import NoiseCalibration, calibration_json
from debir_jax.camera.simulated_camera import SimulatedCamera
from debir_jax.simulator import IsoNoise
from debir_jax.types import BurstTiming, CameraColor, Scene

_PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "camera.md").read_text()


def blocks(language):
  return re.findall(rf"```{language}\n(.*?)```", _PAGE, re.DOTALL)


def test_a_calibration_becomes_a_noise_model(tmp_path, monkeypatch):
  """The first lines of Python."""
  calibration = NoiseCalibration(shot_at_iso_0=0.0, shot_per_iso=1e-6, read_at_iso_0=0.0, read_per_iso2=1e-12,
                                 iso_range=(100.0, 6400.0))
  monkeypatch.chdir(tmp_path)
  (tmp_path / "camera.json").write_text(json.dumps(calibration_json(calibration, {})))
  names = {}
  exec(blocks("python")[0], names)
  assert float(names["noise_model"].variance(1.0, 2.0)) == pytest.approx(2e-4 + 4e-8, rel=1e-4)


def test_a_burst_is_planned_and_taken(monkeypatch):
  """With a simulated camera in the folder's place, as the page says."""
  timing = BurstTiming.paper()
  ramp = jnp.linspace(0.1, 0.6, 32)[None, None, :, None] * jnp.ones((timing.num_subframes(0.07), 32, 1, 4))
  scene = Scene(radiance=ramp, color=CameraColor.neutral(), scene_id=jnp.int32(0))
  monkeypatch.setattr(folder_camera, "FolderCamera",
                      lambda folder: SimulatedCamera(scene=scene, timing=timing, noise_model=IsoNoise()))
  names = {}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    exec(blocks("python")[1], names)
  assert len(names["capture"].frames) == 4 and all(frame.actual for frame in names["capture"].plan.frames)


def test_the_example_of_limits_is_one():
  """Every field is known."""
  assert limits_of_json(json.loads(blocks("json")[0])).name == "my phone"
