"""RAW files of cameras: DNG, CR2, CR3, CRW, NEF, ARW and whatever else LibRaw knows, as `RawFrame`.

rawpy (LibRaw) has the pixels, levels and what the camera says of colors and exposure; tifffile the DNG tags that LibRaw
keeps for itself. Sizes are bounded before pixels are unpacked. Needs `pip install -e ".[camera]"`.

What files say that is not so: ISO 0 stands for "unknown", and an exposure time of 1 s beside it too; the color matrix
is in `rgb_xyz_matrix` for some and in `color_matrix` for others; a fourth white balance of 0 is that of the first
green.
"""

import os
from typing import Any

import numpy as np

from debir_jax.camera.raw_frame import LEAST_SIDE, LensSettings, RawFrame, xyz_to_camera_of
from debir_jax.camera.tiff_tags import TiffTags, read_tags
from debir_jax.runtime.files import check_downloaded, local_path

MAX_PIXELS = 2**28  # 268 million: more than any camera has, and half a GB of counts.
MAX_BYTES = 2**31  # Of a file.

_CORNERS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}  # Where R is: rows, columns to cut off.
_ORIENTATION_OF_FLIP = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF.


class UnreadableRawError(ValueError):
  """A file is no RAW, damaged, too large, or of a sensor without Bayer pattern."""


def read_raw(path: str | os.PathLike) -> RawFrame:
  """One frame out of a file.

  Raises:
    FileNotFoundError: there is no such file.
    UnreadableRawError: it cannot be read as what it is; the message names the file and the way on.
    ImportError: rawpy is not installed.
  """
  path = local_path(path, "A RAW file")
  rawpy = import_rawpy()
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}.")
  if path.stat().st_size > MAX_BYTES:
    raise UnreadableRawError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}: no RAW of one frame.")
  try:
    check_downloaded(path)
    with rawpy.RawPy() as raw:
      raw.open_file(os.fspath(path))
      _check_size(raw.sizes)
      tags = read_tags(path)
      if tags.missing_bytes:
        raise ValueError(f"{tags.missing_bytes} bytes are missing at its end")
      raw.unpack()
      return _frame_of(raw, tags, path)
  except (ValueError, MemoryError, rawpy.LibRawError) as error:
    raise UnreadableRawError(f"{path} cannot be read as RAW of a Bayer sensor: {_reason(error)}. Copy or download it "
                             "again, or convert it with Adobe's DNG converter or dnglab.") from error


def import_rawpy() -> Any:
  """The module.

  Raises:
    ImportError: it is not installed.
  """
  try:
    import rawpy
  except ImportError as error:
    raise ImportError("Reading RAW files needs rawpy and tifffile, which the default install leaves out: "
                      'pip install -e ".[camera]"') from error
  return rawpy


def _check_size(sizes):
  pixels = sizes.raw_height * sizes.raw_width
  if pixels > MAX_PIXELS:
    raise ValueError(f"it has {sizes.raw_height}x{sizes.raw_width} pixels, more than {MAX_PIXELS}")
  if min(sizes.height, sizes.width) < LEAST_SIDE + 2:
    raise ValueError(f"it has {sizes.height}x{sizes.width} pixels, which is too small")


def _frame_of(raw, tags, path) -> RawFrame:
  cfa = _cfa(raw)
  top, left = _CORNERS[cfa]
  visible = raw.raw_image_visible  # Only valid until the first postprocess: `_mosaic` copies.
  colors = raw.raw_colors_visible[top:top + 2, left:left + 2].ravel()
  black = tuple(float(raw.black_level_per_channel[color]) for color in colors)
  exposure_time, iso = _exposure(raw.other, tags)
  return RawFrame(
      mosaic=_mosaic(visible, top, left), black_levels=black, white_level=float(raw.white_level),
      white_balance=_white_balance(raw.camera_whitebalance), xyz_to_camera=_xyz_to_camera(raw, tags),
      exposure_time=exposure_time, iso=iso, noise=tags.noise,
      orientation=_ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1), camera=tags.camera, source=os.fspath(path), cfa=cfa,
      lens=_lens(raw.other))


def _lens(other) -> LensSettings:
  """LibRaw has 0 or 1 for what it does not know, and 1970 for the time."""
  number = lambda value, least: float(value) if least < value < 1e5 else None
  known = other.timestamp is not None and other.timestamp.year > 1970
  return LensSettings(aperture=number(other.aperture, 0 if other.focal_length else 1),
                      focal_length_mm=number(other.focal_length, 0),
                      taken_at=other.timestamp.strftime("%Y:%m:%d %H:%M:%S") if known else None)


def _cfa(raw) -> str:
  """The color filter array of the visible pixels, such as "RGGB"."""
  description = raw.color_desc.decode("ascii", "replace")
  if raw.raw_pattern is None or raw.raw_type.name != "Flat":
    raise ValueError("its sensor has no color filters, or its pixels hold all colors already")
  if raw.raw_pattern.shape != (2, 2) or description != "RGBG":
    raise ValueError(f"its sensor has a pattern of {raw.raw_pattern.shape[0]}x{raw.raw_pattern.shape[1]} filters of "
                     f"{description}, such as X-Trans; the networks are for Bayer's RGGB")
  cfa = "".join(description[color] for color in raw.raw_colors_visible[:2, :2].ravel())
  if cfa not in _CORNERS:
    raise ValueError(f"its color filters {cfa} are no Bayer pattern")
  return cfa


def _mosaic(visible, top, left) -> np.ndarray:
  """A copy that begins with R and has even sides."""
  height, width = ((side - cut) // 2 * 2 for side, cut in zip(visible.shape, (top, left)))
  return np.array(visible[top:top + height, left:left + width], np.uint16)


def _white_balance(gains) -> tuple[float, float, float]:
  """Relative to green; 1 where the camera says nothing."""
  red, green, blue = (float(gain) for gain in gains[:3])
  if not (red > 0 and green > 0 and blue > 0 and np.isfinite(red + green + blue)):
    return 1.0, 1.0, 1.0
  return red / green, 1.0, blue / green


def _xyz_to_camera(raw, tags: TiffTags) -> np.ndarray:
  if tags.xyz_to_camera is not None:
    return tags.xyz_to_camera
  given = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]  # In spite of its name it maps XYZ to camera RGB.
  if np.any(given):
    return given
  to_srgb = np.asarray(raw.color_matrix, np.float64)[:, :3]
  if np.linalg.matrix_rank(to_srgb) < 3:
    raise ValueError("it says nothing of its colors")
  return xyz_to_camera_of(to_srgb, raw.daylight_whitebalance[:3])


def _exposure(other, tags: TiffTags) -> tuple[float | None, float | None]:
  """Exposure time, s, and ISO, each None where the file does not say."""
  iso = tags.iso or (float(other.iso_speed) if other.iso_speed > 0 else None)
  speed = float(other.shutter_speed)
  unknown = speed <= 0 or not np.isfinite(speed) or (speed == 1.0 and not other.iso_speed)  # LibRaw's default.
  return tags.exposure_time or (None if unknown else speed), iso


def _reason(error) -> str:
  text = error.args[0] if error.args else type(error).__name__
  text = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
  return text.rstrip(".") or type(error).__name__
