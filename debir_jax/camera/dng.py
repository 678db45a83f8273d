"""RAW frames as DNG files of 16 bits, and as pictures to look at.

A DNG is TIFF with tags of its own (Adobe, "Digital Negative Specification", version 1.4). tifffile writes it; it does
not write Exif, which readers want ISO from, so that it is appended and a placeholder made to point at it.
"""

from fractions import Fraction
import io
import os
import pathlib
import struct

import numpy as np

from debir_jax.camera.raw_frame import RawFrame
from debir_jax.runtime import versions
from debir_jax.runtime.files import local_path, write_bytes

_CROP_PX = 8  # That readers cut off each side: demosaicking knows less there.
_PLACEHOLDER, _EXIF = 34664, 34665  # tifffile refuses to write the second one.
_D65 = 21  # CalibrationIlluminant1: what `xyz_to_camera` is for.
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL, _DOUBLE = 1, 2, 3, 4, 5, 10, 12  # Types of TIFF.
_MOST_ISO = 65535  # Of ISOSpeedRatings; beyond, other tags say it.
_EXIF_FORMS = {_ASCII: ("B", 1), _SHORT: ("H", 1), _LONG: ("I", 1), _RATIONAL: ("I", 2)}  # Numbers of a value.


def write_dng(path: str | os.PathLike, frame: RawFrame, *, overwrite: bool = False) -> None:
  """Writes a frame with all that is known of it; its pixels come back exactly.

  Raises:
    ValueError: there is such a file already, and it may not be overwritten.
    ImportError: tifffile is not installed.
  """
  write_new(path, dng_bytes(frame), overwrite=overwrite)


def write_new(path: str | os.PathLike, content: bytes, *, overwrite: bool = False) -> None:
  """Writes a file in one go, in the place of none unless that is asked for; creates its folder."""
  path = check_new(path, overwrite=overwrite)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_bytes(path, content)


def check_new(path: str | os.PathLike, *, overwrite: bool = False) -> pathlib.Path:
  """The path of a result to be. Raises a ValueError where there is a file or folder that must stay."""
  path = local_path(path, "--out")
  if path.is_dir() or (path.exists() and not overwrite):
    raise ValueError(f"{path} exists. Give another name, or --overwrite.")
  return path


def dng_bytes(frame: RawFrame) -> bytes:
  """The content of a DNG file."""
  try:
    import tifffile
  except ImportError as error:
    raise ImportError("Writing DNG files needs tifffile, which the default install leaves out: "
                      'pip install -e ".[camera]"') from error
  exif, file = _exif_entries(frame), io.BytesIO()
  tags = _tags(frame) + ([(_PLACEHOLDER, _LONG, 1, 0, True)] if exif else [])
  with tifffile.TiffWriter(file, byteorder="<") as tiff:
    tiff.write(frame.mosaic, photometric=32803, planarconfig=1, subfiletype=0, metadata=None, rowsperstrip=256,
               software=f"debir_jax {versions.version_of('debir_jax')}", extratags=tags)
  return _with_exif(file.getvalue(), exif) if exif else file.getvalue()


def write_png(path: str | os.PathLike, frame: RawFrame, *, bits: int = 8, overwrite: bool = False) -> None:
  """Writes a view of the frame, developed and upright, as PNG of 8 or 16 bits.

  Raises:
    ValueError: there is such a file already and it may not be overwritten, or there are no PNGs of so many bits.
  """
  import cv2
  done, content = cv2.imencode(".png", srgb_counts(frame, bits)[..., ::-1])  # OpenCV's order is blue, green, red.
  if not done:
    raise ValueError(f"{path}: a picture of this size cannot be written as PNG.")
  write_new(path, content.tobytes(), overwrite=overwrite)


def write_tiff(path: str | os.PathLike, frame: RawFrame, *, bits: int = 16, overwrite: bool = False) -> None:
  """Writes a view of the frame, as `write_png` does, as TIFF."""
  import tifffile
  file = io.BytesIO()
  tifffile.imwrite(file, srgb_counts(frame, bits), photometric="rgb", compression=None)
  write_new(path, file.getvalue(), overwrite=overwrite)


def srgb_counts(frame: RawFrame, bits: int = 8) -> np.ndarray:
  """The frame developed and upright, sRGB `[H, W, 3]`, as integers of 8 or 16 bits; in strips, to bound the memory."""
  if bits not in (8, 16):
    raise ValueError(f"Pictures have 8 or 16 bits, not {bits}.")
  kind, most = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
  counts = np.concatenate([np.rint(strip * most).astype(kind) for strip in _developed_strips(frame)])
  return upright(counts, frame.orientation)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Pixels `[H, W, ...]` turned and mirrored as EXIF's orientation says."""
  if orientation in (5, 6, 7, 8):
    pixels = pixels.swapaxes(0, 1)
  flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
  return np.ascontiguousarray(pixels[::-1 if flip_rows else 1, ::-1 if flip_columns else 1])


_STRIP, _OVERLAP = 256, 4  # Packed rows that are developed at once, and those that demosaicking sees beside them.


def _developed_strips(frame):
  import jax

  from debir_jax.imaging import view
  develop = jax.jit(view)
  height = frame.size[0]
  for start in range(0, height, _STRIP):
    stop, above = min(start + _STRIP, height), min(start, _OVERLAP)
    planes = frame.packed(slice(start - above, min(stop + _OVERLAP, height)))
    yield np.asarray(develop(np.clip(planes, 0, 1), frame.color))[2 * above:2 * (above + stop - start)]


