"""Two previews become a plan: by the policy, of the previews' brightness; or a sentence says why not."""

import dataclasses
import json

import numpy as np
import pytest

import debir_jax
from debir_jax.camera import dng
from debir_jax.camera import meter as command
from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.meter import meter
from debir_jax.camera.noise_calibration import NoiseCalibration
from debir_jax.camera.plan import read_plan
from debir_jax.policies import bracket
from tests.camera.coarse_motion_test import scene, seen

_LIMITS = CameraLimits(row_time_ns=10_000)


@pytest.fixture(scope="module")
def model():
  return debir_jax.load()


def previews(shift=(1, 0), iso=70000.0, time=1 / 120, level=1.0, size=(64, 64)):
  """Two noisy frames of a scene that moves by so many packed px (x, y) between them."""
  image = level * scene(260, 260)
  pair = [seen(image, 60 - y, 60 - x, *size, noise=0.02 * level) for x, y in ((0, 0), shift)]
  return [dataclasses.replace(frame, iso=iso, exposure_time=time, noise=None) for frame in pair]


def test_a_plan_is_what_the_policy_says_at_the_previews_brightness(model):
  """The same times as the front door's, rounded to rows; every frame as bright as a preview."""
  pair = previews(shift=(3, 1))
  plan = meter(model, pair, _LIMITS)
  planes = np.clip(np.stack([frame.packed() for frame in pair]), 0, 1)
  expected = model.exposure_times(planes, 700.0, pair[1].color)
  assert plan.exposure_times == pytest.approx(list(np.asarray(expected)), abs=6e-6)
  for frame in plan.frames:
    assert frame.exposure_time_ns / 1e9 * frame.iso * frame.digital_gain == pytest.approx(70000 / 120, rel=1e-6)
  assert plan.preview_gain == pytest.approx(700) and plan.mean_flow_px == pytest.approx(np.hypot(3, 1), abs=0.8)


def test_metering_is_compiled_once(model):
  """What a camera waits for takes milliseconds: neither other previews nor weights loaded anew compile again."""
  meter(model, previews(), _LIMITS)
  sizes = [program._cache_size() for program in (command._mean_flow_px, command._chosen)]
  meter(debir_jax.load(), previews(shift=(4, 2), iso=80000.0), _LIMITS)
  assert [program._cache_size() for program in (command._mean_flow_px, command._chosen)] == sizes and min(sizes) > 0


def test_policies_that_do_not_look_plan_what_they_always_do(model):
  """Bracketing; an unknown one is refused."""
  pair = previews()
  assert meter(model, pair, _LIMITS, policy="bracket").exposure_times == pytest.approx(
      bracket(model.timing).exposure_times, abs=1.1e-5)
  for policy in ("uniform", "motion"):
    assert np.ptp(meter(model, pair, _LIMITS, policy=policy).exposure_times) <= 1.1e-5  # A row, for the budget.
  with pytest.raises(ValueError, match="--policy=best"):
    meter(model, pair, _LIMITS, policy="best")
  with pytest.raises(ValueError, match="no BAENet"):
    meter(dataclasses.replace(model, policy=None), pair, _LIMITS)


def test_a_plan_may_be_for_another_number_of_frames(model):
  """Within as large a part of the budget; where the network does not know such bursts it says so."""
  pair = previews()
  plan = meter(model, pair, _LIMITS, policy="bracket", num_frames=2)
  timing = model.timing.with_frames(2)
  assert plan.exposure_times == pytest.approx(bracket(timing).exposure_times, abs=1.1e-5)
  assert plan.budget_ns == round(1e9 * timing.budget_s)
  with pytest.raises(ValueError, match="bursts of 4 frames, not of 2"):
    meter(model, pair, _LIMITS, num_frames=2)
  with pytest.raises(ValueError, match="--num_frames=0 must be 1 to"):
    meter(model, pair, _LIMITS, policy="uniform", num_frames=0)


def test_longer_between_the_previews_means_slower(model):
  """The same shift in ten times the time blurs ten times less."""
  pair = previews(shift=(3, 1))
  near = meter(model, pair, _LIMITS, policy="bracket")
  far = meter(model, pair, _LIMITS, policy="bracket", interval_s=10 * (model.timing.preview_exposure_s
                                                                      + model.timing.preview_gap_s))
  assert far.frames[0].expected_blur_px == pytest.approx(near.frames[0].expected_blur_px / 10)


def test_another_camera_is_told_in_gains_of_training(model):
  """A camera a hundred times less noisy, at the same ISO: the network hears of a lower gain, ISOs stay."""
  quiet = NoiseCalibration(shot_at_iso_0=0.0, shot_per_iso=1e-8, read_at_iso_0=0.0, read_per_iso2=1e-16)
  with pytest.warns(UserWarning):
    plan = meter(model, previews(), _LIMITS, policy="bracket", calibration=quiet)
  assert plan.preview_gain < 70
  assert plan.frames[0].iso * plan.frames[0].exposure_time_ns / 1e9 == pytest.approx(70000 / 120, rel=0.01)


def test_large_previews_are_reduced(model, monkeypatch):
  """Flow in px of full previews, from small ones."""
  monkeypatch.setattr(command, "_CROP", 64)
  plan = meter(model, previews(shift=(8, 0), size=(128, 128)), _LIMITS, policy="bracket")
  assert plan.mean_flow_px == pytest.approx(8, abs=2.5)


@pytest.mark.parametrize("pair, message", [
    (previews()[:1], "two previews"), ([previews()[0]] * 2, "very same pixels"),
    (previews(level=0.0), "is black"), (previews(level=30.0), "is clipped"),
    (previews(iso=None), "--iso"), (previews(time=None), "--exposure_time"),
    ([previews()[0], previews(size=(32, 32))[1]], "sizes"), ([previews()[0], previews(iso=100.0)[1]], "ISOs")])
def test_previews_that_say_too_little_are_refused(model, pair, message):
  """With what is wrong and the way on."""
  with pytest.raises(ValueError, match=message):
    meter(model, pair, _LIMITS, policy="bracket")


def test_the_command_prints_and_writes_the_plan(tmp_path, capsys):
  """From files, within the limits of a file; nothing is overwritten."""
  pytest.importorskip("rawpy")
  files = [str(tmp_path / f"preview {number}.dng") for number in range(2)]
  for path, frame in zip(files, previews()):
    dng.write_dng(path, frame)
  (tmp_path / "limits.json").write_text(json.dumps(dict(mains_hz=50, isos=[100, 102400])))
  arguments = [*files, "--out", str(tmp_path / "plan.json"), "--camera", str(tmp_path / "limits.json"),
               "--policy=uniform"]
  command.main(arguments)
  plan = read_plan(tmp_path / "plan.json")
  assert all(frame.flicker_safe for frame in plan.frames) and "safe" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="--overwrite"):
    command.main(arguments)
  with pytest.raises(SystemExit, match="no file"):
    command.main([files[0], "none.dng"])
