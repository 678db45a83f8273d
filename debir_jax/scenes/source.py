"""What a set of scenes is: `SceneSource` makes scene i as a pure function of its seed and i. Mixed and cached ones.

A source may have a method `group(index) -> str`, which says what a scene shows: scenes of one photo or clip are not
independent of each other, and statistics take them together, see `group_of`. A method `made_of() -> str` tells scenes
apart from those of other settings, see `scenes_made_of`. A method `scene_in_epoch(index, epoch) -> Scene` draws crop
and color anew in every epoch of the training, see `scene_in_epoch`.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Protocol
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.color import Unprocessing
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes.camera_path import cell_positions
from debir_jax.scenes.motion_statistics import MotionStatistics
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming, SampledMotion, Scene

# Between the instants that motion is told at: paths bend by less than 0.05 px within.
_MOTION_INTERVAL_S = 8 / SUBFRAME_RATE_HZ
CROP_MULTIPLE = 8  # Mosaic pixels: two for a Bayer cell, four for the two downsamplings of the networks.


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneSettings:
  """What all scenes of a source that is drawn at random have in common.

  Attributes:
    crop_size: side of the mosaic in pixels, a multiple of `CROP_MULTIPLE`.
    num_subframes: length of every sequence.
    num_scenes: how many there are.
    seed: of all that is drawn.
    statistics: how they move.
    unprocessing: draws the camera's color, and makes RAW of sRGB with it.
    target_index: of the entry that is restored, see `BurstTiming`: scenes tell their motion from there on. None: they
      do not tell it.
  """

  crop_size: int
  num_subframes: int
  num_scenes: int
  seed: int = 0
  statistics: MotionStatistics = MotionStatistics()
  unprocessing: Unprocessing = Unprocessing()
  target_index: int | None = None

  def __post_init__(self):
    if self.crop_size < CROP_MULTIPLE or self.crop_size % CROP_MULTIPLE:
      raise ValueError(f"crop_size must be a positive multiple of {CROP_MULTIPLE} mosaic pixels, got {self.crop_size}.")
    if self.num_subframes < 1 or self.num_scenes < 1:
      raise ValueError(f"num_subframes and num_scenes must be positive, got {self.num_subframes} and "
                       f"{self.num_scenes}.")
    if self.target_index is not None and not 0 <= self.target_index < self.num_subframes:
      raise ValueError(f"target_index={self.target_index} is not in a sequence of {self.num_subframes} subframes.")

  @property
  def of_one_scene(self) -> "SceneSettings":
    """What the draw of one scene depends on: programs are shared by sources that differ in nothing else."""
    return dataclasses.replace(self, num_scenes=1, seed=0)

  def sampled_motion(self, motion_field: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]) -> SampledMotion:
    """The motion of a scene from the instant that is restored to the end of its sequence.

    Args:
      motion_field: maps image positions `[h, w, 2]` (y, x) and two times, s, to the flow `[h, w, 2]` (x, y) in mosaic
        px from the first to the second.
    """
    start_s = (self.target_index + 0.5) / SUBFRAME_RATE_HZ
    count = 2 + int((self.num_subframes / SUBFRAME_RATE_HZ - start_s) / _MOTION_INTERVAL_S)
    ends_s = start_s + jnp.arange(count) * _MOTION_INTERVAL_S
    positions = cell_positions(self.crop_size)
    flow = jax.vmap(lambda end_s: motion_field(positions, start_s, end_s))(ends_s)
    return SampledMotion(flow_px=flow / 2, interval_s=_MOTION_INTERVAL_S)


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


def scene_in_epoch(source: SceneSource, index: int, epoch: int) -> Scene:
  """A scene as the training sees it in an epoch; `scene(index)` of sources that draw nothing anew."""
  return source.scene_in_epoch(index, epoch) if hasattr(source, "scene_in_epoch") else source.scene(index)


def kept_scene(source: SceneSource, index: int, epoch: int) -> Scene:
  """`scene_in_epoch`, as caches keep it, see `decoded`."""
  return source.kept_scene(index) if hasattr(source, "kept_scene") else scene_in_epoch(source, index, epoch)


def scenes_made_of(source: SceneSource) -> str:
  """A text that differs where scenes differ, as far as their source says: by a method `made_of() -> str`, or its sizes.
  """
  if hasattr(source, "made_of"):
    return source.made_of()
  return f"{len(source)} scenes of {source.crop_size} px and {source.num_subframes} subframes"


def made_of(kind: str, settings: SceneSettings, **further: Any) -> str:
  """A fingerprint of a source's settings, and of what else makes its scenes (JSON)."""
  fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
  fields |= dict(statistics=dataclasses.asdict(settings.statistics), unprocessing=settings.unprocessing.description)
  return fingerprint(kind, fields, further)


