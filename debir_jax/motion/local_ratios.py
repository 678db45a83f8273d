"""How alike the frames of a burst are around each place, if they are read along one of many motions.

As in `burst_flow`, alike is the ratio of the frames' cross energy to their self energy, but summed over Gaussian
windows in the place of the whole image, and at each place over those frames that see it.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.imaging.resample import along_both_axes, gaussian_rows, read_at
from debir_jax.motion.burst_flow import ACCELERATION_SCALE

STRIDE = 2  # Energies are taken at every second px.
_MAPPED_TOGETHER = 16  # Candidates, for the memory.


def local_ratios(frames: jax.Array, weights: jax.Array, elapsed: jax.Array, flow: jax.Array, candidates: jax.Array,
                 axes: jax.Array, windows: Sequence[float], stride: int) -> tuple[jax.Array, jax.Array]:
  """Ratios of every candidate motion, and the self energy along the first.

  Args:
    frames: `[n, h, w]`, their detail.
    weights: `[n]`, sum 1.
    elapsed: `[n]`, until each frame, 10 ms.
    flow: `[n, h', w', 2]`, packed px, of the motion that candidates are added to, at every `STRIDE`-th px.
    candidates: `[k, 4]`, velocity (x, y) in packed px per 10 ms and acceleration, along the local axes.
    axes: `[h', w', 2, 2]`, the local x and y axis at each place.
    windows: standard deviations of the windows, in steps of `STRIDE` px.
    stride: of the result, in the same steps.

  Returns:
    Ratios `[h'', w'', k, windows]`, at most 1; energies `[h'', w'', windows]`.
  """
  height, width = flow.shape[1:3]
  # x and y apart: on CPUs pairs (x, y) take several times as long.
  x = STRIDE * jnp.arange(width) + flow[..., 0]
  y = STRIDE * jnp.arange(height)[:, None] + flow[..., 1]
  last_y, last_x = frames.shape[1] - 1, frames.shape[2] - 1
  summed = lambda energy: jnp.stack([along_both_axes(energy, functools.partial(
      _window_matrix, sigma=sigma, stride=stride)) for sigma in windows], -1)

  def energies(candidate):
    step = elapsed[:, None] * candidate[:2] + elapsed[:, None]**2 / ACCELERATION_SCALE * candidate[2:]  # [n, 2]
    along, across = (step[:, axis, None, None] for axis in (0, 1))
    there_x = x + along * axes[..., 0, 0] + across * axes[..., 1, 0]
    there_y = y + along * axes[..., 0, 1] + across * axes[..., 1, 1]
    read = jax.vmap(read_at)(frames, there_x, there_y)
    inside = (there_x >= 0) & (there_x <= last_x) & (there_y >= 0) & (there_y <= last_y)
    seen = weights[:, None, None] * inside
    cross = jnp.sum(seen * read, 0)**2 - jnp.sum((seen * read)**2, 0)
    own = jnp.sum(seen * jnp.maximum(jnp.sum(seen, 0) - seen, 0) * read**2, 0)  # Rounding may leave less than none.
    return summed(cross), summed(own)

  cross, own = jax.lax.map(energies, candidates, batch_size=min(_MAPPED_TOGETHER, len(candidates)))
  floor = 1e-3 * jnp.mean(own[0], (0, 1)) + 1e-12  # Where hardly anything is seen, nothing is alike.
  return jnp.moveaxis(cross / (own + floor), 0, 2), own[0]


@functools.lru_cache(maxsize=None)
def _window_matrix(length: int, sigma: float, stride: int) -> np.ndarray:
  centers = np.arange(0, length, stride) + (min(stride, length) - 1) / 2
  return gaussian_rows(np.minimum(centers, length - 1), length, sigma)
