"""Deterministic, sharded, resumable batches of scenes.

`batches` shuffles the indices of a `SceneSource`, renders ahead of the consumer in threads, and starts at any step:
batch s is the same bit for bit whether or not the run was interrupted, and however many devices and processes share the
work.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
import dataclasses
import functools
import threading
import time

from absl import logging
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np

from debir_jax.imaging.bayer import NUM_ORIENTATIONS, reorient, reorient_flow
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.scenes.source import SceneSource, decoded, kept_scene
from debir_jax.types import Scene

_ORIENTATION_TAG = 0x0f11b
_MANY_EPOCHS = 2**31  # Endless for all compatibility; grain's own endless repeat overflows with batches of one.


@functools.partial(jax.jit, static_argnums=1)
def _empty(scene, count):
  """A batch for scenes like this one."""
  return jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), decoded(scene))


@functools.partial(jax.jit, donate_argnums=0)
def _put(batch, scene, index, orientation):
  """A batch with a scene at an index, in an orientation unless that is None: read once, and written once."""
  scene = decoded(scene if orientation is None else _reorient(scene, orientation))
  return jax.tree.map(lambda leaf, part: leaf.at[index].set(part), batch, scene)


def _reorient(scene, orientation):
  motion = scene.motion and dataclasses.replace(
      scene.motion, flow_px=reorient_flow(scene.motion.flow_px, orientation))
  return dataclasses.replace(scene, radiance=reorient(scene.radiance, orientation), motion=motion)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
  """How batches are made.

  Attributes:
    num_threads: threads that make the scenes of a batch; so many scenes may be in memory beside it.
    num_prefetched: batches that may be ready or in the making, each in memory in full.
    on_unreadable: what to do about a scene whose photo cannot be read any more: "stop", or "skip", which logs it and
      takes the next scene that can be read in its place.
    reorient: show a scene mirrored or turned in one of 8 ways, drawn anew in every epoch. For square scenes.
  """

  num_threads: int = 1
  num_prefetched: int = 2
  on_unreadable: str = "stop"
  reorient: bool = False

  def __post_init__(self):
    if self.num_threads < 1 or self.num_prefetched < 1:
      raise ValueError(f"num_threads={self.num_threads} and num_prefetched={self.num_prefetched} must be positive.")
    if self.on_unreadable not in ("stop", "skip"):
      raise ValueError(f"on_unreadable must be 'stop' or 'skip', got {self.on_unreadable!r}.")


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
    options: BatchOptions = BatchOptions()) -> SceneBatches:
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
    options: how they are made.

  Raises:
    ValueError: batch_size cannot be spread evenly or exceeds the number of scenes.
  """
  import grain  # pylint: disable=g-import-not-at-top
  if batch_size < 1:
    raise ValueError(f"batch_size={batch_size} must be positive.")
  if sharding is not None and batch_size % sharding.mesh.size:
    raise ValueError(f"batch_size={batch_size} must be a multiple of the number of devices, {sharding.mesh.size}.")
  if batch_size > len(source):
    raise ValueError(f"batch_size={batch_size} exceeds the {len(source)} scenes. Use more scenes or a smaller batch.")
  if start_step < 0:
    raise ValueError(f"start_step must not be negative, got {start_step}.")
  reader = _Reader(source, seed, options)
  make = reader.batch if sharding is None else functools.partial(reader.sharded_batch, sharding=sharding)
  indices = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(_MANY_EPOCHS)
  with_epochs = indices.map_with_index(lambda position, index: np.array([position // len(source), index]))
  stream = with_epochs.batch(batch_size).map(make)
  iterator = iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=options.num_prefetched)))
  if start_step:
    grain.experimental.set_next_index(iterator, start_step)
  return SceneBatches(iterator, start_step, reader)


class _Reader:
  """Makes scenes of a source in threads, with the remedy for unreadable ones."""

  def __init__(self, source, seed, options):
    self._source, self._seed, self._options, self.replaced = source, seed, options, 0
    self._pool, self._counting = ThreadPoolExecutor(options.num_threads), threading.Lock()

  def batch(self, wanted, device=None):
    """The scenes of (epoch, index) pairs `[B, 2]`, stacked on the device."""
    with jax.default_device(device):
      return _stacked(self._scenes(wanted, device), len(wanted))

  def sharded_batch(self, wanted, sharding):
    """The same over devices: those of this process make their scenes, one device after the other."""
    parts = [jax.device_put(self.batch(wanted[part], device), device)
             for device, (part,) in sharding.addressable_devices_indices_map((len(wanted),)).items()]
    join = lambda *leaves: jax.make_array_from_single_device_arrays(
        (len(wanted), *leaves[0].shape[1:]), sharding, list(leaves))
    return jax.tree.map(join, *parts)

  def close(self):
    self._pool.shutdown(wait=False, cancel_futures=True)

  def _scenes(self, wanted, device):
    """Scenes as they are kept, and their orientations, in their order, no more ahead than there are threads."""
    making = collections.deque()
    for epoch, index in wanted.tolist():
      making.append(self._pool.submit(self._scene, epoch, index, device))
      if len(making) == self._options.num_threads:
        yield making.popleft().result()
    while making:
      yield making.popleft().result()

  def _scene(self, epoch, index, device):
    with jax.default_device(device):
      scene = self._readable_scene(epoch, index)
    if not self._options.reorient:
      return scene, None
    rng = np.random.default_rng([self._seed, _ORIENTATION_TAG, epoch, index])
    return scene, rng.integers(NUM_ORIENTATIONS)

  def _readable_scene(self, epoch, index):
    for offset in range(len(self._source)):
      try:
        return kept_scene(self._source, (index + offset) % len(self._source), epoch)
      except UnreadablePhotoError as error:
        if self._options.on_unreadable == "stop":
          raise
        with self._counting:
          self.replaced += 1
        logging.warning("scene %d is replaced by the next one: %s", index + offset, error)
    raise UnreadablePhotoError("Not one scene can be read.")


def _stacked(scenes: Iterable[tuple[Scene, int | None]], count: int) -> Scene:
  """One `Scene` with a leading batch axis, computed to the end (so that no work is left to the consumer).

  Args:
    scenes: with their orientations, made one at a time if they are a generator: beside the batch, one is in memory.
    count: how many there are, at least one.
  """
  batch = None
  for index, (scene, orientation) in enumerate(scenes):
    batch = _put(_empty(scene, count) if batch is None else batch, scene, index, orientation)
    del scene
  return jax.block_until_ready(batch)
