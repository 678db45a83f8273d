"""Deterministic, sharded, resumable batches of scenes.

A `SceneSource` makes scene i as a pure function of its seed and i. `batches` shuffles the indices, renders ahead of
the consumer in threads, and starts at any step: batch s is the same bit for bit whether or not the run was
interrupted, and however many devices and processes share the work.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import functools
import threading
import time
from typing import Protocol

from absl import logging
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np

from debir_jax.imaging import color
from debir_jax.scenes import photo_motion
from debir_jax.scenes import photos as photos_lib
from debir_jax.scenes.photos import UnreadablePhotoError
from debir_jax.types import BurstTiming
from debir_jax.types import CameraColor
from debir_jax.types import Scene

CROP_MULTIPLE = 8  # Mosaic pixels: two for a Bayer cell, four for the two downsamplings of the networks.
_MANY_EPOCHS = 2**31  # Endless for all purposes; grain's own endless repeat overflows with batches of one.

_draw_params = jax.jit(photo_motion.random_scene_params, static_argnames=(
    "num_subframes", "crop_size", "static_share", "foreground_share", "speed_scale", "draw_colour"))
_render_photos = jax.jit(photo_motion.render_scene, static_argnames=("num_subframes", "crop_size"))
_empty = jax.jit(lambda scene, count: jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), scene),
                 static_argnums=1)
_put = jax.jit(lambda batch, scene, index: jax.tree.map(lambda leaf, part: leaf.at[index].set(part), batch, scene),
               donate_argnums=0)


class SceneSource(Protocol):
  """A finite, indexable set of scenes; scene(i) is the same whenever and wherever it is made.

  Attributes:
    crop_size: side of the mosaic, in pixels.
    num_subframes: length of every sequence.
  """

  crop_size: int
  num_subframes: int

  def __len__(self) -> int:
    """Number of scenes."""

  def scene(self, index: int) -> Scene:
    """Scene 0 <= index < len; its scene_id is the index."""


class PhotoMotionScenes:
  """Photos in motion (`photo_motion`). Scene i shows photo i modulo their number; all else is drawn from (seed, i)."""

  def __init__(
      self, photos: Sequence[photos_lib.Photo], *, crop_size: int, num_subframes: int, num_scenes: int, seed: int = 0,
      static_share: float = 0.15, foreground_share: float = 0.3, speed_scale: float | None = None,
      draw_colour: Callable[[jax.Array], CameraColor] = color.random_camera_color):
    """See `photo_motion.random_scene_params` for the options.

    Raises:
      ValueError: no photos, a photo smaller than the crop, or sizes that cannot be.
    """
    check_source_sizes(crop_size=crop_size, num_subframes=num_subframes, num_scenes=num_scenes)
    if not photos:
      raise ValueError("No photos. Use builtin_photos() or photo_folder(path), and a split that is not empty.")
    photos_lib.check_large_enough(photos, crop_size)
    self.crop_size, self.num_subframes = crop_size, num_subframes
    self._photos, self._num_scenes, self._seed = list(photos), num_scenes, seed
    self._options = dict(static_share=static_share, foreground_share=foreground_share, speed_scale=speed_scale,
                         draw_colour=draw_colour)

  def __len__(self) -> int:
    return self._num_scenes

  def params(self, index: int) -> photo_motion.PhotoMotionParams:
    """What was drawn for a scene: its exact motion and colour."""
    key = jax.random.fold_in(jax.random.key(self._seed), index)
    return _draw_params(key, num_subframes=self.num_subframes, crop_size=self.crop_size, **self._options)

  def scene(self, index: int) -> Scene:
    check_index(index, len(self))
    params = self.params(index)
    rng = np.random.default_rng([self._seed, index])
    background = self._photos[index % len(self._photos)]
    photo = self._cutout(rng, background)
    # The second photo is needed only where it is seen; passing the first keeps one compiled program.
    foreground = self._cutout(rng, self._other(rng, background)) if params.foreground.visible else photo
    radiance = _render_photos(photo, params, num_subframes=self.num_subframes, crop_size=self.crop_size,
                              foreground_photo=foreground)
    return Scene(radiance=radiance, colour=params.colour, scene_id=jnp.asarray(index, jnp.int32))

  def _cutout(self, rng, photo):
    return photos_lib.random_cutout(rng, photo.pixels(), crop_size=self.crop_size)

  def _other(self, rng, photo):
    """A photo of another group, if there is one."""
    others = [other for other in self._photos if other.group != photo.group] or self._photos
    return others[rng.integers(len(others))]


class MixedScenes:
  """Several sources after one another as one; shares follow from their numbers of scenes."""

  def __init__(self, sources: Sequence[SceneSource]):
    """Raises ValueError unless all sources have the same crop side and sequence length."""
    shapes = {(source.crop_size, source.num_subframes) for source in sources}
    if len(shapes) != 1:
      raise ValueError(f"Mixed sources need one common (crop_size, num_subframes), got {sorted(shapes)}.")
    self._sources = list(sources)
    (self.crop_size, self.num_subframes), = shapes

  def __len__(self) -> int:
    return sum(len(source) for source in self._sources)

  def scene(self, index: int) -> Scene:
    check_index(index, len(self))
    local = index
    for source in self._sources:
      if local < len(source):
        scene = source.scene(local)
        return Scene(radiance=scene.radiance, colour=scene.colour, scene_id=jnp.asarray(index, jnp.int32))
      local -= len(source)
    raise AssertionError("The index was checked.")


class CachedScenes:
  """Keeps every rendered scene in host memory, in full or quantised to 16 bits.

  With 16 bits, radiance is rounded to steps of 1/65535 (error at most 7.7e-6; values outside [0, 1] are cut), also
  when a scene is first handed out, so that a scene is the same however often it was asked for.
  """

  def __init__(self, source: SceneSource, *, use_16_bits: bool = False, max_bytes: int = 8 * 2**30):
    """Raises ValueError if the scenes would take more than max_bytes."""
    num_bytes = len(source) * source.num_subframes * source.crop_size**2 * (2 if use_16_bits else 4)
    if num_bytes > max_bytes:
      raise ValueError(f"Caching {len(source)} scenes takes {num_bytes / 2**30:.1f} GiB, more than max_bytes = "
                       f"{max_bytes / 2**30:.1f} GiB. Use fewer scenes, 16 bits, or no cache.")
    self.crop_size, self.num_subframes = source.crop_size, source.num_subframes
    self._source, self._use_16_bits, self._scenes = source, use_16_bits, {}

  def __len__(self) -> int:
    return len(self._source)

  def scene(self, index: int) -> Scene:
    if index not in self._scenes:
      scene = jax.device_get(self._source.scene(index))
      self._scenes[index] = scene.colour, scene.scene_id, self._encode(scene.radiance)
    colour, scene_id, radiance = self._scenes[index]
    return jax.tree.map(jnp.asarray, Scene(radiance=self._decode(radiance), colour=colour, scene_id=scene_id))

  def _encode(self, radiance):
    return np.round(np.clip(radiance, 0, 1) * 65535).astype(np.uint16) if self._use_16_bits else radiance

  def _decode(self, stored):
    return stored.astype(np.float32) / np.float32(65535) if self._use_16_bits else stored


class SceneBatches(Iterator[Scene]):
  """Iterates over batches and counts how long the consumer waited for them. An error while rendering is raised here.

  Attributes:
    step: index of the batch that comes next.
    wait_s: time spent waiting in all; its difference between two moments over the time between them is the share
      of time that data cost.
    replaced: how often this process took another scene in the place of an unreadable one, so far; made ahead.
  """

  def __init__(self, iterator: Iterator[Scene], step: int, reader: "_Reader"):
    self._iterator, self.step, self.wait_s, self._reader = iterator, step, 0.0, reader

  def __next__(self) -> Scene:
    start = time.perf_counter()
    batch = next(self._iterator)
    self.wait_s += time.perf_counter() - start
    self.step += 1
    return batch

  @property
  def replaced(self) -> int:
    return self._reader.replaced

  def close(self) -> None:
    """Stops rendering ahead and lets go of batches that are ready. Nothing can be read afterwards."""
    self._iterator.close()
    self._reader.close()


def batches(
    source: SceneSource, batch_size: int, seed: int, *, start_step: int = 0, sharding: NamedSharding | None = None,
    num_threads: int = 1, num_prefetched: int = 2, on_unreadable: str = "stop") -> SceneBatches:
  """Endless batches of scenes, each epoch in a new order; every leaf of `Scene` gets a leading batch axis.

  Scenes are made on the device that works on them and stay there. For a small set of scenes wrap the source in
  `CachedScenes`.

  Args:
    source: where scenes come from.
    batch_size: scenes per step over all devices.
    seed: of the order of scenes.
    start_step: index of the first batch; a resumed run passes its step.
    sharding: how a batch is spread over devices, of this and other processes, each of which makes its own part; None:
      all on this process's first device.
    num_threads: threads that make the scenes of a batch; so many scenes may be in memory beside it.
    num_prefetched: batches that may be ready or in the making, each in memory in full.
    on_unreadable: what to do about a scene whose photo cannot be read any more: "stop", or "skip", which logs it and
      takes the next scene that can be read in its place.

  Raises:
    ValueError: batch_size cannot be spread evenly or exceeds the number of scenes, or an option is unknown.
  """
  import grain  # pylint: disable=g-import-not-at-top
  if batch_size < 1:
    raise ValueError(f"batch_size={batch_size} must be positive.")
  if sharding is not None and batch_size % sharding.mesh.size:
    raise ValueError(f"batch_size={batch_size} must be a multiple of the number of devices, {sharding.mesh.size}.")
  if batch_size > len(source):
    raise ValueError(f"batch_size={batch_size} exceeds the {len(source)} scenes. Use more scenes or a smaller batch.")
  if num_threads < 1 or num_prefetched < 1:
    raise ValueError(f"num_threads={num_threads} and num_prefetched={num_prefetched} must be positive.")
  if start_step < 0:
    raise ValueError(f"start_step must not be negative, got {start_step}.")
  reader = _Reader(source, on_unreadable, num_threads)
  make = reader.batch if sharding is None else functools.partial(reader.sharded_batch, sharding=sharding)
  stream = (grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(_MANY_EPOCHS).batch(batch_size).map(make))
  iterator = iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=num_prefetched)))
  if start_step:
    grain.experimental.set_next_index(iterator, start_step)
  return SceneBatches(iterator, start_step, reader)


class _Reader:
  """Makes scenes of a source in threads, with the remedy for unreadable ones."""

  def __init__(self, source, on_unreadable, num_threads):
    if on_unreadable not in ("stop", "skip"):
      raise ValueError(f"on_unreadable must be 'stop' or 'skip', got {on_unreadable!r}.")
    self._source, self._skip, self.replaced = source, on_unreadable == "skip", 0
    self._pool, self._num_threads, self._counting = ThreadPoolExecutor(num_threads), num_threads, threading.Lock()

  def batch(self, indices, device=None):
    """The scenes of these indices, stacked on the device."""
    with jax.default_device(device):
      return stack_scenes(self._scenes(indices, device), len(indices))

  def sharded_batch(self, indices, sharding):
    """The same over devices: those of this process make their scenes, one device after the other."""
    parts = [jax.device_put(self.batch(indices[part], device), device)
             for device, (part,) in sharding.addressable_devices_indices_map((len(indices),)).items()]
    join = lambda *leaves: jax.make_array_from_single_device_arrays(
        (len(indices), *leaves[0].shape[1:]), sharding, list(leaves))
    return jax.tree.map(join, *parts)

  def close(self):
    self._pool.shutdown(wait=False, cancel_futures=True)

  def _scenes(self, indices, device):
    """In their order, no more of them ahead than there are threads."""
    making = collections.deque()
    for index in indices:
      making.append(self._pool.submit(self._scene, int(index), device))
      if len(making) == self._num_threads:
        yield making.popleft().result()
    while making:
      yield making.popleft().result()

  def _scene(self, index, device):
    for offset in range(len(self._source)):
      try:
        with jax.default_device(device):
          return self._source.scene((index + offset) % len(self._source))
      except UnreadablePhotoError as error:
        if not self._skip:
          raise
        with self._counting:
          self.replaced += 1
        logging.warning("scene %d is replaced by the next one: %s", index + offset, error)
    raise UnreadablePhotoError("Not one scene can be read.")


def stack_scenes(scenes: Iterable[Scene], count: int) -> Scene:
  """One `Scene` with a leading batch axis, computed to the end (so that no work is left to the consumer).

  Args:
    scenes: made one at a time if they are a generator: beside the batch, one of them is in memory.
    count: how many there are, at least one.
  """
  batch = None
  for index, scene in enumerate(scenes):
    batch = _put(_empty(scene, count) if batch is None else batch, scene, index)
    del scene
  return jax.block_until_ready(batch)


def check_sequence_length(source: SceneSource, timing: BurstTiming, max_total_exposure_s: float) -> None:
  """Raises ValueError if the source's sequences cannot hold every burst with this total exposure time."""
  needed = timing.num_subframes(max_total_exposure_s)
  if source.num_subframes < needed:
    raise ValueError(f"Sequences have {source.num_subframes} subframes, but bursts of up to "
                     f"{max_total_exposure_s:.6f} s need {needed}. Set num_subframes={needed}.")


def check_source_sizes(*, crop_size: int, num_subframes: int, num_scenes: int) -> None:
  """Raises ValueError for sizes that no source can have."""
  if crop_size < CROP_MULTIPLE or crop_size % CROP_MULTIPLE:
    raise ValueError(f"crop_size must be a positive multiple of {CROP_MULTIPLE} mosaic pixels, got {crop_size}.")
  if num_subframes < 1 or num_scenes < 1:
    raise ValueError(f"num_subframes and num_scenes must be positive, got {num_subframes} and {num_scenes}.")


def check_index(index: int, length: int) -> None:
  """Raises ValueError unless 0 <= index < length."""
  if not 0 <= index < length:
    raise ValueError(f"There is no scene {index}; scenes are numbered 0 to {length - 1}.")
