"""Laws of the windows and crops of data sets."""

import numpy as np
import pytest

from debir_jax.scenes import windows
from debir_jax.scenes.windows import Layout, WindowCutter


def _starts(num_subframes, length, starts, captured_every=8):
  cutter = WindowCutter(length, starts)
  found = [(start, entries) for index in range(num_subframes)
           for start, entries in cutter.add(index, index, index % captured_every == 0)]
  for start, entries in found:
    assert entries == list(range(start, start + length))  # Every entry is the subframe it stands for.
  return [start for start, _ in found]


@pytest.mark.parametrize("num_frames", [2, 45, 46, 68, 90, 200, 1000])
@pytest.mark.parametrize("length", [230, 358])
def test_windows_are_the_papers(num_frames, length):
  """k = 0 .. floor(N / 179) - 2 of N = 8 (F - 1) + 1 subframes, at 179 k, or rounded down to a captured target."""
  total = windows.num_subframes_of(num_frames, 8)
  assert total == 8 * (num_frames - 1) + 1
  expected = [179 * k for k in range(max(total // 179 - 1, 0))]
  assert len(expected) == windows.num_windows(total)
  assert _starts(total, length, "release") == expected
  assert _starts(total, length, "captured") == [start // 8 * 8 for start in expected]


def test_the_paper_s_counts_follow_from_its_windows():
  """4,092 / 1,127 / 532 of 466, 518 and 532 windows, wherever these are in the clips."""
  rng = np.random.default_rng(0)

  def num_frames_with(total):
    """Eleven clips with so many windows in all."""
    parts = np.diff([0, *sorted(rng.choice(np.arange(1, total), 10, replace=False)), total])
    return [int((179 * (part + 1) + rng.integers(0, 170)) // 8 + 2) for part in parts]

  num_windows = lambda total: sum(
      windows.num_windows(windows.num_subframes_of(count, 8)) for count in num_frames_with(total))
  crops = lambda rows, columns, size: len(Layout(358, rows, columns, 256).crops(size))
  restore, bae, test = (num_windows(total) for total in (466, 518, 532))
  assert (restore, bae, test) == (466, 518, 532)
  assert restore * crops(2, 4, (720, 1280)) + 91 * crops(2, 2, (680, 772)) == 4092
  assert bae * crops(1, 2, (720, 1280)) + 91 * crops(1, 1, (680, 772)) == 1127
  assert test * crops(0, 0, (720, 1280)) == 532


def test_crops_are_the_papers():
  """Rows h/2 + {-256, 0} and columns w/2 + {-512, -256, 0, 256}; centred for BAENet; around the middle of photos."""
  corners = lambda rows, columns, size: [crop[:2] for crop in Layout(230, rows, columns, 256).crops(size)]
  assert corners(2, 4, (720, 1280)) == [(row, column) for row in (104, 360) for column in (128, 384, 640, 896)]
  assert corners(1, 2, (720, 1280)) == [(232, 384), (232, 640)]
  assert corners(2, 2, (680, 772)) == [(84, 130), (84, 386), (340, 130), (340, 386)]
  assert Layout(230, 0, 0, 256).crops((720, 1280)) == [(0, 0, 720, 1280)]
  assert Layout(230, 0, 0, 256).crops((428, 642)) == [(2, 0, 424, 640)]


@pytest.mark.parametrize("step", [1, 8, 16, 32, 64])
def test_what_is_restored_is_a_captured_frame(step):
  """80 subframes into every window, at every rate; no later than the next captured frame."""
  starts = _starts(20 * 179, 230, "captured", step)
  assert all((start + 80) % step == 0 and start >= 0 for start in starts)
  assert all(-step < start - 179 * k <= (0 if k else step) for k, start in enumerate(starts))
  assert len(starts) == 19


def test_impossible_layouts_are_named():
  with pytest.raises(ValueError, match="Frames of 200x400 px do not hold 1x2 crops of 256 px"):
    Layout(230, 1, 2, 256).crops((200, 400))
  with pytest.raises(ValueError, match="--crop_size=20 must be a positive multiple of 8"):
    Layout(230, 1, 2, 20)
  with pytest.raises(ValueError, match="1 to 358 subframes, but 400"):
    Layout(400, 1, 2, 16)
  with pytest.raises(ValueError, match="starts='paper'"):
    Layout(230, 1, 2, 16, "paper")
