"""Photos as raw material for scenes: where they come from, how they are split, and how a piece is cut out.

Photos are 8-bit sRGB `[H, W, 3]` on the host. A cut-out is linear sRGB, reduced in linear light, on a grid
`SOURCE_DENSITY` times as fine as the mosaic's pixels, averaged over about one pixel of the sensor. On this grid
bilinear interpolation blurs nearly alike at every subpixel position, so that a scene that moves is as sharp as one
that stands: the mean gradient varies with the position by 6 to 11 %, by 24 to 50 % on a grid of density 1, and by
14 to 27 % without the average (photos reduced by 4; measured on three of the built-in photos).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import dataclasses
import functools
import itertools
import math
import os
import pathlib
import re

import numpy as np

from debir_jax.runtime.files import local_path
from debir_jax.runtime.progress import log
from debir_jax.scenes import copies, file_colors, image_files
from debir_jax.scenes.recent_images import RecentImages

SOURCE_DENSITY = 2  # Source pixels per mosaic pixel.
CANVAS_TO_CROP = 2  # Side of the cut-out per side of the crop: room to move before the border is mirrored.

_BUILTIN_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png",
                  "motorcycle_right.png", "rocket.jpg")
_MAX_REDUCTION = 4.0  # Photo pixels per mosaic pixel.
_MAX_SHORT_SIDE = 1536  # Larger photos are kept smaller: 256 pixels of crop at the largest reduction, and room.
_MIN_REDUCTION = 2.0  # A photo's own pixels are demosaicked and sharpened or noisy: use them halved where possible.


@dataclasses.dataclass(frozen=True)
class Photo:
  """A photo on disk; its pixels are decoded when they are needed.

  Attributes:
    path: the file.
    group: photos of one group show the same thing and stay in one split.
    size: (height, width) of the file in pixels, before rotation by the EXIF orientation.
    fingerprint: of its content, see `copies`; empty: unknown.
  """

  path: pathlib.Path
  group: str
  size: tuple[int, int]
  fingerprint: bytes = dataclasses.field(default=b"", repr=False)

  @property
  def name(self) -> str:
    return self.path.name

  def pixels(self) -> np.ndarray:
    """sRGB `[H, W, 3]`, uint8, upright, reduced in linear light so that the shorter side has at most 1536 pixels."""
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
  return _with_copies_grouped([_inspect(folder / name, default_group) for name in _BUILTIN_FILES])[0]


def photo_folder(path: str | pathlib.Path, *, group: Callable[[pathlib.Path], str] = default_group) -> list[Photo]:
  """All png and jpg files of a folder, sorted by name, each checked for being complete.

  Hidden files are left out. Photos with the same content, such as a smaller copy under another name, are one group.

  Args:
    path: the folder; its subfolders are not searched. ~ is the home folder.
    group: names the group of a file; photos of one group stay in one split.

  Raises:
    ValueError: there is no such folder, no photo in it, or one cannot be read (`UnreadablePhotoError`).
  """
  folder = local_path(path, "path")
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder. Give a folder with .png or .jpg files.")
  files = sorted(image_files.image_files(folder))
  if not files:
    raise ValueError(f"No .png, .jpg or .jpeg file in {folder}. Put photos there, or use builtin_photos().")
  with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoding runs beside Python.
    photos = list(pool.map(lambda file: _inspect(file, group), files))
  photos, num_copies = _with_copies_grouped(photos)
  if num_copies:
    log(f"{num_copies} of the {len(photos)} photos in {folder} are copies of others by their content; copies stay in "
        "one split.")
  return photos


def _with_copies_grouped(photos) -> tuple[list[Photo], int]:
  """The photos with one group, the first by name, for all whose groups are linked by a copy; how many are copies."""
  content = copies.same_content([photo.fingerprint for photo in photos])
  joined = copies.joined_groups(content, [photo.group for photo in photos])
  names = {}
  for label, photo in zip(joined, photos):
    names[label] = min(names.get(label, photo.group), photo.group)
  grouped = [dataclasses.replace(photo, group=names[label]) for label, photo in zip(joined, photos)]
  return grouped, len(photos) - len(set(content))


@dataclasses.dataclass(frozen=True)
class PhotoSplits:
  """Photos for training the restoration network and BAENet, for choices during training, and for evaluation."""

  restore: list[Photo]
  bae: list[Photo]
  validation: list[Photo]
  test: list[Photo]


def split_photos(
    photos: Sequence[Photo], *, fractions: tuple[float, float, float, float] = (0.5, 0.2, 0.1, 0.2),
    seed: int = 0) -> PhotoSplits:
  """Deals whole groups into four splits, the same way for the same photos and seed.

  Every split gets at least one group. Of few groups rather more are for the test: six are dealt 2, 1, 1, 2. Copies are
  found among all photos, also where these come from several folders.

  Args:
    photos: at least four groups of them.
    fractions: of the groups, as the fields of `PhotoSplits`; only their ratios count.
    seed: of the deal.

  Raises:
    ValueError: fewer than four groups, or fractions that are not four positive numbers.
  """
  if len(fractions) != 4 or not all(0 < share < math.inf for share in fractions):
    raise ValueError(f"fractions must be four positive numbers (restore, bae, validation, test), got {fractions}.")
  photos, _ = _with_copies_grouped(photos)
  groups = sorted({photo.group for photo in photos})
  if len(groups) < 4:
    raise ValueError(f"{len(groups)} group(s) of photos cannot be dealt into four splits: restore, bae, validation, "
                     "test. Add photos of other things, at least one for each split; copies of a photo, and photos "
                     "named alike but for _left and _right, are one group.")
  dealt = deal_groups(groups, fractions=fractions, seed=seed)
  return PhotoSplits(**{field.name: [photo for photo in photos if dealt[photo.group] == field.name]
                        for field in dataclasses.fields(PhotoSplits)})


def deal_groups(groups: Sequence[str], *, fractions: tuple[float, float, float, float] = (0.5, 0.2, 0.1, 0.2),
                seed: int = 0) -> dict[str, str]:
  """The split of each group, "restore", "bae", "validation" or "test"; at least one for each, see `split_photos`.

  Args:
    groups: at least four, sorted.
    fractions: of the groups, as the fields of `PhotoSplits`; only their ratios count.
    seed: of the deal.
  """
  order = iter([groups[i] for i in np.random.default_rng([seed, 0x5917]).permutation(len(groups))])
  return {group: split for split, count in _counts(len(groups), fractions).items()
          for group in itertools.islice(order, count)}


def _counts(num_groups, fractions) -> dict[str, int]:
  """Groups by split, at least one each. The test's are rounded up, so that few groups rather evaluate more."""
  _, bae, validation, test = (num_groups * share / math.fsum(fractions) for share in fractions)
  within = lambda count, highest: max(1, min(count, highest))
  test = within(math.ceil(test - 1e-9), num_groups - 3)
  validation = within(int(validation + 1e-9), num_groups - test - 2)
  bae = within(int(bae + 1e-9), num_groups - test - validation - 1)
  return dict(test=test, validation=validation, bae=bae, restore=num_groups - test - validation - bae)


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
  return file_colors.decoded(np.arange(256) / 255).astype(np.float32)


def _read_reduced(path):
  return _reduced(image_files.read_pixels(path), _MAX_SHORT_SIDE)  # Checks once more: files change during a long run.


_decode = RecentImages(_read_reduced, max_bytes=2**30)  # About 300 photos of CID22's size and 50 of a camera's.


def _reduced(pixels, max_short_side):
  """sRGB with no more pixels on its shorter side, averaged in linear light."""
  import cv2  # pylint: disable=g-import-not-at-top
  scale = max_short_side / min(pixels.shape[:2])
  if scale >= 1:
    return pixels
  linear = cv2.LUT(pixels, file_colors.linear_of_byte())  # 16 bits: half the memory of floats, and exact enough.
  return file_colors.byte_of_linear()[cv2.resize(linear, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)]


def _inspect(path, group):
  """The photo without its pixels, after they were decoded once, large JPEG reduced."""
  read = image_files.read(path, least_side=copies.LEAST_SIDE)
  return Photo(path=path, group=group(path), size=read.size, fingerprint=copies.fingerprint(read.pixels))
