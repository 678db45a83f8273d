"""Photos as raw material for scenes: where they come from, how they are split, and how a piece is cut out.

Photos are 8-bit sRGB `[H, W, 3]` on the host. A cut-out is linear sRGB, reduced in linear light, on a grid
`SOURCE_DENSITY` times as fine as the mosaic's pixels, averaged over about one pixel of the sensor. On this grid
bilinear interpolation blurs nearly alike at every subpixel position, so that a scene that moves is as sharp as one
that stands: the mean gradient varies with the position by 6 to 11 %, by 24 to 50 % on a grid of density 1, and by
14 to 27 % without the average (photos reduced by 4; measured on three of the built-in photos).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import re
import struct

import numpy as np
from PIL import Image, ImageOps

SOURCE_DENSITY = 2  # Source pixels per mosaic pixel.
CANVAS_TO_CROP = 2  # Side of the cut-out per side of the crop: room to move before the border is mirrored.

_SUFFIXES = (".png", ".jpg", ".jpeg")
_BUILTIN_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png",
                  "motorcycle_right.png", "rocket.jpg")
_MAX_REDUCTION = 4.0  # Photo pixels per mosaic pixel.
_MAX_SHORT_SIDE = 1536  # Larger photos are kept smaller: 256 pixels of crop at the largest reduction, and room.
_MIN_REDUCTION = 2.0  # A photo's own pixels are demosaicked and sharpened or noisy: use them halved where possible.


class UnreadablePhotoError(ValueError):
  """A file of a photo is missing, truncated or damaged."""


@dataclasses.dataclass(frozen=True)
class Photo:
  """A photo on disk; its pixels are decoded when they are needed.

  Attributes:
    path: the file.
    group: photos of one group show the same thing and stay in one split.
    size: (height, width) of the file in pixels, before rotation by the EXIF orientation.
  """

  path: pathlib.Path
  group: str
  size: tuple[int, int]

  @property
  def name(self) -> str:
    return self.path.name

  def pixels(self) -> np.ndarray:
    """sRGB `[H, W, 3]`, uint8, turned upright, reduced so that the shorter side has at most 1536 pixels."""
    return _decode(self.path)


def default_group(path: pathlib.Path) -> str:
  """The file's name without a trailing _left or _right: both images of a stereo pair are one scene."""
  return re.sub(r"[_-](left|right)$", "", path.stem, flags=re.IGNORECASE)


def builtin_photos() -> list[Photo]:
  """Seven real color photos from the data folder of the installed scikit-image wheel; nothing is downloaded.

  A portrait, a cat, a cup, a stained tissue, a motorcycle seen from left and right, and a rocket launch.
  """
  import skimage  # pylint: disable=g-import-not-at-top
  folder = pathlib.Path(skimage.__file__).parent / "data"
  missing = [name for name in _BUILTIN_FILES if not (folder / name).is_file()]
  if missing:
    raise ValueError(f"scikit-image at {folder} lacks {', '.join(missing)}. Reinstall it from its wheel "
                     "(pip install --force-reinstall scikit-image), or use photo_folder(path).")
  return [_inspect(folder / name, default_group) for name in _BUILTIN_FILES]


def photo_folder(path: str | pathlib.Path, *, group: Callable[[pathlib.Path], str] = default_group) -> list[Photo]:
  """All png and jpg files of a folder, sorted by name, each checked for being complete.

  Args:
    path: the folder; its subfolders are not searched.
    group: names the group of a file; photos of one group stay in one split.

  Raises:
    ValueError: there is no such folder, no photo in it, or a file is truncated or unreadable.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder. Give a folder with .png or .jpg files.")
  files = sorted(image_files(folder))
  if not files:
    raise ValueError(f"No .png, .jpg or .jpeg file in {folder}. Put photos there, or use builtin_photos().")
  with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoding runs beside Python.
    return list(pool.map(lambda file: _inspect(file, group), files))


def image_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The png and jpg files of a folder, in no order."""
  return [file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES]


@dataclasses.dataclass(frozen=True)
class PhotoSplits:
  """Photos for the restoration network, for BAENet, for choices, and for results."""

  restore: list[Photo]
  bae: list[Photo]
  validation: list[Photo]
  test: list[Photo]


def split_photos(
    photos: Sequence[Photo], *, fractions: tuple[float, float, float, float] = (0.5, 0.2, 0.1, 0.2),
    seed: int = 0) -> PhotoSplits:
  """Deals whole groups into four splits, the same way for the same photos and seed."""
  groups = sorted({photo.group for photo in photos})
  if len(groups) < 4:
    raise ValueError(f"{len(groups)} group(s) of photos cannot be split into four.")
  order = [groups[i] for i in np.random.default_rng([seed, 0x5917]).permutation(len(groups))]
  num_bae, num_validation = (max(1, int(len(order) * share)) for share in fractions[1:3])
  num_test = max(1, math.ceil(len(order) * fractions[3]))
  parts = np.split(np.array(order), np.cumsum([num_test, num_validation, num_bae]))
  member = lambda chosen: [photo for photo in photos if photo.group in set(chosen)]
  return PhotoSplits(test=member(parts[0]), validation=member(parts[1]), bae=member(parts[2]), restore=member(parts[3]))


