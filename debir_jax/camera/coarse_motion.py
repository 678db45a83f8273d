"""How far whole frames lie apart: the package's own flow on reduced frames, before finer motion is searched for.

Networks and the search of `motion/residual_flow.py` are for a few px from frame to frame. A hand moves full frames of a
phone by tens. Here the flow of reduced frames (a few hundred px a side, where noise is averaged) says where each tile
of the reference lies in every other frame.

Lengths are packed px of full frames, (x, y), from the reference to the frame: what it shows at p is at p + shift there.
"""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.raw_frame import RawFrame
from debir_jax.imaging.resample import warp
from debir_jax.motion import LucasKanade

_REDUCED_SIDE = 256  # Of reduced frames, at most, px.
_ROWS = 256  # Packed rows that are reduced at once.
_WHITE_QUANTILE, _WHITE = 0.99, 0.8  # Of the reference, and what it becomes: the flow's damping is for sRGB in [0, 1].
_GAMMA = 1 / 2.2
_LEAST_GAIN = 0.9  # Of the difference between frames, that a flow must leave less of to be believed.
_LUCAS_KANADE = LucasKanade(blur_sigma_px=1.0)  # Reduced frames are averaged already.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CoarseMotion:
  """Flows of reduced frames.

  Attributes:
    flows: `[n, h', w', 2]`, (x, y) in packed px of full frames; that of frame 0, the reference, is 0.
    factor: packed px of full frames per px of reduced ones.
  """

  flows: np.ndarray
  factor: int

  def shifts(self, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The median shift `[n, 2]` (x, y) of what the reference shows in a tile, in packed px."""
    rows, columns = (slice(start // self.factor, max(-(-(start + side) // self.factor), start // self.factor + 1))
                     for start, side in ((top, height), (left, width)))
    part = self.flows[:, rows, columns]
    if 0 in part.shape:  # A remainder at the border that reduction dropped.
      part = self.flows[:, -1:, -1:]
    return np.median(part, (1, 2))

  @property
  def largest_px(self) -> float:
    """The longest mean shift of a frame, packed px."""
    return float(np.max(np.linalg.norm(self.flows.mean((1, 2)), axis=-1)))


def no_motion(num_frames: int) -> CoarseMotion:
  """Of frames that are taken to lie on each other."""
  return CoarseMotion(flows=np.zeros((num_frames, 1, 1, 2), np.float32), factor=2**30)


def find_coarse_motion(frames: Sequence[RawFrame], scales: Sequence[float]) -> CoarseMotion:
  """Where everything of the first frame is in the others.

  A flow that does not make a frame more like the first one is taken to be none.

  Args:
    frames: of one size; the first is the reference.
    scales: factors that bring them to one brightness.
  """
  factor = max(1, -(-max(frames[0].size) // _REDUCED_SIDE))
  reduced = [scale * reduced_gray(frame, factor) for frame, scale in zip(frames, scales)]
  white = max(float(np.quantile(reduced[0], _WHITE_QUANTILE)), 1e-6) / _WHITE
  reference, *others = (jnp.asarray(np.clip(gray / white, 0, 1) ** _GAMMA) for gray in reduced)
  flows = [np.zeros((*reference.shape, 2), np.float32)]
  for other in others:
    flow, difference, before = (np.asarray(value) for value in _flow(reference, other))
    flows.append(factor * flow if difference < _LEAST_GAIN * before else np.zeros_like(flow))
  return CoarseMotion(flows=np.stack(flows), factor=factor)


def reduced_gray(frame: RawFrame, factor: int) -> np.ndarray:
  """The mean of `reduced_planes`, `[h', w']`."""
  return reduced_planes(frame, factor).mean(-1)


def reduced_planes(frame: RawFrame, factor: int) -> np.ndarray:
  """Means over squares of `factor` packed px, `[h', w', 4]`; remainders at the border are dropped."""
  height, width = (side // factor * factor for side in frame.size)
  step = max(_ROWS // factor, 1) * factor
  strips = []
  for start in range(0, height, step):
    planes = frame.packed(slice(start, min(start + step, height)), slice(0, width))
    strips.append(planes.reshape(-1, factor, width // factor, factor, 4).mean((1, 3)))
  return np.concatenate(strips)


@jax.jit
def _flow(reference, other):
  """Flow, the mean difference that is left along it, and the one before; of what is inside both frames."""
  three = lambda gray: jnp.broadcast_to(gray[..., None], (*gray.shape, 3))
  flow = _LUCAS_KANADE.apply({}, three(reference), three(other))
  warped, inside = warp(other, flow)
  mean = lambda image: jnp.sum(inside * jnp.abs(image - reference)) / jnp.maximum(jnp.sum(inside), 1)
  return flow, mean(warped), mean(other)
