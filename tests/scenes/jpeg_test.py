"""Laws of decoding JPEG data strictly."""

import io
import sys

import numpy as np
from PIL import Image
import pytest

from debir_jax.scenes import jpeg

_KINDS = {
    "plain": dict(quality=90), "coarse": dict(quality=60, subsampling=2), "fine": dict(quality=100, subsampling=0),
    "optimized": dict(quality=90, optimize=True), "progressive": dict(quality=90, progressive=True),
    "restarts": dict(quality=90, restart_marker_blocks=5), "restart rows": dict(quality=80, restart_marker_rows=1)}


def _natural(height=200, width=264, seed=0):
  """Details of all sizes, as in photos."""
  rng = np.random.default_rng(seed)
  noise = np.fft.rfft2(rng.standard_normal((3, height, width)))
  frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
  image = np.fft.irfft2(noise / (frequency + 1 / height), s=(height, width)).transpose(1, 2, 0)
  return np.clip(128 + 50 * image / image.std(), 0, 255).astype(np.uint8)


def _encoded(pixels, **options):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", **options)
  return file.getvalue()


def _decoded(data, **options):
  with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
    return jpeg.decode(data, image, **options)


def _start_of_data(data):
  start = data.index(b"\xff\xda")
  return start + 2 + int.from_bytes(data[start + 2:start + 4], "big")


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("pixels", [_natural(), _natural()[..., 0], _natural(41, 67)], ids=["color", "grey", "odd"])
def test_whole_files_are_decoded_as_by_pillow(kind, pixels):
  """Baseline, optimized, progressive, with restarts, in color or grey, of sides that no block divides."""
  data = _encoded(pixels, **_KINDS[kind])
  np.testing.assert_array_equal(_decoded(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_are_no_holes(kind, level):
  """Black, grey or white throughout or in bars: their codes are short, and in optimized files zero."""
  flat, bars = np.full((400, 600, 3), level, np.uint8), np.pad(_natural(), ((200, 200), (99, 0), (0, 0)))
  for pixels in (flat, flat[..., 0], bars):
    assert _decoded(_encoded(pixels, **_KINDS[kind])).shape == pixels.shape


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind != "progressive"])
@pytest.mark.parametrize("num_bytes", [128, 512, 4096])
def test_holes_of_zeros_are_noticed(kind, num_bytes):
  """As sectors that were never written leave them, anywhere in the data; Pillow and OpenCV say nothing."""
  data = _encoded(_natural(), **_KINDS[kind])
  first = _start_of_data(data)
  assert first + num_bytes < len(data) - 2
  for start in np.linspace(first, len(data) - 2 - num_bytes, 9).astype(int):
    with pytest.raises((ValueError, OSError)):
      _decoded(data[:start] + bytes(num_bytes) + data[start + num_bytes:])


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_files_cut_short_are_noticed(kind, end):
  """With an end marker or without, wherever the cut is."""
  data = _encoded(_natural(), **_KINDS[kind])
  for kept in np.linspace(_start_of_data(data), len(data) - 60, 9).astype(int):
    with pytest.raises((ValueError, OSError)):
      _decoded(data[:kept] + end)


def test_zeros_after_the_image_are_no_holes():
  """Phones append previews and depth maps, and some pad them."""
  data = _encoded(_natural(), quality=90)
  np.testing.assert_array_equal(_decoded(data + bytes(4096)), _decoded(data))


@pytest.mark.parametrize("decoder", ["simplejpeg", None])
def test_large_images_come_reduced_on_request(decoder, monkeypatch):
  """Down to an eighth, and never below the sides that are asked for."""
  if not decoder:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
  data = _encoded(_natural(320, 640), quality=90)
  assert _decoded(data, least_side=40).shape == (40, 80, 3)
  height, width, _ = _decoded(data, least_side=128).shape
  assert 128 <= height < 320 and width == 2 * height
  assert _decoded(data, least_side=999).shape == (320, 640, 3)


def test_without_the_strict_decoder_files_are_read_with_a_warning(monkeypatch):
  """An installation that lacks it still reads photos; holes of zeros are noticed all the same."""
  monkeypatch.setitem(sys.modules, "simplejpeg", None)
  warnings = []
  monkeypatch.setattr(jpeg.logging, "log_first_n", lambda level, text, n: warnings.append(text))
  data = _encoded(_natural(), quality=90)
  np.testing.assert_array_equal(_decoded(data), np.asarray(Image.open(io.BytesIO(data))))
  assert "pip install simplejpeg" in warnings[0]
  with pytest.raises(ValueError, match="hole of zeros"):
    _decoded(data[:3000] + bytes(512) + data[3512:])
