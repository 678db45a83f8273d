"""What TIFF tags of a DNG say and rawpy does not: noise, color matrix, whether all of the file is there.

tifffile reads them; nothing of a file is executed, and pixels are not touched.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import logging
import os
import pathlib
import struct
from typing import Any

import numpy as np

from debir_jax.camera.noise_profile import NoiseProfile, mean_profile

_BEGINNINGS = (b"II*\0", b"MM\0*")
_MOST_PAGES = 16  # Previews and sub-images; a chain of more is no photo.
_MOST_PLANES = 4
_MOST_ENTRIES = 512  # Of an Exif IFD.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 12: 8}  # Bytes of a value, by TIFF's types.
_D65 = 21  # CalibrationIlluminant of daylight.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TiffTags:
  """Of the first page; None where a tag is missing or makes no sense.

  Attributes:
    noise: NoiseProfile.
    xyz_to_camera: ColorMatrix `[3, 3]`, that of daylight where there are two.
    exposure_time: s.
    iso: ISO, also beyond 65535.
    camera: make and model; "" where they are missing.
    missing_bytes: how many bytes of pixels and of Exif lie beyond the end of the file.
  """

  noise: NoiseProfile | None = None
  xyz_to_camera: np.ndarray | None = None
  exposure_time: float | None = None
  iso: float | None = None
  camera: str = ""
  missing_bytes: int = 0


def read_tags(path: pathlib.Path) -> TiffTags:
  """Tags of a file; none of one that is no TIFF, or whose tags are beyond reading."""
  with open(path, "rb") as file:
    if file.read(4) not in _BEGINNINGS:
      return TiffTags()
  import tifffile
  try:
    with _silent("tifffile"), tifffile.TiffFile(path) as tiff:
      values = {tag.code: tag.value for tag in tiff.pages.first.tags.values() if tag.count <= 2**16}
      pages = [tiff.pages.first, *(tiff.pages.first.pages or ())][:_MOST_PAGES]
      ends = [offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts)]
      end = max(0, *ends, _exif_end(tiff))
      return _tags_of(values, max(0, end - os.path.getsize(path)))
  except Exception:  # noqa: BLE001  # A damaged file raises whatever its bytes lead to; LibRaw may still know it.
    return TiffTags()


def _tags_of(values: Mapping[int, Any], missing_bytes: int) -> TiffTags:
  exif = values.get(34665)
  exif = exif if isinstance(exif, dict) else {}
  exposure = exif.get("ExposureTime", values.get(33434))
  return TiffTags(noise=_noise(values.get(51041)), xyz_to_camera=_matrix(values), exposure_time=_positive(exposure),
                  iso=_iso(exif, values), camera=_camera(values), missing_bytes=missing_bytes)


def _camera(values) -> str:
  """Make and model, the make once."""
  make, model = (str(values.get(code, "")).strip().strip("\0")[:64] for code in (271, 272))
  name = model if model.startswith(make) else f"{make} {model}"
  return "".join(c for c in name if c.isprintable() and c.isascii()).strip()


def _noise(pairs):
  pairs = np.ravel(np.asarray(() if pairs is None else pairs, np.float64))
  if not 2 <= len(pairs) <= 2 * _MOST_PLANES or len(pairs) % 2 or not np.all(np.isfinite(pairs)):
    return None
  return mean_profile(pairs) if np.all(pairs >= 0) and np.any(pairs > 0) else None


def _matrix(values):
  """ColorMatrix2 where it is that of daylight or nothing else is there, else ColorMatrix1."""
  second = 50722 in values and (values.get(50779) == _D65 or 50721 not in values)
  numbers = np.asarray(values.get(50722 if second else 50721, ()), np.float64)
  if numbers.size != 18:
    return None
  numerators, denominators = numbers.reshape(9, 2).T
  return (numerators / denominators).reshape(3, 3) if np.all(denominators) else None


def _iso(exif, values):
  """ISOSpeedRatings ends at 65535; beyond, ISOSpeed or RecommendedExposureIndex have it."""
  candidates = (exif.get(name) for name in ("ISOSpeed", "RecommendedExposureIndex", "ISOSpeedRatings"))
  first = lambda value: value[0] if isinstance(value, tuple) and value else value
  return next((iso for value in (*candidates, values.get(34855)) if (iso := _positive(first(value)))), None)


def _positive(value) -> float | None:
  """A number, or the ratio of two, where it is positive."""
  if isinstance(value, tuple) and len(value) == 2:
    value = value[0] / value[1] if value[1] else None
  return float(value) if isinstance(value, (int, float)) and 0 < value < 1e7 else None


def _exif_end(tiff) -> int:
  """Where the Exif of a classic TIFF ends, with its values, by its own offsets; 0 without any."""
  tag = tiff.pages.first.tags.get(34665)
  if tag is None or tiff.is_bigtiff:
    return 0
  order, file = tiff.byteorder, tiff.filehandle
  at = lambda offset, form: struct.unpack(order + form, _bytes_at(file, offset, struct.calcsize(order + form)))
  start, = at(tag.offset + 8, "I")
  count, = at(start, "H")
  end = start + 2 + 12 * count + 4
  for entry in range(start + 2, start + 2 + 12 * min(count, _MOST_ENTRIES), 12):
    _, kind, number, value = at(entry, "HHII")
    size = number * _SIZES.get(kind, 0)
    end = max(end, value + size if size > 4 else 0)
  return end


def _bytes_at(file, offset, count) -> bytes:
  file.seek(offset)
  return file.read(count)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
  """What a library would log about a damaged file is left to the error that follows."""
  logger = logging.getLogger(name)
  level = logger.level
  logger.setLevel(logging.CRITICAL + 1)
  try:
    yield
  finally:
    logger.setLevel(level)
