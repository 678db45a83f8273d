"""Image files as sRGB: which files of a folder are images, and how one is read, or refused by name.

What would be read wrongly is refused: damaged data, transparency (of which nobody knows what shows through), colors of
printers and of HDR, more than `MAX_PIXELS`. What a file states of its colors is respected, down to 8 bits of sRGB.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import io
import pathlib
import re
import struct

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from debir_jax.scenes import file_colors, jpeg

MAX_PIXELS = 2**28  # 268 million: more than any camera has, and 0.8 GB as sRGB. Counted before anything is decoded.

_SUFFIXES = (".png", ".jpg", ".jpeg")
_CLUTTER = ("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")
_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_CICP_SRGB = (1, 13)  # ITU-T H.273: primaries of BT.709, transfer of sRGB.
_EXIF_ADOBE_RGB = 2  # ColorSpace of some cameras; others state "R03" for it.
_TURNS = {2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],  # By EXIF orientation.
          5: lambda p: p.swapaxes(0, 1), 6: lambda p: p.swapaxes(0, 1)[:, ::-1],
          7: lambda p: p[::-1, ::-1].swapaxes(0, 1), 8: lambda p: p.swapaxes(0, 1)[::-1]}


class UnreadablePhotoError(ValueError):
  """A file of a photo is missing, truncated, damaged, or cannot be shown as it is meant to be."""


class _RefusedError(Exception):
  """Why a file is not read, and what to do, to come after its name."""


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """What a file holds.

  Attributes:
    pixels: sRGB `[H, W, 3]`, uint8, turned upright.
    size: (height, width) of the file in pixels, before it was turned or reduced.
  """

  pixels: np.ndarray
  size: tuple[int, int]


def image_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The png and jpg files of a folder, in no order, but for hidden ones: those of macOS beside each file, ._x.jpg.

  A number such as .125.png is no hidden file.
  """
  return [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.is_dir()
          and (not path.name.startswith(".") or re.fullmatch(r"\.[0-9]+", path.stem))]


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folders in a folder, sorted, but for hidden ones and those that systems put there: @eaDir, __MACOSX."""
  return sorted(path for path in folder.iterdir()
                if path.is_dir() and not path.name.startswith(".") and path.name.lower() not in _CLUTTER)


def file_size(path: pathlib.Path) -> tuple[int, int]:
  """(height, width) in pixels by the header, before the image is turned upright.

  Raises:
    UnreadablePhotoError: there is no header that can be read.
  """
  with _naming(path), open(path, "rb") as file:
    start = file.read(len(_PNG_SIGNATURE))
    file.seek(0)
    with _opened(file, start) as image:
      return image.size[::-1]


def read(path: pathlib.Path, *, least_side: int | None = None) -> ImageFile:
  """Decodes a PNG or JPEG file.

  Args:
    path: the file.
    least_side: pixels per side that suffice: a larger JPEG may come reduced, down to an eighth, in less time.

  Raises:
    UnreadablePhotoError: the file is missing, truncated, damaged, too large, transparent, or of colors unknown.
  """
  with _naming(path):
    data = path.read_bytes()
    with _opened(io.BytesIO(data), data) as image:
      if image.format == "PNG":
        image.verify()  # The checksums, which decoding alone does not look at; then it has to be opened again.
    with _opened(io.BytesIO(data), data) as image:
      size = image.size[::-1]
      pixels = _png_pixels(data, image) if image.format == "PNG" else _jpeg_pixels(data, image, least_side)
      exif = image.getexif()
      pixels = file_colors.to_srgb(pixels, **_colors_of(data, image, exif))
      turn = _TURNS.get(exif.get(ExifTags.Base.Orientation), lambda p: p)
      return ImageFile(np.ascontiguousarray(turn(pixels)), size)


def read_pixels(path: pathlib.Path) -> np.ndarray:
  """The pixels of `read`."""
  return read(path).pixels


@contextlib.contextmanager
def _naming(path) -> Iterator[None]:
  """Whatever goes wrong becomes an error that names the file."""
  try:
    yield
  except _RefusedError as error:
    raise UnreadablePhotoError(f"{path} {error}") from error
  except file_colors.UnknownColorsError as error:
    raise UnreadablePhotoError(f"{path} states colors that cannot be turned into sRGB ({error}). Remove the file, or "
                               "save it in sRGB.") from error
  except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error) as error:
    raise UnreadablePhotoError(
        f"{path} is truncated, damaged or neither PNG nor JPEG ({error}). Remove or replace the file.") from error


@contextlib.contextmanager
def _opened(file, start) -> Iterator[Image.Image]:
  """Pillow's image, header only, if it is not too large. Image.open would count pixels by a limit of its own."""
  if start.startswith(_PNG_SIGNATURE):
    opened = PngImagePlugin.PngImageFile
  elif start.startswith(_JPEG_SIGNATURE):
    opened = JpegImagePlugin.JpegImageFile
  else:
    raise SyntaxError("it begins as neither does")
  with opened(file) as image:
    width, height = image.size
    if width * height > MAX_PIXELS:
      raise _RefusedError(f"has {height}x{width} pixels, more than {MAX_PIXELS}. Remove the file or reduce it.")
    yield image


