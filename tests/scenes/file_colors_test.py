"""Laws of turning the colors of files into sRGB."""

import struct

import numpy as np
from PIL import ImageCms
import pytest

from debir_jax.scenes import file_colors

_P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
# Linear Display P3 to linear sRGB, https://www.w3.org/TR/css-color-4/#color-conversion-code.
_P3_TO_SRGB = np.array([[1.2249401762, -0.2249401762, 0], [-0.0420569547, 1.0420569547, 0],
                        [-0.0196375546, -0.0786360456, 1.0982736001]])
# Its primaries in XYZ, adapted to D50 as ICC wants it.
_P3_D50 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
_SRGB_D50 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def _encode(linear):
  linear = np.clip(linear, 0, 1)
  return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)


def _profile(gamma, primaries=None):
  """An ICC profile of version 2 for RGB, or for grey without primaries; its exponent is a multiple of 1 / 256."""
  curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
  xyz = lambda values: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))
  tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), b"cprt": b"text" + bytes(8),
          b"wtpt": xyz((0.9642, 1, 0.8249))}
  if primaries is None:
    tags[b"kTRC"] = curve
  else:
    for place, name in enumerate(b"rgb"):
      tags |= {bytes([name]) + b"XYZ": xyz(primaries[:, place]), bytes([name]) + b"TRC": curve}
  table, body = struct.pack(">I", len(tags)), b""
  for name, value in tags.items():
    value += bytes(-len(value) % 4)
    table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(value))
    body += value
  space = b"RGB " if primaries is not None else b"GRAY"
  header = struct.pack(">I4sI4s4s4s12s4s4s28x3i", 132 + 12 * len(tags) + len(body), b"test", 0x02400000, b"mntr", space,
                       b"XYZ ", bytes(12), b"acsp", b"test", *(round(65536 * v) for v in (0.9642, 1, 0.8249)))
  return header.ljust(128, b"\0") + table + body


@pytest.fixture
def pixels():
  return np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_pixels_without_statements_are_srgb(pixels):
  """Eight bits stay as they are, of 16 the nearest of 255 levels is taken; grey becomes three equal channels."""
  np.testing.assert_array_equal(file_colors.to_srgb(pixels), pixels)
  np.testing.assert_array_equal(file_colors.to_srgb(pixels[..., 0]), np.repeat(pixels[..., :1], 3, -1))
  deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
  np.testing.assert_array_equal(file_colors.to_srgb(deep)[..., 2], np.round(deep / 257))


def test_levels_survive_linear_light():
  """Encoding is the inverse of decoding, and both are sRGB's curve to half a step."""
  linear = file_colors.linear_of_byte()
  np.testing.assert_array_equal(file_colors.byte_of_linear()[linear], np.arange(256))
  np.testing.assert_allclose(_encode(linear / 65535), np.arange(256), atol=0.03)
  np.testing.assert_allclose(file_colors.byte_of_linear(), _encode(np.arange(65536) / 65535), atol=0.5)


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_gamma_is_undone(gamma, dtype):
  """value = light ** gamma, to half a level of what sRGB makes of the light."""
  top = np.iinfo(dtype).max
  values = np.arange(top + 1).astype(dtype)[None]
  expected = _encode((values / top)**(1 / gamma))
  for given in (values, np.repeat(values[..., None], 3, -1)):
    result = file_colors.to_srgb(given, encoding=file_colors.encoding_of(gamma, None))
    np.testing.assert_allclose(result, np.repeat(expected[..., None], 3, -1), atol=0.54)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_primaries_are_converted(pixels, dtype):
  """Display P3 with sRGB's curve, against the matrix that W3C publishes; white and grey stay."""
  given = pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
  encoding = file_colors.encoding_of(None, _P3)
  expected = _encode(file_colors.decoded(pixels / 255) @ _P3_TO_SRGB.T)
  np.testing.assert_allclose(file_colors.to_srgb(given, encoding=encoding), expected, atol=0.7)
  np.testing.assert_array_equal(file_colors.to_srgb(given[..., 0], encoding=encoding)[..., 1], pixels[..., 0])