def check_large_enough(photos: Sequence[Photo], crop_size: int) -> None:
  """Raises ValueError, naming the photo, if one is smaller than the crop."""
  for photo in photos:
    if min(photo.size) < crop_size:
      raise ValueError(f"{photo.path} has {photo.size[0]}x{photo.size[1]} pixels, less than crop_size={crop_size}. "
                       "Remove the photo or choose a smaller crop_size.")


def random_crop_downscale(rng: np.random.Generator, pixels: np.ndarray, *, crop_size: int) -> np.ndarray:
  """A random piece of a photo at a random scale, as linear sRGB `[S, S, 3]`, float32.

  S = crop_size * CANVAS_TO_CROP * SOURCE_DENSITY. One mosaic pixel stands for 2 to 4 photo pixels where the photo is
  large enough, for fewer where it is not; never for less than one. The piece around the crop is mirrored where it
  leaves the photo; the crop itself lies within.

  Args:
    rng: draws scale and place.
    pixels: sRGB `[H, W, 3]`, uint8, with sides of at least crop_size.
    crop_size: side of the mosaic that will be rendered.
  """
  import cv2  # pylint: disable=g-import-not-at-top
  reduction = _random_reduction(rng, min(pixels.shape[:2]) / crop_size)
  side = int(round(crop_size * CANVAS_TO_CROP * reduction))
  starts = [_random_start(rng, length, side, min(length, crop_size * reduction)) for length in pixels.shape[:2]]
  rows, columns = (_mirror(start + np.arange(side), length) for start, length in zip(starts, pixels.shape[:2]))
  piece = pixels[rows][:, columns]
  linear = cv2.LUT(piece, _linear_of_byte())
  source_side = crop_size * CANVAS_TO_CROP * SOURCE_DENSITY
  method = cv2.INTER_AREA if side >= source_side else cv2.INTER_CUBIC
  reduced = cv2.resize(linear, (source_side, source_side), interpolation=method)
  # A pixel of the sensor collects light from its whole area.
  aperture = np.array([0.25, 0.5, 0.25], np.float32)
  return np.clip(cv2.sepFilter2D(reduced, -1, aperture, aperture, borderType=cv2.BORDER_REFLECT_101), 0, 1)


def _random_reduction(rng, largest):
  """Log-uniform photo pixels per mosaic pixel, so that the crop fits into the photo."""
  highest = min(_MAX_REDUCTION, largest)
  lowest = min(_MIN_REDUCTION, max(1.0, 0.7 * highest))
  return lowest * (highest / lowest)**rng.uniform()


def _random_start(rng, length, side, crop_side):
  """Start of a piece in a photo of this length: inside it if it fits, else with its central crop inside."""
  if side <= length:
    return int(rng.integers(0, length - side + 1))
  first = -(side - crop_side) / 2
  return int(round(first + rng.uniform() * (length - crop_side)))


def _mirror(indices, length):
  """Indices into an axis of this length, mirrored about its first and last element."""
  period = max(1, 2 * (length - 1))
  folded = np.abs(indices) % period
  return np.minimum(folded, period - folded)


@functools.lru_cache(maxsize=1)
def _linear_of_byte():
  srgb = np.arange(256) / 255
  return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055)**2.4).astype(np.float32)


def read_pixels(path: pathlib.Path) -> np.ndarray:
  """sRGB `[H, W, 3]`, uint8, of a PNG or JPEG file, turned upright.

  Raises:
    UnreadablePhotoError: the file is missing, truncated or damaged.
  """
  with _opened(path) as image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # Grey in 16 bits, which Pillow would cut at 255 instead of reducing it.
      upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.asarray(upright.convert("RGB"))


@functools.lru_cache(maxsize=64)  # Decoding a large photo takes longer than rendering a scene from it.
def _decode(path):
  import cv2  # pylint: disable=g-import-not-at-top
  pixels = read_pixels(path)  # Checks the file once more: files change during a long run.
  scale = _MAX_SHORT_SIDE / min(pixels.shape[:2])
  if scale < 1:
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
  return pixels


def _inspect(path, group):
  """The photo without its pixels, after they were decoded once, JPEG at an eighth of its size."""
  with _opened(path, draft=True) as image:
    return Photo(path=path, group=group(path), size=image.info["full_size"][::-1])


@contextlib.contextmanager
def _opened(path, *, draft=False):
  """A decoded image of Pillow, which is strict: what is truncated or damaged is an error."""
  try:
    with Image.open(path, formats=("PNG", "JPEG")) as image:
      image.verify()  # The checksums of PNG, which decoding alone does not look at; then it has to be opened again.
    with Image.open(path, formats=("PNG", "JPEG")) as image:
      image.info["full_size"] = image.size
      if draft:
        image.draft(None, (1, 1))
      image.load()
      yield image
  except (OSError, ValueError, SyntaxError, struct.error) as error:
    raise UnreadablePhotoError(
        f"{path} is truncated, damaged or neither PNG nor JPEG ({error}). Remove or replace the file.") from error
