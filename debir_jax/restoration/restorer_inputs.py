"""What a restoration network sees of every frame: its RAW planes and, on request, what is known of how it was taken.

Or frames that are aligned already, with planes of their own, see `aligned_inputs`.

The published network for DEBIR sees the RAW planes alone. Bursts of real cameras differ in more than their noise shows:
how noisy a frame is, where it is clipped, and how long it was exposed.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.restoration.aligned_inputs import NUM_ALIGNED_CHANNELS, aligned_planes
from debir_jax.types import Burst

_CLIPPED = 0.98  # A sample from here on, relative to white, says only that the signal was at least so bright.


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestorerInputs:
  """Adds planes to the frames of a burst. Hashable, so static under `jit`.

  Attributes:
    noise_map: 4 planes, the standard deviation of every sample's noise as the noise model has it at the sample's value.
    validity: 1 plane, 1 where none of the four samples is clipped (below 0.98), else 0.
    relative_exposure: 1 constant plane, log2 of the frame's exposure time over that of frame 0.
    frame_mask: 1 constant plane, 1 where a frame was taken and 0 where it was left out. In the place of what was left
      out stand the frames that were taken, in turns: a network then averages over the same frames, however many.
    aligned: the planes of `aligned_planes` in the place of all others.
  """

  noise_map: bool = False
  validity: bool = False
  relative_exposure: bool = False
  frame_mask: bool = False
  aligned: bool = False

  def __post_init__(self):
    others = [name for name, switch in dataclasses.asdict(self).items() if switch and name != "aligned"]
    if self.aligned and others:
      raise ValueError("Aligned frames have planes of their own; switch restorer_inputs.aligned or "
                       f"{', '.join(others)} off.")

  @property
  def num_channels(self) -> int:
    """Channels of a frame, the 4 of RAW included."""
    if self.aligned:
      return NUM_ALIGNED_CHANNELS
    return 4 + 4 * self.noise_map + self.validity + self.relative_exposure + self.frame_mask

  def __call__(self, burst: Burst) -> jax.Array:
    """Frames `[n, h, w, num_channels]` of one burst: RAW, then what is switched on, in the order of the attributes.

    Raises:
      ValueError: a noise map is wanted of a burst whose noise is not known.
    """
    if self.aligned:
      return aligned_planes(burst)
    raw, taken = burst.raw, burst.frame_mask
    like_taken = lambda values: jnp.where(taken, values, values[0])  # No planes of infinities where nothing was taken.
    plane = lambda values: jnp.broadcast_to(values[:, None, None, None], (*raw.shape[:3], 1)).astype(raw.dtype)
    planes = [raw]
    if self.noise_map:
      if burst.noise_model is None:
        raise ValueError("This restorer sees the noise of every frame, but the burst has no noise_model. Give one, "
                         "such as debir_jax.simulator.IsoNoise().")
      variance = burst.noise_model.variance(jnp.maximum(raw, 0), like_taken(burst.gains)[:, None, None, None])
      planes.append(jnp.sqrt(variance).astype(raw.dtype))
    if self.validity:
      planes.append((jnp.max(raw, -1, keepdims=True) < _CLIPPED).astype(raw.dtype))
    if self.relative_exposure:
      planes.append(plane(jnp.log2(like_taken(burst.exposure_times) / burst.exposure_times[0])))
    frames = jnp.concatenate(planes, -1)
    return jnp.concatenate([frames[_in_turns(taken)], plane(taken)], -1) if self.frame_mask else frames


def _in_turns(taken):
  """Which frame stands in each place `[n]`: itself where it was taken, else the taken ones one after the other."""
  slots = jnp.arange(taken.shape[0])
  order = jnp.argsort(~taken, stable=True)  # The taken ones first.
  turn = jnp.cumsum(~taken) - 1
  return jnp.where(taken, slots, order[turn % jnp.maximum(jnp.sum(taken), 1)])