def test_what_is_meant_to_be_srgb_is_srgb():
  """0.45455 stands for sRGB's curve, rounded chromaticities for its primaries; other numbers do not."""
  srgb = (0.31269, 0.32899, 0.63999, 0.33001, 0.3, 0.6, 0.15, 0.05999)
  assert file_colors.encoding_of(0.45455, srgb) == file_colors.encoding_of(None, None) == file_colors.SRGB
  assert file_colors.encoding_of(1.0, srgb) == file_colors.Encoding(gamma=1.0)
  assert file_colors.encoding_of(None, _P3) == file_colors.Encoding(chromaticities=_P3)


@pytest.mark.parametrize("gamma, chromaticities", [(0.0, None), (None, (0.0,) * 8), (None, (0.3, 0.3) * 4)])
def test_colors_that_cannot_be_are_refused(gamma, chromaticities):
  """No gamma, no white, three primaries on a line."""
  with pytest.raises(file_colors.UnknownColorsError, match="gamma of 0|chromaticities"):
    file_colors.encoding_of(gamma, chromaticities)


def test_profiles_are_applied(pixels):
  """A profile of Display P3 with exponent 1.8 does what its numbers say."""
  result = file_colors.to_srgb(pixels, profile=_profile(1.8, _P3_D50))
  expected = _encode((pixels / 255)**np.round(1.8, 2) @ _P3_TO_SRGB.T)
  assert np.abs(result - expected).mean() < 0.5 and np.abs(result - expected).max() < 4


def test_profiles_of_grey_are_applied(pixels):
  """Grey with exponent 1.5 becomes the sRGB of its light; in an image in color such a profile is refused."""
  result = file_colors.to_srgb(pixels[..., 0], profile=_profile(1.5))
  np.testing.assert_allclose(result[..., 1], _encode((pixels[..., 0] / 255)**1.5), atol=2)
  with pytest.raises(file_colors.UnknownColorsError, match="grey"):
    file_colors.to_srgb(pixels, profile=_profile(1.5))


def test_a_profile_for_colors_applies_to_grey_as_well(pixels):
  """Grey images with a profile for RGB exist; all three channels are alike then."""
  grey = file_colors.to_srgb(pixels[..., 0], profile=_profile(1.8, _P3_D50))
  color = file_colors.to_srgb(np.repeat(pixels[..., :1], 3, -1), profile=_profile(1.8, _P3_D50))
  np.testing.assert_array_equal(grey, color)


def test_a_profile_of_srgb_changes_nothing(pixels):
  """Whatever it is called: rounding would change single levels, and takes time. Not so with other primaries."""
  same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  np.testing.assert_array_equal(file_colors.to_srgb(pixels, profile=same), pixels)
  deep = np.minimum(pixels.astype(np.uint32) * 257 + 100, 65535).astype(np.uint16)
  np.testing.assert_array_equal(file_colors.to_srgb(deep, profile=same), pixels)
  assert np.abs(file_colors.to_srgb(pixels, profile=_profile(2.2, _SRGB_D50)).astype(int) - pixels).max() > 1


def test_16_bits_with_a_profile_are_converted_unless_8_are_too_few(pixels):
  """Little CMS gets 8 bits: enough for a curve like sRGB's, not for linear light, which is refused."""
  deep = pixels.astype(np.uint16) * 257
  np.testing.assert_array_equal(file_colors.to_srgb(deep, profile=_profile(1.8, _P3_D50)),
                                file_colors.to_srgb(pixels, profile=_profile(1.8, _P3_D50)))
  with pytest.raises(file_colors.UnknownColorsError, match="linear light with 16 bits"):
    file_colors.to_srgb(deep, profile=_profile(1.0, _P3_D50))
  assert file_colors.to_srgb(pixels, profile=_profile(1.0, _P3_D50)).mean() > pixels.mean() + 30


@pytest.mark.parametrize("profile", [b"no profile", _profile(2.2, _P3_D50)[:200]])
def test_damaged_profiles_are_refused(pixels, profile):
  """Nobody knows what the colors are."""
  with pytest.raises(file_colors.UnknownColorsError, match="profile"):
    file_colors.to_srgb(pixels, profile=profile)
