"""Data types shared by every part of the package: frozen dataclasses that are JAX pytrees.

Shapes are those of one scene or one burst; a batch adds a leading axis to every leaf (`jax.vmap`).

Units: times in seconds, gains linear, signals relative to white = 1 after black level.
Layout: `raw` and `radiance` are packed Bayer planes `[..., h, w, 4]` in the order R, Gr, Gb, B, at half the
mosaic's height and width.

Symbols of the paper (Sec. 4): t_i `exposure_times`, g_i `gains`, g_p `preview_gain`, m_p `motion_magnitude`,
e_S `subframe_interval_s`, t_p `preview_exposure_s`, delta_p `preview_gap_s`, delta `frame_gap_s`, t^0 `burst_start_s`,
t_u `budget_s`, t_min `min_exposure_s`.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

SUBFRAME_RATE_HZ = 1920  # GoPro at 240 frames per second, interpolated by 8 (paper, Sec. 5.1).


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, kw_only=True)
class BurstTiming:
  """When previews and burst frames are exposed, and within which limits. Static: hashable, no array leaves.

  Attributes:
    num_frames: frames of a burst, n; even, as Burstormer fuses frames in pairs.
    subframe_interval_s: time from one radiance entry to the next, e_S.
    subframe_support: number of intervals that one stored radiance entry was itself exposed for. 1: an entry is
      the radiance during one interval (the paper). 8: an entry is a 240 fps frame, so that an exposure of t
      intervals is the mean of t - 7 entries (the authors' release).
    frame_gap_s: readout gap between consecutive frames, delta.
    preview_exposure_s: exposure time of both previews, t_p.
    preview_gap_s: gap between the two previews, delta_p.
    burst_start_s: start of the first frame on the time axis of a sequence, t^0.
    min_exposure_s, max_exposure_s: limits of one frame's exposure time.
    budget_s: upper limit of the sum of the exposure times, t_u.
  """

  num_frames: int
  subframe_interval_s: float
  subframe_support: int
  frame_gap_s: float
  preview_exposure_s: float
  preview_gap_s: float
  burst_start_s: float
  min_exposure_s: float
  max_exposure_s: float
  budget_s: float

  def __post_init__(self):
    if self.num_frames < 2 or self.num_frames % 2:
      raise ValueError(
          f"num_frames must be even and at least 2 (frames are fused in pairs), got {self.num_frames}.")
    if self.subframe_support < 1:
      raise ValueError(f"subframe_support must be at least 1, got {self.subframe_support}.")
    for name, value in ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self)):
      if not 0 <= value < math.inf:  # a negative gap would let frames overlap
        raise ValueError(f"{name} must be finite and not negative, got {value}.")
    if self.subframe_interval_s == 0:
      raise ValueError("subframe_interval_s must be positive, e.g. 1/1920, got 0.")
    if not 0 < self.min_exposure_s <= self.max_exposure_s:
      raise ValueError("Exposure limits must satisfy 0 < min_exposure_s <= max_exposure_s, "
                       f"got {self.min_exposure_s} and {self.max_exposure_s}.")
    if self.min_exposure_s <= self.exposure_offset_s or self.preview_exposure_s <= self.exposure_offset_s:
      raise ValueError(f"min_exposure_s={self.min_exposure_s} and preview_exposure_s={self.preview_exposure_s} must be "
                       f"longer than (subframe_support - 1) * subframe_interval_s = {self.exposure_offset_s}.")
    if self.num_frames * self.min_exposure_s > self.budget_s * (1 + 1e-9):
      raise ValueError(f"budget_s={self.budget_s} cannot hold {self.num_frames} frames of "
                       f"min_exposure_s={self.min_exposure_s}.")
    preview_start_s = self.burst_start_s - self.frame_gap_s - 2 * self.preview_exposure_s - self.preview_gap_s
    if preview_start_s < -1e-9:
      raise ValueError(f"burst_start_s={self.burst_start_s} is too early: the first preview would start at "
                       f"{preview_start_s:.6f} s. Use at least {self.burst_start_s - preview_start_s:.6f} s.")

  @classmethod
  def paper(cls, num_frames: int = 4) -> "BurstTiming":
    """The timing of the paper, Sec. 4.3 and 6: 32/1920 s of exposure budget per frame."""
    return cls._in_subframes(
        num_frames=num_frames, subframe_support=1, frame_gap=7, preview_exposure=16, preview_gap=39, burst_start=80,
        min_exposure=8, max_exposure=64, budget=32 * num_frames)

  @classmethod
  def release(cls, num_frames: int = 4) -> "BurstTiming":
    """The timing of the authors' PyTorch release: entries are 240 fps frames, no gap, previews at 0 and 41."""
    return cls._in_subframes(
        num_frames=num_frames, subframe_support=8, frame_gap=0, preview_exposure=16, preview_gap=25, burst_start=57,
        min_exposure=8, max_exposure=64, budget=32 * num_frames)

  @classmethod
  def _in_subframes(cls, *, num_frames, subframe_support, **subframes) -> "BurstTiming":
    seconds = {f"{name}_s": count / SUBFRAME_RATE_HZ for name, count in subframes.items()}
    return cls(num_frames=num_frames, subframe_interval_s=1 / SUBFRAME_RATE_HZ, subframe_support=subframe_support,
               **seconds)

  def with_frames(self, num_frames: int) -> "BurstTiming":
    """The same timing for another number of frames, each with the same part of the budget."""
    return dataclasses.replace(self, num_frames=num_frames, budget_s=self.budget_s / self.num_frames * num_frames)

  @property
  def exposure_offset_s(self) -> float:
    """Exposure time that adds no entry to a window, t_off = (subframe_support - 1) * e_S."""
    return (self.subframe_support - 1) * self.subframe_interval_s

  @property
  def min_share(self) -> float:
    """Smallest share of the budget that one frame gets, epsilon of Eq. 3 (1/16 for n = 4; 1/100 in the release)."""
    return (self.min_exposure_s - self.exposure_offset_s) / (self.budget_s - self.num_frames * self.exposure_offset_s)

  def num_subframes(self, max_total_exposure_s: float) -> int:
    """Length of a radiance sequence that holds every burst with at most this total exposure time.

    Includes one guard subframe after the last window: the derivative at the end of a window that ends on a
    subframe boundary is the mean of both sides, so the entry behind the boundary must exist.
    """
    end_s = self.burst_start_s + max_total_exposure_s + (self.num_frames - 1) * self.frame_gap_s
    end_subframes = (end_s - self.exposure_offset_s) / self.subframe_interval_s
    return math.ceil(end_subframes - 1e-6) + 1

  @property
  def target_index(self) -> int:
    """Index of the target: the radiance entry at the start of the burst, S at t^0."""
    return round(self.burst_start_s / self.subframe_interval_s)


def _pytree(cls):
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


@_pytree
class CameraColor:
  """What the viewing ISP must know to go from camera RAW to sRGB.

  Attributes:
    white_balance: gains of R, G, B `[3]` that make grey neutral (and restore the brightness).
    ccm: matrix `[3, 3]` from white-balanced camera RGB to linear sRGB; rows sum to 1.
  """

  white_balance: jax.Array
  ccm: jax.Array

  @classmethod
  def neutral(cls) -> "CameraColor":
    """A camera that sees sRGB's own colors, balanced as they are."""
    return cls(white_balance=jnp.ones(3), ccm=jnp.eye(3))


@_pytree
class SampledMotion:
  """The motion of a scene from the instant that is restored, known at evenly spaced later instants.

  Attributes:
    flow_px: `[K, h, w, 2]` (x, y), packed px: the way of what each Bayer cell shows at the instant that is restored,
      until instant k; 0 for k = 0.
    interval_s: from one of these instants to the next.
  """

  flow_px: jax.Array
  interval_s: float = dataclasses.field(metadata=dict(static=True))

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[m, h, w, 2]` until times `[m]`, s after the instant that is restored; linear between the instants and
    beyond them, and differentiable in the times."""
    place = jnp.asarray(times_s) / self.interval_s
    before = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, self.flow_px.shape[0] - 2)
    share = (place - before)[:, None, None, None]
    return self.flow_px[before] + share * (self.flow_px[before + 1] - self.flow_px[before])


@_pytree
class Scene:
  """A radiance sequence with the metadata to look at it.

  Attributes:
    radiance: `[num_subframes, h, w, 4]`, packed camera RAW.
    color: how to view it.
    scene_id: integer, unique within a data set.
    motion: how it moves, where this is known exactly.
  """

  radiance: jax.Array
  color: CameraColor
  scene_id: jax.Array
  motion: SampledMotion | None = None


@_pytree
class Observation:
  """All that a policy may know before the burst is taken.

  Attributes:
    previews: `[2, h, w, 4]`, packed RAW; index 0 is the earlier one, I'_p, index 1 the later one, I_p.
    preview_gain: g_p, linear.
    mean_flow_px: mean length of the flow between the previews, in pixels of the half-size preview.
    motion_magnitude: m_p, `mean_flow_px` scaled and clipped to [0, 1].
    color: how to develop the previews.
  """

  previews: jax.Array
  preview_gain: jax.Array
  mean_flow_px: jax.Array
  motion_magnitude: jax.Array
  color: CameraColor


@_pytree
class Preview:
  """The frame right before a burst, of the same brightness: it shows how things move, and is not restored.

  Attributes:
    raw: `[h, w, 4]`, packed RAW in [0, 1].
    exposure_time: s.
    gain: linear.
    start_s: start of its exposure, s after the instant that is restored: negative.
    noise_model: of its own; None: that of the burst.
  """

  raw: jax.Array
  exposure_time: jax.Array
  gain: jax.Array
  start_s: jax.Array
  noise_model: Any = None


@_pytree
class Burst:
  """Frames as taken.

  Attributes:
    raw: `[n, h, w, 4]`, packed RAW in [0, 1].
    exposure_times: `[n]`, s.
    gains: `[n]`, linear.
    frame_mask: `[n]`, True where a frame was taken.
    noise_model: of the camera, see `simulator/noise.py`; None where it is not known.
    start_s: `[n]`, start of every exposure, s after the instant that is restored; None where it is not known.
    motion: of the scene, where it is known: its method `at(times_s [m]) -> [m, h, w, 2]` gives the flow (x, y) in
      packed px from the instant that is restored, as `SampledMotion` does.
    preview: the frame before it, where there is one: motion that is searched for in the frames is found better by it.
  """

  raw: jax.Array
  exposure_times: jax.Array
  gains: jax.Array
  frame_mask: jax.Array
  noise_model: Any = None
  start_s: jax.Array | None = None
  motion: Any = None
  preview: Preview | None = None
