"""Plans are within the camera's limits and the budget, survive their file, and nothing else passes for one."""

import copy
import dataclasses
import json
import pathlib
import random

import pytest

from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.plan import (
  ActualSettings,
  CapturePlan,
  Expectations,
  plan_frames,
  plan_json,
  plan_of_json,
  plan_table,
  read_plan,
)

_SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs" / "capture_plan.schema.json"
_EXPECTED = Expectations(speed_px_s=200.0, noise_std=lambda iso: 1e-3 * iso**0.5)
_BUDGET = 66_666_667


def some_plan(times=(0.004, 0.012, 0.02, 0.03), **limits) -> CapturePlan:
  """Of a preview of 1/120 s at ISO 25600."""
  limits = CameraLimits(**limits)
  frames = plan_frames(times, 25600 / 120, limits, _EXPECTED, _BUDGET)
  return CapturePlan(frames=frames, limits=limits, budget_ns=_BUDGET, timeout_ns=10**9, policy="baenet",
                     preview_gain=256.0, mean_flow_px=2.5)


@pytest.mark.parametrize("limits", [
    {}, dict(row_time_ns=14_700), dict(mains_hz=50), dict(mains_hz=60, row_time_ns=30_000),
    dict(isos=(100, 800, 6400), continuous_iso=False), dict(handheld_ceiling_ns=15_000_000)])
def test_brightness_is_that_of_the_preview(limits):
  """Exposure time x ISO x digital gain, whatever the camera rounds; and the budget holds."""
  plan = some_plan(**limits)
  for frame in plan.frames:
    brightness = frame.exposure_time_ns / 1e9 * frame.iso * frame.digital_gain
    assert brightness == pytest.approx(25600 / 120, rel=1e-6)
  assert sum(frame.exposure_time_ns for frame in plan.frames) <= _BUDGET
  assert sum(plan.exposure_times) == pytest.approx(sum(frame.exposure_time_ns for frame in plan.frames) / 1e9)


def test_frames_that_are_left_out_are_not_planned():
  """0 s stands for them."""
  assert len(some_plan((0.01, 0.02, 0.0, 0.0)).frames) == 2


def test_blur_grows_with_time_and_noise_falls():
  """What is told of every frame is at the camera's settings."""
  frames = some_plan().frames
  assert frames[1].expected_blur_px == pytest.approx(200 * 0.012)
  assert [frame.expected_noise_db for frame in frames] == sorted((f.expected_noise_db for f in frames), reverse=True)
  assert "12.000 ms" in plan_table(some_plan())


def test_a_plan_comes_back_from_its_file(tmp_path):
  """Before and after capture."""
  plan = some_plan(mains_hz=50)
  taken = plan.with_actual([ActualSettings(exposure_time_ns=4_000_000, iso=100.5, start_ns=17), None, None, None])
  for each in (plan, taken):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_json(each)))
    assert read_plan(path) == each


def test_a_plan_is_as_its_schema_says():
  """The published one, which refuses what the package refuses."""
  jsonschema = pytest.importorskip("jsonschema")
  schema, content = json.loads(_SCHEMA.read_text()), json.loads(json.dumps(plan_json(some_plan())))
  jsonschema.validate(content, schema)
  assert set(schema["properties"]["frames"]["items"]["properties"]) == set(content["frames"][0])
  content["frames"][0]["exposure_time_ns"] = 0.5
  with pytest.raises(jsonschema.ValidationError):
    jsonschema.validate(content, schema)


def test_a_frame_taken_otherwise_is_another_frame():
  """By more than its tolerance, in exposure time or ISO."""
  frame = some_plan().frames[1]
  actual = ActualSettings(exposure_time_ns=frame.exposure_time_ns, iso=frame.iso)
  assert frame.fits(actual)
  assert not frame.fits(dataclasses.replace(actual, iso=1.1 * frame.iso))
  assert not frame.fits(dataclasses.replace(actual, exposure_time_ns=round(0.9 * frame.exposure_time_ns)))


def test_other_versions_and_files_are_refused(tmp_path):
  """A newer version by its number; all with the file's name."""
  content, path = plan_json(some_plan()), tmp_path / "a plan.json"
  for changes, message in (
      (dict(version=2), "version 2"), (dict(schema="x"), "no capture plan"), (dict(frames=[]), "1 to"),
      (dict(frames=[3]), "object"), (dict(limits=None), "camera"), (dict(budget_ns=-1), "budget_ns"),
      (dict(more=1), "more")):
    path.write_text(json.dumps(content | changes))
    with pytest.raises(ValueError, match="a plan.json.*" + message):
      read_plan(path)
  path.write_text("[" * 100_000)
  with pytest.raises(ValueError, match="a plan.json"):
    read_plan(path)


def mutated(rng: random.Random, content):
  """A plan's JSON with one place changed."""
  content = copy.deepcopy(content)
  node = content
  while isinstance(node, (dict, list)) and node:
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.3:
      node[key] = rng.choice([None, -1, 0, 1e308, -1e308, 1.5, float("nan"), 10**30, True, "x", [], {}, [[]], 2**63])
      return content
    node = node[key]
  return content


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutated_plans_are_plans_or_refused(count):
  """A ValueError or a plan that can be written and read again; never another error."""
  rng, content = random.Random(0), json.loads(json.dumps(plan_json(some_plan())))
  refused = 0
  for _ in range(count):
    try:
      plan = plan_of_json(mutated(rng, content))
      assert plan_of_json(json.loads(json.dumps(plan_json(plan)))) == plan
    except ValueError:
      refused += 1
  assert 0.5 * count < refused < count
