"""What a set of scenes is: `SceneSource` makes scene i as a pure function of its seed and i. Mixed and cached ones.

A source may have a method `group(index) -> str`, which says what a scene shows: scenes of one photo or clip are not
independent of each other, and statistics take them together, see `group_of`. A method `made_of() -> str` tells scenes
apart from those of other settings, see `scenes_made_of`.
"""

from collections.abc import Sequence
from typing import Any, Protocol
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.color import Unprocessing
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.types import BurstTiming, Scene

CROP_MULTIPLE = 8  # Mosaic pixels: two for a Bayer cell, four for the two downsamplings of the networks.


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


def group_of(source: SceneSource, index: int) -> str:
  """What a scene shows, by its source's `group`; without one, every scene is a group of its own."""
  return source.group(index) if hasattr(source, "group") else f"scene {index}"


def scenes_made_of(source: SceneSource) -> str:
  """A text that differs where scenes differ, as far as their source says: by a method `made_of() -> str`, or its sizes.
  """
  if hasattr(source, "made_of"):
    return source.made_of()
  return f"{len(source)} scenes of {source.crop_size} px and {source.num_subframes} subframes"


def made_of(kind: str, source: SceneSource, num_scenes: int, seed: int, options: dict[str, Any]) -> str:
  """A fingerprint of a source's settings; options may be JSON and `Unprocessing`."""
  options = {name: value.description if isinstance(value, Unprocessing) else value for name, value in options.items()}
  return fingerprint(kind, source.crop_size, source.num_subframes, num_scenes, seed, options)


def scene_key(kind: str, seed: int, index: int) -> jax.Array:
  """Key of a scene; sources of different kinds with one seed share nothing, not even the camera's path.

  Args:
    kind: name of the kind of source.
    seed: of the source.
    index: of the scene.
  """
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _tag(kind)), index)


def scene_rng(kind: str, seed: int, index: int) -> np.random.Generator:
  """The same for what is drawn on the host."""
  return np.random.default_rng([seed, _tag(kind), index])


def _tag(kind):
  return zlib.crc32(kind.encode())


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
    source, local = self._at(index)
    scene = source.scene(local)
    return Scene(radiance=scene.radiance, color=scene.color, scene_id=jnp.asarray(index, jnp.int32))

  def group(self, index: int) -> str:
    """What its own source says, apart from the groups of other sources."""
    source, local = self._at(index)
    return f"{self._sources.index(source)}: {group_of(source, local)}"

  def made_of(self) -> str:
    """As its sources say."""
    return fingerprint(*map(scenes_made_of, self._sources))

  def _at(self, index):
    """The source of a scene and its index there."""
    check_index(index, len(self))
    for source in self._sources:
      if index < len(source):
        return source, index
      index -= len(source)
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

  def group(self, index: int) -> str:
    """As its source says."""
    return group_of(self._source, index)

  def made_of(self) -> str:
    """As its source says."""
    return scenes_made_of(self._source)

  def scene(self, index: int) -> Scene:
    if index not in self._scenes:
      scene = jax.device_get(self._source.scene(index))
      self._scenes[index] = scene.color, scene.scene_id, self._encode(scene.radiance)
    color, scene_id, radiance = self._scenes[index]
    return jax.tree.map(jnp.asarray, Scene(radiance=self._decode(radiance), color=color, scene_id=scene_id))

  def _encode(self, radiance):
    return np.round(np.clip(radiance, 0, 1) * 65535).astype(np.uint16) if self._use_16_bits else radiance

  def _decode(self, stored):
    return stored.astype(np.float32) / np.float32(65535) if self._use_16_bits else stored


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
