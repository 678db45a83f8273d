"""Laws of the way from frames to subframes."""

import numpy as np
import pytest

from debir_jax.scenes.subframes import subframes


def _fade(first, second, factor):
  times = np.arange(1, factor, dtype=np.float32)[:, None, None, None] / factor
  return (1 - times) * first + times * second


def _frames(times_s, dtype=np.uint8):
  """Frames whose level is 100 times their place, round and round."""
  return [(time, np.full((2, 2, 3), 100 * place % 250, dtype), True) for place, time in enumerate(times_s)]


def _levels(found):
  return [int(subframe.pixels[0, 0, 0]) for subframe in found]


@pytest.mark.parametrize("rate_hz, factor", [(240, 8), (120, 16), (60, 32), (1920, 1), (960, 2)])
def test_rates_are_interpolated_to_1920(rate_hz, factor):
  """By 8, 16 and 32; N = factor (F - 1) + 1; captured frames as they are; 1920 is taken as it is."""
  found = list(subframes(iter(_frames([place / rate_hz for place in range(3)])), rate_hz, _fade))
  assert [subframe.index for subframe in found] == list(range(2 * factor + 1))
  assert [subframe.index for subframe in found if subframe.is_captured] == [0, factor, 2 * factor]
  assert _levels(found) == [round(100 * step / factor) for step in range(2 * factor + 1)]


def test_rates_that_vary_go_by_the_times_of_frames():
  """Each frame at the subframe nearest to its time: 16.07, 16.67 and 17.24 ms are 31, 32 and 33 subframes."""
  times = np.cumsum([0, 0.01607, 0.01667, 0.01724, 0.016640])
  found = list(subframes(iter(_frames(times)), 60, _fade))
  assert [subframe.index for subframe in found if subframe.is_captured] == [round(1920 * time) for time in times]
  assert [subframe.index for subframe in found] == list(range(found[-1].index + 1))


def test_rates_that_are_no_divisors_drift_by_nothing():
  """29.97 per second: frame k lies within half a subframe of its time."""
  found = list(subframes(iter(_frames([place / 29.97 for place in range(40)], np.uint16)), 29.97, _fade))
  captured = [subframe.index for subframe in found if subframe.is_captured]
  assert np.abs(np.array(captured) / 1920 - np.arange(40) / 29.97).max() <= 0.5 / 1920 + 1e-9


def test_nothing_is_interpolated_over_a_gap():
  """A frame is missing: a new stretch begins, counted from its first frame."""
  found = list(subframes(iter(_frames([0, 1 / 240, 3 / 240, 4 / 240])), 240, _fade))
  assert [(subframe.stretch, subframe.index) for subframe in found] == [
      (stretch, index) for stretch in (0, 1) for index in range(9)]


def test_two_frames_within_a_subframe_are_one():
  found = list(subframes(iter(_frames([0, 1e-5, 1 / 240])), 240, _fade))
  assert [subframe.index for subframe in found] == list(range(9)) and _levels(found)[-1] == 200


def test_deep_frames_stay_deep():
  """65535 is white in uint16 as 255 is in uint8."""
  frames = [(place / 960, np.full((2, 2, 3), level, np.uint16), True) for place, level in enumerate((1000, 1003))]
  found = list(subframes(iter(frames), 960, _fade))
  assert _levels(found) == [1000, 1002, 1003] and found[1].pixels.dtype == np.uint16
