"""A camera in front of a scene that moves: previews and bursts by the simulator, with faults on request.

For trying all that stands around a camera without one. Its frames are those of the simulator (noise, clipping, counts
of so many bits), its settings those of the plan, unless a fault says otherwise.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.cameras import TakenFrame
from debir_jax.camera.limits import NS_PER_S, CameraLimits
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.plan import PlannedFrame
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.imaging.color import SRGB_TO_XYZ
from debir_jax.simulator import NoiseModel, burst_windows, simulate_burst, simulate_previews
from debir_jax.types import BurstTiming, Scene

_BITS = 14
_BLACK = 512  # Counts without light.
Fault = Literal["drop", "late", "wrong"]


@dataclasses.dataclass(kw_only=True, eq=False)
class SimulatedCamera:
  """A `Camera` that sees one scene, again and again.

  Attributes:
    scene: what it sees; long enough for the bursts that are asked for.
    timing: of previews, and where the burst begins.
    noise_model: of the camera.
    preview_gain: linear.
    limits: which plans are made for.
    seed: of the noise, another one in every burst.
    faults: by number of the burst and of the frame: it is dropped, has the settings of the frame before (late), or
      half of its exposure time (wrong).
  """

  scene: Scene
  timing: BurstTiming
  noise_model: NoiseModel
  preview_gain: float = 700.0
  limits: CameraLimits = CameraLimits(name="debir_jax simulated", row_time_ns=14_700, isos=(100, 204800),
                                      min_exposure_ns=4_000_000)
  seed: int = 0
  faults: Mapping[tuple[int, int], Fault] = dataclasses.field(default_factory=dict)
  num_bursts: int = dataclasses.field(default=0, init=False)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    return None

  def previews(self) -> tuple[RawFrame, RawFrame]:
    """See `Camera.previews`."""
    raw = simulate_previews(self._key(0), self.scene.radiance, self.preview_gain, self.noise_model, self.timing,
                            bits=_BITS, black_level=self._black_level)
    return tuple(self._frame(planes, self.timing.preview_exposure_s, self.preview_gain) for planes in raw)

  def take(self, frames: Sequence[PlannedFrame], timeout_ns: int) -> list[TakenFrame | None]:
    """See `Camera.take`; it is never late."""
    del timeout_ns
    faults = [self.faults.get((self.num_bursts, number)) for number in range(len(frames))]
    self.num_bursts += 1
    settings = [self._settings(frames, number, fault) for number, fault in enumerate(faults)]
    times, gains = (np.array(column, np.float32) for column in zip(*settings))
    burst_timing = dataclasses.replace(self.timing, frame_gap_s=self.limits.frame_gap_ns / NS_PER_S)
    raw = simulate_burst(self._key(self.num_bursts), self.scene.radiance, jnp.asarray(times), self.preview_gain,
                         self.noise_model, burst_timing, gains=jnp.asarray(gains), bits=_BITS,
                         black_level=self._black_level)
    starts = np.asarray(burst_windows(jnp.asarray(times), burst_timing)[0])
    return [None if fault == "drop" else
            TakenFrame(frame=self._frame(planes, time, gain), start_ns=round(float(start) * NS_PER_S))
            for fault, planes, (time, gain), start in zip(faults, raw, settings, starts)]

  def _settings(self, frames, number, fault) -> tuple[float, float]:
    """Exposure time, s, and gain of a frame."""
    planned = frames[max(number - 1, 0) if fault == "late" else number]
    time = planned.exposure_time_ns / NS_PER_S
    return time / 2 if fault == "wrong" else time, planned.iso / self.limits.base_iso

  @property
  def _black_level(self):
    return _BLACK / (2**_BITS - 1 - _BLACK)

  def _key(self, tag):
    return jax.random.fold_in(jax.random.key(self.seed), tag)

  def _frame(self, planes, time, gain) -> RawFrame:
    height, width = planes.shape[:2]
    white = 2**_BITS - 1
    counts = np.rint(np.asarray(planes) * (white - _BLACK) + _BLACK).astype(np.uint16).reshape(height, width, 2, 2)
    return RawFrame(
        mosaic=counts.transpose(0, 2, 1, 3).reshape(2 * height, 2 * width), black_levels=(_BLACK,) * 4,
        white_level=white, exposure_time=float(time), iso=float(gain * self.limits.base_iso),
        noise=NoiseProfile.of_model(self.noise_model, gain), camera=self.limits.name, source=self.limits.name,
        **color_of(self.scene))


def color_of(scene: Scene) -> dict:
  """White balance and matrix of a frame that shows a scene; the brightness that the scene's balance restores is left
  out, as a file knows it only relative to green."""
  balance = np.asarray(scene.color.white_balance, np.float64)
  xyz_to_camera = np.linalg.inv(np.asarray(scene.color.ccm, np.float64)) @ np.linalg.inv(SRGB_TO_XYZ)
  return dict(white_balance=tuple(float(gain) for gain in balance / balance[1]), xyz_to_camera=xyz_to_camera)
