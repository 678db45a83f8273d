"""What a camera can take is on its grid, within its limits, and safe from flicker where that can be."""

import json

import pytest

from debir_jax.camera.limits import CameraLimits, limits_of_json, read_limits

_ROWS = CameraLimits(min_exposure_ns=100_000, max_exposure_ns=100_000_000, row_time_ns=14_700)


@pytest.mark.parametrize("requested_ns", [1.0, 99_999.0, 1e6, 12_345_678.9, 9.9e7, 1e12])
def test_exposures_are_whole_rows_within_the_limits(requested_ns):
  """And the nearest of those, an integer."""
  exposure = _ROWS.nearest_exposure_ns(requested_ns)
  assert isinstance(exposure, int) and exposure % 14_700 == 0 and 100_000 <= exposure <= 100_000_000
  inside = min(max(requested_ns, _ROWS.shortest_ns), _ROWS.longest_ns)
  assert abs(exposure - inside) <= 14_700 / 2


@pytest.mark.parametrize("mains_hz, requested_ms, expected_ms", [
    (50, 12, 10), (50, 16, 20), (50, 6, 10), (60, 12, 8.333), (60, 29, 25), (50, 999, 100)])
def test_long_exposures_are_multiples_of_the_flicker(mains_hz, requested_ms, expected_ms):
  """Of a hundredth or a hundred-and-twentieth of a second."""
  limits = CameraLimits(max_exposure_ns=100_000_000, row_time_ns=10_000, mains_hz=mains_hz)
  exposure = limits.nearest_exposure_ns(requested_ms * 1e6)
  assert exposure / 1e6 == pytest.approx(expected_ms, abs=0.006) and limits.is_flicker_safe(exposure)


def test_short_exposures_cannot_be_safe_from_flicker():
  """They are taken as they are, and said to be unsafe."""
  limits = CameraLimits(mains_hz=50)
  assert limits.nearest_exposure_ns(2e6) == 2_000_000 and not limits.is_flicker_safe(2_000_000)


def test_a_hand_holds_still_only_for_so_long():
  """The ceiling is one more limit."""
  limits = CameraLimits(handheld_ceiling_ns=33_000_000, mains_hz=50)
  assert limits.longest_ns == 33_000_000 and limits.nearest_exposure_ns(1e9) == 30_000_000


def test_shorter_exposures_stay_of_their_kind():
  """A row less, or a period of the flicker; at the end of the range they stay."""
  assert _ROWS.shorter_exposure_ns(147_000) == 132_300
  assert _ROWS.shorter_exposure_ns(_ROWS.shortest_ns) == _ROWS.shortest_ns
  flicker = CameraLimits(mains_hz=50)
  assert flicker.shorter_exposure_ns(30_000_000) == 20_000_000
  assert flicker.shorter_exposure_ns(10_000_000) == 10_000_000


def test_the_iso_of_a_ladder_is_not_above_what_is_wanted():
  """So that nothing is clipped that digital gain could have spared; the lowest where all are above."""
  ladder = CameraLimits(isos=(100, 200, 400), continuous_iso=False)
  assert [ladder.analogue_iso(iso) for iso in (50, 100, 399, 400, 5000)] == [100, 100, 200, 400, 400]
  assert CameraLimits(isos=(100, 400)).analogue_iso(333.3) == 333


@pytest.mark.parametrize("wrong", [
    dict(min_exposure_ns=0), dict(min_exposure_ns=2_000_000_000), dict(row_time_ns=0), dict(isos=()),
    dict(isos=(200, 100)), dict(isos=(1.5,)), dict(mains_hz=55), dict(warmup_frames=-1), dict(max_exposure_ns=1e9),
    dict(name=3), dict(continuous_iso=1), dict(row_time_ns=900_000_000, min_exposure_ns=950_000_000)])
def test_limits_that_make_no_sense_are_refused(wrong):
  """With the field's name or the values."""
  with pytest.raises(ValueError):
    CameraLimits(**wrong)


def test_limits_are_read_from_a_file(tmp_path):
  """What is not there has its default; unknown fields are named."""
  path = tmp_path / "my camera.json"
  path.write_text(json.dumps(dict(isos=[100, 200], continuous_iso=False)))
  assert read_limits(path) == CameraLimits(isos=(100, 200), continuous_iso=False)
  for text in ('{"shutter": 3}', "[]", "{", '{"isos": 5}', '{"isos": ["a"]}', "null"):
    path.write_text(text)
    with pytest.raises(ValueError, match="my camera.json"):
      read_limits(path)
  with pytest.raises(ValueError, match="no"):
    limits_of_json(["isos"])