def _tags(frame: RawFrame) -> list[tuple]:
  """(code, type, count, value, write once) of what makes a TIFF a DNG."""
  height, width = frame.mosaic.shape
  crop = _CROP_PX if min(height, width) > 4 * _CROP_PX else 0
  camera = frame.camera.encode("ascii", "replace").decode()
  text = lambda code, value: (code, _ASCII, len(value) + 1, value, True)
  tags = [
      (274, _SHORT, 1, frame.orientation, True),
      (33421, _SHORT, 2, (2, 2), True),  # CFARepeatPatternDim
      (33422, _BYTE, 4, bytes((0, 1, 1, 2)), True),  # CFAPattern: RGGB
      (50706, _BYTE, 4, bytes((1, 4, 0, 0)), True),  # DNGVersion
      (50707, _BYTE, 4, bytes((1, 1, 0, 0)), True),  # DNGBackwardVersion
      text(50708, camera or "Unknown camera"),  # UniqueCameraModel
      (50713, _SHORT, 2, (2, 2), True),  # BlackLevelRepeatDim
      (50714, _RATIONAL, 4, _ratios(frame.black_levels), True),  # BlackLevel
      (50717, _LONG, 1, round(frame.white_level), True),  # WhiteLevel
      (50719, _LONG, 2, (crop, crop), True),  # DefaultCropOrigin
      (50720, _LONG, 2, (width - 2 * crop, height - 2 * crop), True),  # DefaultCropSize
      (50721, _SRATIONAL, 9, _ratios(np.ravel(frame.xyz_to_camera)), True),  # ColorMatrix1
      (50728, _RATIONAL, 3, _ratios(1 / gain for gain in frame.white_balance), True),  # AsShotNeutral
      (50778, _SHORT, 1, _D65, True)]  # CalibrationIlluminant1
  if camera:
    tags += [text(271, camera.split(" ")[0]), text(272, camera)]  # Make, Model
  if frame.noise is not None:
    tags.append((51041, _DOUBLE, 2, (frame.noise.shot_noise, frame.noise.read_variance), True))  # NoiseProfile
  return tags


def _ratios(values) -> tuple[int, ...]:
  """Numerators and denominators of 32 bits, one after the other."""
  ratio = lambda value: Fraction(float(value)).limit_denominator(10**6 if abs(value) < 1000 else 100)
  return tuple(number for value in values for number in ratio(value).as_integer_ratio())


def _exif_entries(frame: RawFrame) -> list[tuple[int, int, tuple[int, ...]]]:
  """(code, type, values) of what is known of the exposure, in the order of codes."""
  entries = []
  if frame.exposure_time is not None:
    entries.append((33434, _RATIONAL, _exposure_ratio(frame.exposure_time)))  # ExposureTime
  if frame.lens.aperture is not None:
    entries.append((33437, _RATIONAL, _ratios([frame.lens.aperture])))  # FNumber
  if frame.iso is not None:
    iso = max(1, round(frame.iso))
    entries.append((34855, _SHORT, (min(iso, _MOST_ISO),)))  # ISOSpeedRatings
    entries.append((34864, _SHORT, (2,)))  # SensitivityType: the next one.
    entries.append((34866, _LONG, (iso,)))  # RecommendedExposureIndex
  if frame.lens.taken_at is not None:
    entries.append((36867, _ASCII, tuple(frame.lens.taken_at.encode("ascii", "replace") + b"\0")))  # DateTimeOriginal
  if frame.lens.focal_length_mm is not None:
    entries.append((37386, _RATIONAL, _ratios([frame.lens.focal_length_mm])))  # FocalLength
  return entries


def _exposure_ratio(seconds: float) -> tuple[int, int]:
  """Within 1e-9 of the value, in 32 bits."""
  ratio = Fraction(seconds).limit_denominator(2 * 10**9)
  if not 0 < ratio.numerator < 2**32:
    raise ValueError(f"An exposure time of {seconds} s cannot be written into a DNG.")
  return ratio.numerator, ratio.denominator


def _with_exif(content: bytes, entries) -> bytes:
  """The file with an Exif IFD behind its end, and the placeholder pointing at it."""
  content = content + b"\0" * (len(content) % 2)
  where = len(content)
  values_at = where + 2 + 12 * len(entries) + 4
  ifd, values = [struct.pack("<H", len(entries))], b""
  for code, kind, numbers in entries:
    form, of_value = _EXIF_FORMS[kind]
    packed = struct.pack(f"<{len(numbers)}{form}", *numbers)
    if len(packed) > 4:
      packed, values = struct.pack("<I", values_at + len(values)), values + packed + b"\0" * (len(packed) % 2)
    ifd.append(struct.pack("<HHI", code, kind, len(numbers) // of_value) + packed.ljust(4, b"\0"))
  return _pointed(content, where) + b"".join(ifd) + struct.pack("<I", 0) + values


def _pointed(content: bytes, where: int) -> bytes:
  """The placeholder of the first IFD, made to point at an offset."""
  first, = struct.unpack_from("<I", content, 4)
  count, = struct.unpack_from("<H", content, first)
  for entry in range(first + 2, first + 2 + 12 * count, 12):
    if struct.unpack_from("<H", content, entry)[0] == _PLACEHOLDER:
      return (content[:entry] + struct.pack("<HHII", _EXIF, _LONG, 1, where) + content[entry + 12:])
  raise AssertionError("The placeholder was written.")


