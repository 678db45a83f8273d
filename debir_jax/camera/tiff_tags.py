"""What TIFF tags of a DNG say and rawpy does not: noise, color matrix, whether all of the file is there.

tifffile reads them; nothing of a file is executed, and pixels are not touched.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from debir_jax.camera.noise_profile import NoiseProfile, mean_profile

_BEGINNINGS = (b"II*\0", b"MM\0*")
_MOST_PAGES = 16  # Previews and sub-images; a chain of more is no photo.
_MOST_PLANES = 4
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
    missing_bytes: how many bytes of pixels lie beyond the end of the file.
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
    with tifffile.TiffFile(path) as tiff:
      values = {tag.code: tag.value for tag in tiff.pages.first.tags.values() if tag.count <= 2**16}
      pages = [tiff.pages.first, *(tiff.pages.first.pages or ())][:_MOST_PAGES]
      return _tags_of(values, _missing_bytes(pages, os.path.getsize(path)))
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


def _missing_bytes(pages, size) -> int:
  ends = [offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts)]
  return max(0, max(ends, default=0) - size)
