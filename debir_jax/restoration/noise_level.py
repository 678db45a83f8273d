"""How noisy a burst is, where nobody says it: the gains that its frames' own noise fits to."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.simulator.noise import NoiseModel

_GAINS = np.geomspace(1.0, 8192.0, 105)  # Of the first frame, an eighth of a stop apart.
_MEDIAN_OF_NORMAL = 0.6745  # Of the absolute value, in standard deviations.


def estimated_gains(raw: jax.Array, exposure_times: jax.Array, noise_model: NoiseModel) -> jax.Array:
  """Gains `[n]` of frames of one brightness, linear, in inverse proportion to their exposure times.

  The noise is read from the finest diagonal detail of each plane, whose median edges hardly change (D. L. Donoho and
  I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994), against the model's standard
  deviation at the local brightness. Of images that are all detail the gain comes out too high.

  Args:
    raw: `[n, h, w, 4]`, packed, sides of at least 2.
    exposure_times: `[n]`, s; 0 where a frame is left out, any but the first.
    noise_model: of the camera.
  """
  taken = exposure_times > 0
  relative = jnp.where(taken, exposure_times[0] / jnp.where(taken, exposure_times, 1), 1)
  height, width = (side // 2 * 2 for side in raw.shape[1:3])
  a, b, c, d = (raw[:, y:height:2, x:width:2] for y in (0, 1) for x in (0, 1))
  detail, brightness = jnp.abs(a - b - c + d) / 2, jnp.maximum((a + b + c + d) / 4, 0)

  def typical_ratio(gain):
    variance = noise_model.variance(brightness, (gain * relative)[:, None, None, None])
    ratios = jnp.where(taken[:, None, None, None], detail / jnp.sqrt(variance), jnp.nan)
    return jnp.nanmedian(ratios)

  ratios = jax.lax.map(typical_ratio, jnp.asarray(_GAINS, raw.dtype))  # They fall with the gain.
  return jnp.asarray(_GAINS, raw.dtype)[jnp.argmin(jnp.abs(ratios - _MEDIAN_OF_NORMAL))] * relative
