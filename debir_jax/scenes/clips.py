"""Scenes out of clips with 1920 frames per second, such as the GoPro data set's after interpolation by 8.

A clip is a folder of its frames, PNG or JPEG, which are read in the order of the numbers in their names (see
`frame_order`); a tool for frame interpolation has made seven of eight. As the paper cuts them: windows start 179 frames
after each other, the last one that would fit is left out, sRGB is made linear, and a camera's color is drawn for every
window.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging import bayer
from debir_jax.imaging.color import Unprocessing, srgb_to_linear
from debir_jax.runtime.files import local_path
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes import frame_order, image_files
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.scenes.source import CROP_MULTIPLE, check_index, scene_key
from debir_jax.types import CameraColor, Scene

_KIND = "clips"
WINDOW_STRIDE = 179  # Frames; the length of a burst of four in the authors' release, which cut the data set.
FRAMES_PER_CAPTURE = 8  # One of eight frames is not interpolated.


@dataclasses.dataclass(frozen=True)
class Clip:
  """The files of a clip's frames, in order, and the size (height, width) of the first of them, px."""

  name: str
  frames: tuple[pathlib.Path, ...]
  size: tuple[int, int]

  @property
  def num_windows(self) -> int:
    """Windows that are cut from the clip."""
    return max(len(self.frames) // WINDOW_STRIDE - 1, 0)


def clip_folder(path: str | pathlib.Path) -> list[Clip]:
  """The clips in the subfolders of a folder, sorted by name.

  Hidden files and folders, and those that systems put there (@eaDir, __MACOSX), are left out.

  Raises:
    ValueError: there is no such folder, no subfolder with frames, or a clip too short for a window, or not in an order
      that is even in time (see `frame_order`).
    UnreadablePhotoError: the first frame of a clip is damaged, or another has no header or another size.
  """
  folder = local_path(path, "path")
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder. Give a folder with a subfolder of frames for every clip.")
  found = ((subfolder, image_files.image_files(subfolder)) for subfolder in image_files.subfolders(folder))
  clips = [_clip(subfolder, files) for subfolder, files in found if files]
  if not clips:
    raise ValueError(f"No subfolder of {folder} holds .png or .jpg files. Put the frames of every clip into one.")
  return clips


def _clip(folder, files):
  frames = frame_order.in_order(files)
  clip = Clip(folder.name, tuple(frames), image_files.read_pixels(frames[0]).shape[:2])
  if not clip.num_windows:
    raise ValueError(f"{folder} has {len(frames)} frames; a clip needs {2 * WINDOW_STRIDE} or more, which at 1920 "
                     "frames per second are 0.19 s. Has it been interpolated?")
  first = image_files.file_size(frames[0])
  for frame in frames[1:]:  # Headers alone: 0.05 ms each.
    _check_size(frame, image_files.file_size(frame), first)
  return clip


def _check_size(frame, size, first):
  if size != first:
    raise UnreadablePhotoError(f"{frame} has {size[0]}x{size[1]} px, the first frame of its clip "
                               f"{first[0]}x{first[1]}. Remove or replace the file.")


class ClipScenes:
  """Windows of clips. Scene i is the i-th of those chosen, evenly spread; its camera is drawn from (seed, i)."""

  def __init__(self, clips: Sequence[Clip], *, num_subframes: int, num_scenes: int | None = None, crop_size: int = 0,
               start_multiple: int = 1, seed: int = 0,
               unprocessing: Unprocessing = Unprocessing()):
    """Checks sizes; frames are read when a scene is made.

    Args:
      clips: see `clip_folder`.
      num_subframes: length of every sequence, at most twice the stride of the windows.
      num_scenes: at most so many windows, evenly spread; None: all.
      crop_size: side of the piece in the middle that is taken, in mosaic pixels; 0: whole frames.
      start_multiple: windows start at multiples of it. With `FRAMES_PER_CAPTURE`, a burst that starts 80 subframes into
        its window starts at a frame that is not interpolated.
      seed: of the cameras.
      unprocessing: draws the camera's color, and makes RAW of sRGB with it.

    Raises:
      ValueError: no clips, sizes that cannot be, or whole frames of several sizes.
    """
    if not clips:
      raise ValueError("No clips. Use clip_folder(path).")
    if not 1 <= num_subframes <= 2 * WINDOW_STRIDE:
      raise ValueError(f"Windows of clips have at most {2 * WINDOW_STRIDE} frames, but {num_subframes} are asked for.")
    for clip in clips:
      sides = (crop_size,) * 2 if crop_size else clip.size
      if crop_size < 0 or any(side % CROP_MULTIPLE for side in sides) or min(clip.size) < crop_size:
        raise ValueError(
            f"Clip {clip.name} has frames of {clip.size[0]}x{clip.size[1]} px, of which crop_size={crop_size} cannot "
            f"be taken: sides must be multiples of {CROP_MULTIPLE} within the frame, and 0 (whole frames) "
            "needs such frames.")
    _check_one_size(clips, crop_size)
    windows = [(clip, WINDOW_STRIDE * k // start_multiple * start_multiple)
               for clip in clips for k in range(clip.num_windows)]
    count = min(num_scenes or len(windows), len(windows))
    self._windows = [windows[i * len(windows) // count] for i in range(count)]
    self.crop_size, self.num_subframes = crop_size, num_subframes
    self._seed, self._unprocessing = seed, unprocessing

  def __len__(self) -> int:
    return len(self._windows)

  def window(self, index: int) -> tuple[str, int]:
    """Name of the clip and first frame of a scene."""
    clip, start = self._windows[index]
    return clip.name, start

  def group(self, index: int) -> str:
    """Name of the clip: scenes of one group are not independent of each other."""
    check_index(index, len(self))
    return self.window(index)[0]

  def made_of(self) -> str:
    """A fingerprint of what scenes depend on, the files of the frames included."""
    windows = [[clip.name, start, [path.name for path in clip.frames[start:start + self.num_subframes]]]
               for clip, start in self._windows]
    return fingerprint(_KIND, self.crop_size, self.num_subframes, self._seed, self._unprocessing.description, windows)

  def scene(self, index: int) -> Scene:
    """Reads and converts the frames of a window, one after the other.

    Raises:
      ValueError: there is no such scene.
      UnreadablePhotoError: a frame is missing or damaged, or has another size than the first of its clip.
    """
    check_index(index, len(self))
    clip, start = self._windows[index]
    color = self._unprocessing.draw_color(scene_key(_KIND, self._seed, index))
    height, width = (self.crop_size,) * 2 if self.crop_size else clip.size
    radiance = np.empty((self.num_subframes, height // 2, width // 2, 4), np.float32)
    # A crop starts at an even row and column, whichever phase the mosaic has.
    top, left = ((whole - side) // 4 * 2 for whole, side in zip(clip.size, (height, width)))
    for entry, path in zip(radiance, clip.frames[start:start + self.num_subframes]):
      pixels = image_files.read_pixels(path)
      _check_size(path, pixels.shape[:2], clip.size)
      entry[:] = packed_raw(pixels[top:top + height, left:left + width], color, self._unprocessing)
    return Scene(radiance=jnp.asarray(radiance), color=color, scene_id=jnp.asarray(index, jnp.int32))


def _check_one_size(clips, crop_size):
  """Whole frames of all clips go into batches of one shape."""
  other = next((clip for clip in clips if clip.size != clips[0].size), None)
  if other and not crop_size:
    raise ValueError(
        f"Clips {clips[0].name} and {other.name} have frames of {clips[0].size[0]}x{clips[0].size[1]} and "
        f"{other.size[0]}x{other.size[1]} px, but whole frames must have one size. Take a piece of each by crop_size "
        "(--config.data.test_clips_crop), or evaluate the clips of each size by themselves.")


@functools.partial(jax.jit, static_argnames="unprocessing")
def packed_raw(srgb: jax.Array, color: CameraColor, unprocessing: Unprocessing) -> jax.Array:
  """What the camera measures of sRGB `[H, W, 3]`, uint8 or uint16: packed `[H / 2, W / 2, 4]`, in [0, 1]."""
  levels = int(jnp.iinfo(srgb.dtype).max)
  # Looked up: powers of every sample took five times as long on CPUs.
  linear_of_level = srgb_to_linear(jnp.arange(levels + 1, dtype=jnp.float32) / levels)
  linear = linear_of_level.at[srgb].get(mode="promise_in_bounds")
  return bayer.pack(bayer.mosaic(unprocessing.camera_rgb(linear, color)))
