"""RAW files are read as RGGB with what is known of them, or refused by name."""

import numpy as np
import pytest

from debir_jax.camera import dng, raw_files, tiff_tags
from debir_jax.camera.raw_files import UnreadableRawError, read_raw
from tests.camera.frames import frame

pytest.importorskip("rawpy")


@pytest.fixture
def content():
  """Bytes of a good DNG."""
  return dng.dng_bytes(frame())


def test_every_bayer_phase_becomes_rggb(tmp_path, content):
  """Rows and columns are cut off until R comes first; the samples stay what they are."""
  pattern = bytes((0, 1, 1, 2))
  for cfa, codes, (top, left) in (("GRBG", (1, 0, 2, 1), (0, 1)), ("GBRG", (1, 2, 0, 1), (1, 0)),
                                  ("BGGR", (2, 1, 1, 0), (1, 1))):
    entry = bytes((0x8e, 0x82, 1, 0, 4, 0, 0, 0))  # CFAPattern, BYTE, 4 values.
    assert content.count(entry + pattern) == 1
    (tmp_path / "a.dng").write_bytes(content.replace(entry + pattern, entry + bytes(codes)))
    read = read_raw(tmp_path / "a.dng")
    expected = frame().mosaic[top:, left:]
    expected = expected[:expected.shape[0] // 2 * 2, :expected.shape[1] // 2 * 2]
    np.testing.assert_array_equal(read.mosaic, expected)
    assert read.cfa == cfa


def test_real_cameras_say_what_they_say(shared_dir):
  """The exposure of a CRW; of a DNG that holds 0/1000000 s and ISO 0, nothing."""
  folder = shared_dir / "data" / "raw"
  crw = read_raw(folder / "Canon__PowerShot_S40__CRW_0101.CRW")
  assert crw.exposure_time == pytest.approx(0.0099, abs=1e-4) and crw.iso == 50
  assert (crw.black_levels, crw.white_level, crw.size) == ((32.0,) * 4, 1023, (860, 1156))
  magic_lantern = read_raw(folder / "tinydng_colorchart.dng")
  assert (magic_lantern.exposure_time, magic_lantern.iso) == (None, None)
  assert magic_lantern.white_balance == pytest.approx((2.477, 1, 1.6943), abs=1e-3)


def test_truncated_files_are_refused(tmp_path, content, shared_dir):
  """However much is missing, of a DNG and of a CRW, with the name of the file and the way on."""
  crw = (shared_dir / "data" / "raw" / "Canon__PowerShot_S40__CRW_0101.CRW").read_bytes()
  for whole in (content, crw):
    for share in (0.0, 0.001, 0.3, 0.9, 0.999):
      path = tmp_path / "cut file.raw"
      path.write_bytes(whole[:int(share * len(whole))])
      with pytest.raises(UnreadableRawError, match="cut file.raw"):
        read_raw(path)


def test_what_is_no_raw_is_refused(tmp_path):
  """A missing file, a text, a photo, a web page."""
  with pytest.raises(FileNotFoundError):
    read_raw(tmp_path / "none.dng")
  for number, text in enumerate((b"hello" * 1000, b"\x89PNG\r\n\x1a\n" + bytes(1000), b"<!DOCTYPE html>" * 50)):
    (tmp_path / f"{number}.dng").write_bytes(text)
    with pytest.raises(UnreadableRawError, match=f"{number}.dng"):
      read_raw(tmp_path / f"{number}.dng")


def test_a_huge_frame_is_refused_before_it_is_unpacked(tmp_path, content, monkeypatch):
  """By the size in its header, which comes before its missing pixels are noticed; by the length of the file."""
  width = content.index(bytes((0x00, 0x01, 4, 0, 1, 0, 0, 0)))  # ImageWidth and ImageLength, LONG.
  length = content.index(bytes((0x01, 0x01, 4, 0, 1, 0, 0, 0)))
  huge = bytearray(content)
  huge[width + 8:width + 12] = huge[length + 8:length + 12] = (60000).to_bytes(4, "little")
  (tmp_path / "huge.dng").write_bytes(huge)
  with pytest.raises(UnreadableRawError, match="60000x60000 pixels, more than"):
    read_raw(tmp_path / "huge.dng")
  monkeypatch.setattr(raw_files, "MAX_BYTES", 1000)
  (tmp_path / "long.dng").write_bytes(content)
  with pytest.raises(UnreadableRawError, match="no RAW of one frame"):
    read_raw(tmp_path / "long.dng")


def test_pattern_of_other_sensors_is_refused(tmp_path, content):
  """Filters of other colors than Bayer's."""
  entry = bytes((0x8e, 0x82, 1, 0, 4, 0, 0, 0, 0, 1, 1, 2))
  (tmp_path / "a.dng").write_bytes(content.replace(entry, entry[:-4] + bytes((0, 1, 2, 1))))
  with pytest.raises(UnreadableRawError, match="Bayer"):
    read_raw(tmp_path / "a.dng")


def test_tags_of_what_is_no_tiff_are_none(tmp_path):
  """Nor of a damaged one; reading them never fails."""
  for beginning in (b"II*\0", b"MM\0*", b"HEAP", b""):
    (tmp_path / "a").write_bytes(beginning + bytes(range(200)))
    assert tiff_tags.read_tags(tmp_path / "a").noise is None


def test_without_the_extra_the_error_names_it(monkeypatch):
  """The default install has no rawpy."""
  import sys
  monkeypatch.setitem(sys.modules, "rawpy", None)
  with pytest.raises(ImportError, match=r"\[camera\]"):
    read_raw("a.dng")