def scene_key(kind: str, seed: int, index: int) -> jax.Array:
  """Key of a scene; sources of different kinds with one seed share nothing, not even the camera's path.

  Args:
    kind: name of the kind of source.
    seed: of the source.
    index: of the scene.
  """
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _tag(kind)), index)


def scene_rng(kind: str, seed: int, *indices: int) -> np.random.Generator:
  """The same for what is drawn on the host; of a scene, or of a scene in an epoch."""
  return np.random.default_rng([seed, _tag(kind), *indices])


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
    return dataclasses.replace(source.scene(local), scene_id=jnp.asarray(index, jnp.int32))

  def scene_in_epoch(self, index: int, epoch: int) -> Scene:
    """As its source draws it."""
    source, local = self._at(index)
    return dataclasses.replace(scene_in_epoch(source, local, epoch), scene_id=jnp.asarray(index, jnp.int32))

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


class KeptScenes:
  """Scenes of a source by a method `kept_scene(index) -> Scene`, whose radiance may be as `encode_16_bits` makes it."""

  def __init__(self, source: SceneSource):
    self.crop_size, self.num_subframes, self._source = source.crop_size, source.num_subframes, source

  def __len__(self) -> int:
    return len(self._source)

  def group(self, index: int) -> str:
    """As its source says."""
    return group_of(self._source, index)

  def made_of(self) -> str:
    """As its source says."""
    return scenes_made_of(self._source)

  def scene(self, index: int) -> Scene:
    return jax.tree.map(jnp.asarray, decoded(self.kept_scene(index)))


class CachedScenes(KeptScenes):
  """Keeps every rendered scene in host memory, in full or quantised to 16 bits.

  With 16 bits, radiance is rounded to steps of 1/65535 (error at most 7.7e-6; values outside [0, 1] are cut), also
  when a scene is first handed out, so that a scene is the same however often it was asked for.
  """

  def __init__(self, source: SceneSource, *, use_16_bits: bool = False, max_bytes: int = 8 * 2**30):
    """Raises ValueError if the scenes would take more than max_bytes."""
    super().__init__(source)
    num_bytes = len(source) * source.num_subframes * source.crop_size**2 * (2 if use_16_bits else 4)
    if num_bytes > max_bytes:
      raise ValueError(f"Caching {len(source)} scenes takes {num_bytes / 2**30:.1f} GiB, more than max_bytes = "
                       f"{max_bytes / 2**30:.1f} GiB. Use fewer scenes, 16 bits, files (`FiledScenes`), or no cache.")
    self._use_16_bits, self._scenes = use_16_bits, {}

  def kept_scene(self, index: int) -> Scene:
    """A scene as it is kept; see `decoded`."""
    if index not in self._scenes:
      scene = jax.device_get(self._source.scene(index))
      self._scenes[index] = dataclasses.replace(
          scene, radiance=encode_16_bits(scene.radiance)) if self._use_16_bits else scene
    return self._scenes[index]


def encode_16_bits(radiance: np.ndarray) -> np.ndarray:
  """Radiance as kept, in steps of 1/65535; values outside [0, 1] are cut."""
  return np.round(np.clip(radiance, 0, 1) * 65535).astype(np.uint16)


def decoded(kept: Scene) -> Scene:
  """A scene whose radiance `encode_16_bits` may have kept, with radiance in float32."""
  if kept.radiance.dtype != np.uint16:
    return kept
  # Not by a division, which XLA replaces: then scenes would differ in the last bit by how they are read.
  return dataclasses.replace(kept, radiance=kept.radiance.astype(np.float32) * np.float32(1 / 65535))


def check_sequence_length(source: SceneSource, timing: BurstTiming, max_total_exposure_s: float) -> None:
  """Raises ValueError if the source's sequences cannot hold every burst with this total exposure time."""
  needed = timing.num_subframes(max_total_exposure_s)
  if source.num_subframes < needed:
    raise ValueError(f"Sequences have {source.num_subframes} subframes, but bursts of up to "
                     f"{max_total_exposure_s:.6f} s need {needed}. Set num_subframes={needed}.")


def check_index(index: int, length: int) -> None:
  """Raises ValueError unless 0 <= index < length."""
  if not 0 <= index < length:
    raise ValueError(f"There is no scene {index}; scenes are numbered 0 to {length - 1}.")
