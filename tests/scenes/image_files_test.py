"""Laws of finding image files and of reading them as sRGB, or not at all."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image
import pytest

from debir_jax.scenes import image_files
from debir_jax.scenes.image_files import UnreadablePhotoError


def _chunk(kind, content):
  return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(samples, color_type, *chunks, depth=None, size=None):
  """A PNG file of samples `[H, W, C]`, uint8 or uint16, with further chunks before its pixels."""
  depth = depth or 8 * samples.dtype.itemsize
  height, width = size or samples.shape[:2]
  rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(len(samples), -1)
  content = b"".join(b"\0" + row.tobytes() for row in rows)
  return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
          + b"".join(chunks) + _chunk(b"IDAT", zlib.compress(content)) + _chunk(b"IEND", b""))


def _random(channels, dtype=np.uint8, seed=0):
  return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (12, 20, channels)).astype(dtype)


@pytest.fixture
def read(tmp_path):
  """Reads bytes as a file."""
  def of(data, name="image.png"):
    (tmp_path / name).write_bytes(data)
    return image_files.read_pixels(tmp_path / name)
  return of


def _saved(pixels, suffix="PNG", **options):
  file = io.BytesIO()
  image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
  image.save(file, suffix, **options)
  return file.getvalue()


_GREY, _RGB, _GREY_ALPHA, _RGBA = 0, 2, 4, 6


@pytest.mark.parametrize("color_type, channels", [(_GREY, 1), (_RGB, 3), (_GREY_ALPHA, 2), (_RGBA, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_and_color_of_both_depths_keep_their_values(read, color_type, channels, dtype):
  """Opaque alpha is dropped; 16 bits become the nearest of 255 levels."""
  samples, top = _random(channels, dtype), np.iinfo(dtype).max
  if color_type in (_GREY_ALPHA, _RGBA):
    samples[..., -1] = top
  expected = np.round(samples[..., :3 if channels > 2 else 1] / top * 255).repeat(1 if channels > 2 else 3, -1)
  np.testing.assert_array_equal(read(_png(samples, color_type)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_reach_from_black_to_white(read, depth):
  """Grey of 1, 2 and 4 bits."""
  levels = np.arange(8) % 2**depth
  bits = "".join(f"{level:0{depth}b}" for level in levels)
  packed = np.frombuffer(int(bits, 2).to_bytes(depth, "big"), np.uint8).reshape(1, -1, 1)
  pixels = read(_png(packed, _GREY, depth=depth, size=(1, 8)))
  np.testing.assert_array_equal(pixels[0, :, 1], levels * 255 // (2**depth - 1))


def test_palettes_are_looked_up(read):
  """Also with an alpha for each color, if all that occur are opaque."""
  colors = np.random.default_rng(1).integers(0, 256, (16, 3)).astype(np.uint8)
  indices = _random(1) % 15
  palette = _chunk(b"PLTE", colors.tobytes())
  np.testing.assert_array_equal(read(_png(indices, 3, palette)), colors[indices[..., 0]])
  unused = _chunk(b"tRNS", b"\xff" * 15 + b"\0")
  np.testing.assert_array_equal(read(_png(indices, 3, palette, unused)), colors[indices[..., 0]])
  with pytest.raises(UnreadablePhotoError, match="transparent"):
    read(_png(indices, 3, palette, _chunk(b"tRNS", b"\xff\x80")))


@pytest.mark.parametrize("color_type, channels", [(_GREY_ALPHA, 2), (_RGBA, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_refused(read, color_type, channels, dtype):
  """One pixel through which something else would show is enough: its color is anything."""
  samples = _random(channels, dtype)
  samples[..., -1] = np.iinfo(dtype).max
  samples[3, 4, -1] = 0
  with pytest.raises(UnreadablePhotoError, match="image.png is transparent in places. Remove the file, or save it on"):
    read(_png(samples, color_type))


@pytest.mark.parametrize("color_type, channels", [(_GREY, 1), (_RGB, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_transparent_color_is_refused_where_it_occurs(read, color_type, channels, dtype):
  """A file may declare one value transparent."""
  samples = _random(channels, dtype)
  key = lambda values: _chunk(b"tRNS", struct.pack(f">{channels}H", *(int(value) for value in values)))
  with pytest.raises(UnreadablePhotoError, match="transparent"):
    read(_png(samples, color_type, key(samples[5, 6])))
  absent = next(value for value in range(256) if not (samples == value).any(-1).any())
  assert read(_png(samples, color_type, key([absent] * channels))).shape == (12, 20, 3)


def _srgb_of_linear(linear):
  return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)


@pytest.mark.parametrize("color_type, channels", [(_GREY, 1), (_RGB, 3)])
def test_linear_files_become_srgb_with_all_their_bits(read, color_type, channels):
  """16 bits with gamma 1: dark levels that 8 bits of linear light would merge stay apart."""
  samples = _random(channels, np.uint16) // 64  # Dark.
  pixels = read(_png(samples, color_type, _chunk(b"gAMA", struct.pack(">I", 100000))))
  expected = _srgb_of_linear(samples / 65535).repeat(3 // channels, -1)
  np.testing.assert_allclose(pixels, expected, atol=0.54)
  assert len(np.unique(pixels)) > 30


def test_statements_of_color_count_in_order(read):
  """cICP, profile, sRGB, then gamma and primaries."""
  samples, gamma = _random(3), _chunk(b"gAMA", struct.pack(">I", 100000))
  p3 = _chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
  srgb, damaged_profile = _chunk(b"sRGB", b"\0"), _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
  code_points = lambda *values: _chunk(b"cICP", bytes(values))
  assert np.abs(read(_png(samples, _RGB, gamma)).astype(int) - samples).mean() > 30
  assert np.abs(read(_png(samples, _RGB, p3)).astype(int) - samples).mean() > 3
  np.testing.assert_array_equal(read(_png(samples, _RGB, gamma, p3, srgb)), samples)
  np.testing.assert_array_equal(read(_png(samples, _RGB, damaged_profile, code_points(1, 13, 0, 1))), samples)
  with pytest.raises(UnreadablePhotoError, match="image.png states colors that cannot be turned into sRGB .*profile"):
    read(_png(samples, _RGB, gamma, damaged_profile))
  with pytest.raises(UnreadablePhotoError, match="damaged profile"):
    read(_png(samples, _RGB, _chunk(b"iCCP", b"x\0\0not compressed")))
  with pytest.raises(UnreadablePhotoError, match="H.273"):
    read(_png(samples, _RGB, code_points(9, 16, 0, 1)))


@pytest.mark.parametrize("color_space, index", [(2, None), (0xFFFF, "R03")])
def test_adobe_rgb_of_cameras_becomes_srgb(read, color_space, index):
  """They state it in EXIF: by a number, or by a name as the camera file system (DCF) has it."""
  pixels = np.zeros((16, 16, 3), np.uint8) + np.array([120, 180, 90], np.uint8)
  exif = Image.Exif()
  exif.get_ifd(0x8769)[0xA001] = color_space
  if index:
    exif.get_ifd(0x8769)[0xA005] = {1: index}
  stated, plain = (read(_saved(pixels, "JPEG", quality=100, exif=given), "image.jpg") for given in (exif, Image.Exif()))
  to_srgb = np.array([[1.39835574, -0.39835574, 0], [0, 1, 0], [0, -0.0429289893, 1.04292899]])  # From D65 alike.
  expected = _srgb_of_linear(np.clip((plain[0, 0] / 255)**(563 / 256) @ to_srgb.T, 0, 1))
  np.testing.assert_allclose(stated[0, 0], expected, atol=1)


@pytest.mark.parametrize("size", [(32776, 32776), (2**31 - 1, 2**31 - 1), (100000, 3000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(read, size):
  """By the header alone, without Pillow's warnings about bombs."""
  bomb = _png(np.zeros((1, 1, 1), np.uint8), _GREY, size=size)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    with pytest.raises(UnreadablePhotoError, match=f"image.png has {size[0]}x{size[1]} pixels, more than 268435456"):
      read(bomb)


