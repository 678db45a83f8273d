"""What BAENet sees of an observation: planes of the later preview, of the gain and of the motion (paper, Sec. 4.1)."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging import linear_srgb
from debir_jax.types import Observation

_PREVIEW_PLANES = {"packed": 4, "linear_srgb": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaeInputs:
  """Lays an `Observation` out as planes. Hashable, so static under `jit`.

  * `preview="packed"`: `[h, w, 6]`, packed RAW (4 planes), gain, motion: the paper.
  * `preview="linear_srgb"`: `[2h, 2w, 5]`, demosaiced linear sRGB (3 planes), motion, gain: the authors' release.

  An input that is switched off leaves its planes out (paper, Table 3), and the others keep their order and size.

  Attributes:
    min_preview_gain: g_min, linear, the lower end of the range of gains that the network is trained for. The gain plane
      is g_p / g_min - 1, so that the range [g_min, 2 g_min] of the paper's setting maps to [0, 1]; it is clipped there.
    preview: "packed" or "linear_srgb".
    use_preview, use_gain, use_motion: which inputs there are. The motion plane is m_p.
  """

  min_preview_gain: float
  preview: str = "packed"
  use_preview: bool = True
  use_gain: bool = True
  use_motion: bool = True

  def __post_init__(self):
    if not (self.use_preview or self.use_gain or self.use_motion):
      raise ValueError("BAENet has no input: switch on use_preview, use_gain or use_motion (config.bae).")
    if not self.min_preview_gain > 0:
      raise ValueError(f"min_preview_gain must be positive, got {self.min_preview_gain}.")
    if self.preview not in _PREVIEW_PLANES:
      raise ValueError(f"Unknown kind of preview {self.preview!r}; use one of "
                       f"{', '.join(map(repr, _PREVIEW_PLANES))}.")

  @property
  def num_channels(self) -> int:
    """Channels of the planes."""
    return _PREVIEW_PLANES[self.preview] * self.use_preview + self.use_gain + self.use_motion

  def __call__(self, observation: Observation) -> jax.Array:
    """Planes `[h, w, num_channels]` of one scene.

    Warns:
      UserWarning: if the gain lies outside [g_min, 2 g_min] (outside `jit` only).
    """
    image = observation.previews[1]  # I_p
    if self.preview == "linear_srgb":
      image = linear_srgb(image, observation.color)
    plane = lambda value: jnp.broadcast_to(value, (*image.shape[:2], 1)).astype(image.dtype)
    scalars = []
    if self.use_gain:
      self.warn_outside(observation.preview_gain)
      scalars.append(plane(jnp.clip(observation.preview_gain / self.min_preview_gain - 1, 0, 1)))
    if self.use_motion:
      scalars.append(plane(observation.motion_magnitude))
    if self.preview == "linear_srgb":
      scalars.reverse()  # The release's order.
    return jnp.concatenate([image] * self.use_preview + scalars, axis=-1)

  def warn_outside(self, preview_gain: jax.Array) -> None:
    """Warns if a gain lies outside [g_min, 2 g_min], where its plane says no more; not under `jit`."""
    if isinstance(preview_gain, jax.core.Tracer):
      return
    relative = np.asarray(preview_gain) / self.min_preview_gain
    if np.any(relative < 1 - 1e-5) or np.any(relative > 2 + 1e-5):
      warnings.warn(f"preview_gain={preview_gain} lies outside the range that the network is trained for, "
                    f"[{self.min_preview_gain}, {2 * self.min_preview_gain}]; its plane is clipped to [0, 1].",
                    stacklevel=3)
