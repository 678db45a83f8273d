"""How noisy a burst is, where nobody says it: the gains that its frames' own noise fits to."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.simulator.noise import NoiseModel

_GAINS = np.geomspace(1.0, 8192.0, 105)  # Of the first frame, an eighth of a stop apart.
_MEDIAN_OF_NORMAL = 0.6745  # Of the absolute value, in standard deviations.
_MOST_CELLS = 256  # Of 2x2 px along a side, that are looked at: a median needs no more.


def estimated_gains(raw: jax.Array, exposure_times: jax.Array, noise_model: NoiseModel) -> jax.Array:
  """Gains `[n]` of frames of one brightness, linear, in inverse proportion to their exposure times.

  The noise is read from the finest diagonal detail of each plane, whose median edges hardly change (D. L. Donoho and
  I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994), against the model's standard
  deviation at the local brightness. Of images that are all detail the gain comes out too high.

  Args:
    raw: `[n, h, w, 4]`, packed. A side of 1 px shows no noise: the lowest gain.
    exposure_times: `[n]`, s; 0 where a frame is left out, any but the first.
    noise_model: of the camera.
  """
  taken = exposure_times > 0
  relative = jnp.where(taken, exposure_times[0] / jnp.where(taken, exposure_times, 1), 1)
  return _fitted(raw, taken, relative, noise_model)


@jax.jit
def _fitted(raw, taken, relative, noise_model):
  raw = jnp.pad(raw, ((0, 0), *((0, max(2 - side, 0)) for side in raw.shape[1:3]), (0, 0)), "edge")
  height, width = (side // 2 * 2 for side in raw.shape[1:3])
  down, right = (2 * max(side // (2 * _MOST_CELLS), 1) for side in (height, width))
  a, b, c, d = (raw[:, y:height:down, x:width:right] for y in (0, 1) for x in (0, 1))
  detail, brightness = jnp.abs(a - b - c + d) / 2, jnp.maximum((a + b + c + d) / 4, 0)
  gains = jnp.asarray(_GAINS, raw.dtype)

  def typical_ratio(index):
    variance = noise_model.variance(brightness, (gains[index] * relative)[:, None, None, None])
    ratios = jnp.where(taken[:, None, None, None], detail / jnp.sqrt(variance), jnp.nan)
    return jnp.nanmedian(ratios)

  def halve(_, between):
    low, high = between
    middle = (low + high) // 2
    above = typical_ratio(middle) > _MEDIAN_OF_NORMAL  # Ratios fall with the gain.
    return jnp.where(above, middle, low), jnp.where(above, high, middle)

  num_halvings = int(np.ceil(np.log2(len(_GAINS) - 1)))
  both = jnp.stack(jax.lax.fori_loop(0, num_halvings, halve, (0, len(_GAINS) - 1)))
  distance = jnp.abs(jax.lax.map(typical_ratio, both) - _MEDIAN_OF_NORMAL)
  return gains[both[jnp.argmin(distance)]] * relative
