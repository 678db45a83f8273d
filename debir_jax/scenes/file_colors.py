"""From the colors that an image file states to sRGB with 8 bits, and between sRGB and linear light with 16.

A file states its colors by an ICC profile, or by a gamma and the chromaticities of its primaries, or not at all,
which means sRGB. Profiles are applied by Little CMS, perceptually; but not one that changes no color by more than one
level of 255, as most photos have: that would take longer than decoding.
"""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image, ImageCms

_LEVELS = 65535  # Of linear light in 16 bits: the darkest step of sRGB is 20 of them.
_SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Closer to sRGB than this, libpng takes it for sRGB: files of sRGB state 0.45455, though its curve is no power.
_SAME_GAMMA, _SAME_CHROMATICITY = 0.05, 0.01
_STEEPEST_STEP = 4  # Levels of sRGB from black to the first of 255 steps; linear light has 13.


class UnknownColorsError(ValueError):
  """The colors that a file states cannot be turned into sRGB."""


@dataclasses.dataclass(frozen=True)
class Encoding:
  """Colors that are a power of linear light in primaries of their own.

  Attributes:
    gamma: the pixel's value is linear light to this power; None: the curve of sRGB.
    chromaticities: x and y of white, red, green and blue; None: those of sRGB.
  """

  gamma: float | None = None
  chromaticities: tuple[float, ...] | None = None


SRGB = Encoding()
ADOBE_RGB = Encoding(gamma=256 / 563, chromaticities=_ADOBE_RGB_CHROMATICITIES)


def encoding_of(gamma: float | None, chromaticities: tuple[float, ...] | None) -> Encoding:
  """The encoding that a file states; `SRGB` for what is meant to be sRGB.

  Raises:
    UnknownColorsError: no light has such numbers.
  """
  if gamma is not None and not 0.01 < gamma < 100:
    raise UnknownColorsError(f"a gamma of {gamma}")
  if gamma is not None and abs(2.2 * gamma - 1) < _SAME_GAMMA:
    gamma = None
  if chromaticities is not None and np.allclose(chromaticities, _SRGB_CHROMATICITIES, rtol=0, atol=_SAME_CHROMATICITY):
    chromaticities = None
  if chromaticities is not None:
    to_linear_srgb(chromaticities)  # Raises.
  return Encoding(gamma, chromaticities)


def to_srgb(pixels: np.ndarray, *, profile: bytes | None = None, encoding: Encoding = SRGB) -> np.ndarray:
  """sRGB `[H, W, 3]`, uint8.

  Args:
    pixels: `[H, W]` (grey) or `[H, W, 3]`, uint8 or uint16.
    profile: an ICC profile, which counts more than the encoding.
    encoding: what pixels without a profile are in.

  Raises:
    UnknownColorsError: the profile is damaged, for other pixels, or needs more than 8 bits.
  """
  if profile:
    pixels = _by_profile(pixels, profile)
  elif encoding != SRGB:
    pixels = _by_encoding(pixels, encoding)
  pixels = _in_8_bits(pixels)
  return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)


def _in_8_bits(pixels):
  return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _by_profile(pixels, profile):
  mode, transform, first_step = _transform_of(profile)
  if mode == "L" and pixels.ndim == 3:
    raise UnknownColorsError("a profile for grey images in one in color")
  if transform is None:
    return pixels
  if pixels.dtype != np.uint8 and first_step > _STEEPEST_STEP:
    raise UnknownColorsError("a profile of nearly linear light with 16 bits, of which 8 are too few")
  image = Image.fromarray(_in_8_bits(pixels)).convert(mode)
  return np.asarray(ImageCms.applyTransform(image, transform))


@functools.lru_cache(maxsize=16)
def _transform_of(profile):
  """Pillow's mode of images with this profile, the transform or None for sRGB, and what it makes of level 1."""
  try:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in ("RGB", "GRAY"):
      raise UnknownColorsError(f"a profile for colors of the kind {space}")
    mode = "RGB" if space == "RGB" else "L"
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
  except (ImageCms.PyCMSError, OSError) as error:
    raise UnknownColorsError(f"a damaged profile: {error}") from error
  probe = _probe(mode)
  result = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform)).astype(int)
  is_srgb = np.abs(result - probe.reshape(*probe.shape[:2], -1)).max() <= 1
  return mode, None if is_srgb else transform, int(result[0, 1].max())


def _probe(mode):
  """An image `[1, N]` or `[1, N, 3]` of all levels of grey and, in RGB, of colors from everywhere."""
  grey = np.arange(256, dtype=np.uint8)
  if mode == "L":
    return grey[None]
  few = np.linspace(0, 255, 18).astype(np.uint8)
  colors = np.stack(np.meshgrid(few, few, few), -1).reshape(-1, 3)
  return np.concatenate([grey[:, None].repeat(3, -1), colors])[None]


def _by_encoding(pixels, encoding):
  """sRGB in 8 bits, `[H, W]` or `[H, W, 3]`; grey is white of any primaries."""
  top = np.iinfo(pixels.dtype).max
  values = np.arange(top + 1) / top
  linear = decoded(values) if encoding.gamma is None else values**(1 / encoding.gamma)
  if pixels.ndim == 2 or encoding.chromaticities is None:
    return byte_of_linear()[_rounded(linear)][pixels]
  matrix = to_linear_srgb(encoding.chromaticities).astype(np.float32)
  light = linear.astype(np.float32)[pixels] @ matrix.T
  return byte_of_linear()[_rounded(light)]


def _rounded(linear):
  return np.round(_LEVELS * np.clip(linear, 0, 1)).astype(np.uint16)


def decoded(srgb: np.ndarray) -> np.ndarray:
  """Linear light of sRGB, both relative to white = 1."""
  return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055)**2.4)


@functools.lru_cache(maxsize=1)
def linear_of_byte() -> np.ndarray:
  """Linear light of the 256 levels of sRGB, uint16, 65535 = white."""
  return _rounded(decoded(np.arange(256) / 255))


@functools.lru_cache(maxsize=1)
def byte_of_linear() -> np.ndarray:
  """The level of sRGB, uint8, of each of 65536 of linear light: the inverse of `linear_of_byte`, rounded."""
  linear = np.arange(_LEVELS + 1) / _LEVELS
  srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)
  return np.round(255 * srgb).astype(np.uint8)


@functools.lru_cache(maxsize=16)
def to_linear_srgb(chromaticities):
  """Matrix from linear light in these primaries; white stays white, by Bradford's adaptation."""
  try:
    own, srgb = _to_xyz(chromaticities), _to_xyz(_SRGB_CHROMATICITIES)
    own_white, white = (_BRADFORD @ matrix.sum(1) for matrix in (own, srgb))
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(white / own_white) @ _BRADFORD
    matrix = np.linalg.inv(srgb) @ adaptation @ own
  except (ZeroDivisionError, np.linalg.LinAlgError) as error:
    raise UnknownColorsError(f"the chromaticities {chromaticities}") from error
  return matrix


def _to_xyz(chromaticities):
  """Columns are XYZ of red, green and blue, which sum to white with Y = 1."""
  white, *primaries = ([x / y, 1, (1 - x - y) / y] for x, y in zip(chromaticities[::2], chromaticities[1::2]))
  primaries = np.array(primaries).T
  return primaries * np.linalg.solve(primaries, np.array(white))
