"""A folder as a camera: files are taken as they arrive, complete, each once; what is missing is noticed."""

import dataclasses
import json

import pytest

from debir_jax.camera import dng
from debir_jax.camera.cameras import CameraError, take_burst
from debir_jax.camera.folder_camera import REQUEST, FolderCamera
from tests.camera.frames import frame
from tests.camera.plan_test import some_plan

pytest.importorskip("rawpy")


class Arrivals:
  """A clock that other software works by: at every look at the folder one more thing happens."""

  def __init__(self, *events):
    self._events, self.now = list(events), 0.0

  def sleep(self, seconds):
    self.now += 1.0
    if self._events:
      self._events.pop(0)()

  def clock(self):
    return self.now


def write(folder, name, planned=None, content=None):
  """A file of a frame, taken as planned."""
  settings = dict(exposure_time=planned.exposure_time_ns / 1e9, iso=float(planned.iso)) if planned else {}
  (folder / name).write_bytes(dng.dng_bytes(frame(**settings)) if content is None else content)


@pytest.fixture
def plan():
  return some_plan()


def test_a_burst_arrives(tmp_path, plan):
  """Incomplete files are waited for; the request is there while frames are missing, and gone afterwards."""
  first, seen = plan.frames[0], []
  whole = dng.dng_bytes(frame(exposure_time=first.exposure_time_ns / 1e9, iso=float(first.iso)))
  events = [lambda: write(tmp_path, "a1.dng", content=whole[:3000]),
            lambda: seen.append(json.loads((tmp_path / REQUEST).read_text())),
            lambda: write(tmp_path, "a1.dng", content=whole)]
  events += [lambda i=i: write(tmp_path, f"a{i + 1}.dng", plan.frames[i]) for i in range(1, 4)]
  arrivals = Arrivals(*events)
  write(tmp_path, "preview 1.dng"), write(tmp_path, "preview 2.dng"), write(tmp_path, "notes.txt", content=b"x")
  with FolderCamera(folder=tmp_path, clock=arrivals.clock, sleep=arrivals.sleep) as camera:
    assert [preview.iso for preview in camera.previews()] == [3200, 3200]
    capture = take_burst(camera, _patient(plan))
  assert len(capture.frames) == 4 and capture.num_retakes == 0
  assert [one["exposure_time_ns"] for one in seen[0]] == [one.exposure_time_ns for one in plan.frames]
  assert not (tmp_path / REQUEST).exists()


def _patient(plan, seconds=30):
  return dataclasses.replace(plan, timeout_ns=seconds * 10**9)


def test_a_missing_frame_is_told_by_exposure_times(tmp_path, plan):
  """The second of four never comes: it is left out, the others are where they belong."""
  for number in (0, 2, 3):
    write(tmp_path, f"{number}.dng", plan.frames[number])
  arrivals = Arrivals()
  camera = FolderCamera(folder=tmp_path, clock=arrivals.clock, sleep=arrivals.sleep)
  capture = take_burst(camera, _patient(plan, 3), max_retakes=0)
  assert [frame.actual is None for frame in capture.plan.frames] == [False, True, False, False]


def test_nothing_comes(tmp_path, plan):
  """An error after the timeout, with the folder's name or what is missing; also for a folder that is not there."""
  arrivals = Arrivals()
  camera = FolderCamera(folder=tmp_path, clock=arrivals.clock, sleep=arrivals.sleep)
  with pytest.raises(CameraError, match="no two previews"):
    camera.previews()
  with pytest.raises(CameraError, match="dropped"):
    take_burst(camera, _patient(plan, 2))
  with pytest.raises(CameraError, match="no folder"):
    FolderCamera(folder=tmp_path / "none")