def test_large_photos_below_the_limit_are_opened_without_a_warning(tmp_path):
  """Cameras have 100 to 200 million pixels, of which Pillow warns."""
  (tmp_path / "large.png").write_bytes(_png(np.zeros((1, 1, 1), np.uint8), _GREY, size=(12240, 16320)))
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert image_files.file_size(tmp_path / "large.png") == (12240, 16320)


def test_colors_of_printers_are_refused(read):
  """CMYK means nothing without the printer."""
  with pytest.raises(UnreadablePhotoError, match="image.jpg is in CMYK, the colors of a printer.*save it in sRGB"):
    read(_saved(Image.fromarray(_random(3)).convert("CMYK"), "JPEG"), "image.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
def test_images_are_turned_upright(read, tmp_path, orientation, suffix):
  """As Pillow does, for all eight orientations, in PNG too; the stated size is that of the file."""
  image = Image.fromarray(np.kron(_random(3), np.ones((8, 8, 1), np.uint8)))
  exif = Image.Exif()
  exif[0x0112] = orientation
  pixels = read(_saved(image, suffix, exif=exif), "image.any")
  turn = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
          4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
          7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}[orientation]
  plain = Image.open(io.BytesIO(_saved(image, suffix)))
  np.testing.assert_array_equal(pixels, np.asarray(plain if turn is None else plain.transpose(turn)))
  assert image_files.read(tmp_path / "image.any").size == image_files.file_size(tmp_path / "image.any") == (96, 160)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<html></html>"])
