"""What is written as DNG is read again, pixel by pixel and tag by tag, by this package and by LibRaw."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from debir_jax.camera import dng
from debir_jax.camera.raw_files import read_raw
from tests.camera.frames import frame

rawpy = pytest.importorskip("rawpy")


def rendered(path, **options):
  """As LibRaw develops it, uint8."""
  with rawpy.imread(str(path)) as raw:
    return raw.postprocess(use_camera_wb=True, no_auto_bright=True, user_flip=0,
                           demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR, **options)


def test_a_written_frame_is_read_as_it_was(tmp_path):
  """Pixels exactly, numbers to the digits of TIFF's ratios."""
  written = frame(orientation=6)
  dng.write_dng(tmp_path / "with space.dng", written)
  read = read_raw(tmp_path / "with space.dng")
  np.testing.assert_array_equal(read.mosaic, written.mosaic)
  assert read.black_levels == pytest.approx(written.black_levels, abs=0.5)  # LibRaw has whole levels.
  assert (read.white_level, read.orientation, read.camera, read.iso) == (4095, 6, "Make Model 1", 3200)
  assert dataclasses.astuple(read.lens) == (pytest.approx(2.8, rel=1e-5), 24, "2026:11:30 12:00:01")
  assert read.white_balance == pytest.approx(written.white_balance, abs=1e-5)
  np.testing.assert_allclose(read.xyz_to_camera, written.xyz_to_camera, atol=1e-6)
  assert read.exposure_time == pytest.approx(written.exposure_time, rel=1e-9)
  assert dataclasses.astuple(read.noise) == pytest.approx(dataclasses.astuple(written.noise))


def test_libraw_reads_exposure_and_iso(tmp_path):
  """From the Exif IFD; beyond ISO 65535 LibRaw sees the tag that ends there, this package another one."""
  for iso in (3200, 102400):
    dng.write_dng(tmp_path / f"{iso}.dng", frame(iso=iso))
    with rawpy.imread(str(tmp_path / f"{iso}.dng")) as raw:
      assert raw.other.shutter_speed == pytest.approx(1 / 120, rel=1e-6)
      assert raw.other.iso_speed == min(iso, 65535)
    assert read_raw(tmp_path / f"{iso}.dng").iso == iso


def test_what_nobody_knows_is_not_written(tmp_path):
  """A frame without exposure, ISO, noise and camera comes back without them."""
  dng.write_dng(tmp_path / "a.dng", frame(exposure_time=None, iso=None, noise=None, camera=""))
  read = read_raw(tmp_path / "a.dng")
  assert (read.exposure_time, read.iso, read.noise, read.camera) == (None, None, None, "")


@pytest.mark.parametrize("command", [
    ["exiftool", "-validate", "-warning", "-error"], ["rawtherapee-cli", "-Y", "-o", "{out}.jpg", "-c"],
    ["darktable-cli", "{file}", "{out}.png", "--core", "--configdir", "{out}"]])
def test_other_readers_open_it(tmp_path, command):
  """exiftool finds nothing wrong; RAW converters develop it. Where the machine has them."""
  if not shutil.which(command[0]):
    pytest.skip(f"no {command[0]} here")
  file, out = tmp_path / "a.dng", tmp_path / "developed"
  dng.write_dng(file, frame(height=256, width=256))  # RawTherapee refuses smaller ones.
  filled = [part.format(file=file, out=out) for part in command]
  done = subprocess.run(filled if str(file) in filled else [*filled, str(file)], capture_output=True, text=True,
                        timeout=3600, check=False)
  assert done.returncode == 0, done.stderr
  assert "Validate                        : OK" in done.stdout or list(tmp_path.glob("developed*.*"))


def test_results_are_not_overwritten(tmp_path):
  """Unless that is asked for; nothing is left beside the file."""
  dng.write_dng(tmp_path / "a.dng", frame())
  with pytest.raises(ValueError, match="--overwrite"):
    dng.write_dng(tmp_path / "a.dng", frame(iso=100.0))
  dng.write_dng(tmp_path / "a.dng", frame(iso=100.0), overwrite=True)
  assert read_raw(tmp_path / "a.dng").iso == 100 and len(list(tmp_path.iterdir())) == 1


def test_a_computed_frame_keeps_noise_below_black():
  """16 bits with room below black: steps of 1/63487."""
  planes = np.random.default_rng(0).normal(0.0, 0.005, (8, 12, 4)).astype(np.float32)
  computed = frame().with_packed(planes, None)
  np.testing.assert_allclose(computed.packed(), planes, atol=1e-5)
  assert computed.noise is None


@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_pictures_are_upright(orientation, corner):
  """EXIF 6: what the sensor has at the top left is at the top right."""
  pixels = np.zeros((4, 6))
  pixels[0, 0] = 1
  assert dng.upright(pixels, orientation)[corner] == 1


def test_strips_develop_as_the_whole_does(monkeypatch):
  """Bounded memory leaves no seams."""
  whole = dng.srgb_counts(frame(), 16)
  monkeypatch.setattr(dng, "_STRIP", 8)
  np.testing.assert_allclose(dng.srgb_counts(frame(), 16), whole, atol=2)


def test_pictures_have_8_or_16_bits(tmp_path):
  """PNG and TIFF of both; other numbers are refused."""
  import cv2
  import tifffile
  dng.write_png(tmp_path / "a.png", frame(), bits=16)
  dng.write_tiff(tmp_path / "a.tiff", frame(), bits=16)
  png = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
  np.testing.assert_array_equal(png, tifffile.imread(tmp_path / "a.tiff"))
  assert png.dtype == np.uint16 and png.shape == (64, 96, 3)
  with pytest.raises(ValueError, match="8 or 16"):
    dng.write_png(tmp_path / "b.png", frame(), bits=12)


def test_real_files_come_back_exactly_and_look_the_same(shared_dir, tmp_path):
  """Pixels are equal, and LibRaw develops both alike: a mean difference of under 0.05 of 255."""
  files = sorted((shared_dir / "data" / "raw").glob("*.CRW")) + [shared_dir / "data" / "raw" / "tinydng_colorchart.dng"]
  for number, path in enumerate(files):
    original, copy = read_raw(path), tmp_path / f"{number}.dng"
    dng.write_dng(copy, original)
    again = read_raw(copy)
    np.testing.assert_array_equal(again.mosaic, original.mosaic)
    assert (again.exposure_time, again.iso) == (original.exposure_time, original.iso)
    half = [rendered(file, half_size=True).astype(float) for file in (path, copy)]
    assert np.mean(np.abs(half[0] - half[1])) < 0.05