def _jpeg_pixels(data, image, least_side):
  if image.mode not in ("L", "RGB"):
    raise _RefusedError(f"is in {image.mode}, the colors of a printer. Remove the file, or save it in sRGB.")
  return jpeg.decode(data, image, least_side=least_side)


def _png_pixels(data, image):
  """`[H, W]` or `[H, W, 3]`, uint8 or, of deep files, uint16."""
  image.load()  # Strictly: OpenCV, which alone keeps 16 bits, is not.
  if data[24] == 16:  # Bits per sample, in the header.
    return _deep_pixels(data, image.info.get("transparency"))
  is_grey = image.mode in ("1", "L", "LA")
  if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
    image = image.convert("RGBA")
    _check_opaque(image.getextrema()[-1][0] == 255)
  return np.asarray(image.convert("L" if is_grey else "RGB"))


def _deep_pixels(data, transparent_value):
  import cv2  # pylint: disable=g-import-not-at-top
  pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  if pixels is None or pixels.dtype != np.uint16:
    raise ValueError("its 16 bits cannot be decoded")
  if pixels.ndim == 2:
    _check_opaque(transparent_value is None or not (pixels == transparent_value).any())
    return pixels
  _check_opaque(pixels.shape[-1] == 3 or pixels[..., 3].min() == 65535)
  return pixels[..., 2::-1]  # OpenCV's order is blue, green, red, alpha.


def _check_opaque(is_opaque):
  if not is_opaque:
    raise _RefusedError("is transparent in places. Remove the file, or save it on a background, without transparency.")


def _colors_of(data, image, exif) -> dict:
  """What a file states of its colors, as arguments of `to_srgb`. Chunks of PNG in the order in which they count."""
  cicp = _chunk(data, b"cICP") if image.format == "PNG" else None
  if cicp is not None and tuple(cicp[:2]) != _CICP_SRGB:
    raise file_colors.UnknownColorsError(f"the code points {tuple(cicp)} of ITU-T H.273")
  if cicp is None and "icc_profile" in image.info:
    if not image.info["icc_profile"]:  # Pillow's word for a damaged one.
      raise file_colors.UnknownColorsError("a damaged profile")
    return dict(profile=image.info["icc_profile"])
  if cicp is not None or "srgb" in image.info:
    return dict(encoding=file_colors.SRGB)
  if "gamma" in image.info or "chromaticity" in image.info:
    return dict(encoding=file_colors.encoding_of(image.info.get("gamma"), image.info.get("chromaticity")))
  by_color_space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == _EXIF_ADOBE_RGB
  by_index = str(_interoperability(exif).get(ExifTags.Interop.InteropIndex, "")).startswith("R03")
  return dict(encoding=file_colors.ADOBE_RGB if by_color_space or by_index else file_colors.SRGB)


def _interoperability(exif) -> dict:
  try:
    return exif.get_ifd(ExifTags.IFD.Interop)
  except KeyError:  # Of Pillow 12, where a file has none.
    return {}


def _chunk(data, wanted) -> bytes | None:
  """A chunk of a PNG file that comes before its pixels."""
  offset, kind = len(_PNG_SIGNATURE), b""
  while kind != b"IDAT" and offset + 8 <= len(data):
    length, kind = struct.unpack_from(">I4s", data, offset)
    if kind == wanted:
      return data[offset + 8:offset + 8 + length]
    offset += 12 + length
  return None