def test_what_is_no_image_is_named(read, tmp_path, data):
  """Empty, cut in the first bytes, or something else; reading the header alone says the same."""
  for reading in (lambda: read(data), lambda: image_files.file_size(tmp_path / "image.png")):
    with pytest.raises(UnreadablePhotoError, match="image.png is truncated, damaged or neither PNG nor JPEG"):
      reading()


def test_damage_is_refused_by_name(read):
  """A JPEG with a hole or cut before a new end marker, a PNG with a changed bit, cut, or with too few rows."""
  pixels = np.asarray(Image.fromarray(_random(3)).resize((320, 240), Image.Resampling.BICUBIC))
  whole, png = _saved(pixels, "JPEG", quality=90), _saved(pixels)
  deep = _png(_random(3, np.uint16), _RGB, size=(13, 20))
  middle = len(whole) // 2
  changed = png[:500] + bytes([png[500] ^ 1]) + png[501:]
  for name, data in (("hole.jpg", whole[:middle] + bytes(256) + whole[middle + 256:]), ("deep.png", deep),
                     ("cut.jpg", whole[:middle] + b"\xff\xd9"), ("bit.png", changed), ("cut.png", png[:-200])):
    with pytest.raises(UnreadablePhotoError, match=f"{name} is truncated, damaged or neither.*Remove or replace"):
      read(data, name)
  np.testing.assert_allclose(read(whole, "whole.jpg"), pixels, atol=40)


def test_hidden_files_and_what_systems_leave_are_no_images(tmp_path):
  """Resource forks of macOS begin like the file they belong to; numbers may begin with a point."""
  for name in ("a.png", "b.JPG", ".125.png", "._a.png", "._.125.png", ".hidden.jpg", "Thumbs.db", ".DS_Store", "c.txt"):
    (tmp_path / name).write_bytes(b"")
  (tmp_path / "folder.png").mkdir()
  assert {path.name for path in image_files.image_files(tmp_path)} == {"a.png", "b.JPG", ".125.png"}


def test_folders_of_systems_are_left_out(tmp_path):
  """Notebooks, network storage and archives put folders beside one's own."""
  for name in ("b", "a", ".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "#recycle", ".git"):
    (tmp_path / name).mkdir()
  (tmp_path / "file").write_bytes(b"")
  assert [path.name for path in image_files.subfolders(tmp_path)] == ["a", "b"]


def test_files_that_were_reported_to_others_are_read_rightly_or_refused(shared_dir):
  """Pictures of one scene, damaged or in other colors."""
  folder = shared_dir / "data" / "reports"
  if not folder.is_dir():
    pytest.skip(f"no {folder}")
  whole = image_files.read_pixels(folder / "whole.jpg").astype(int)
  for name in ("wide_gamut_icc.png", "linear_gama_1.png"):
    assert np.abs(image_files.read_pixels(folder / name) - whole).mean() < 1  # Half a level of it is from the JPEG.
  for name, reason in (("hole_of_zeros.jpg", "damaged"), ("cut_with_end_marker.jpg", "damaged"),
                       ("hidden_colour_under_alpha.png", "transparent"),
                       ("more_than_2_30_pixels.png", "32776x32776 pixels, more than")):
    with pytest.raises(UnreadablePhotoError, match=f"{name}.*{reason}"):
      image_files.read_pixels(folder / name)
