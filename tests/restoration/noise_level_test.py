"""Laws of the gains that are read from the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.restoration.noise_level import estimated_gains
from debir_jax.simulator import IsoNoise, add_noise

_TIMES = jnp.array([8.0, 24.0, 40.0, 56.0]) / 1920


@pytest.mark.parametrize("gain", [120.0, 600.0, 2000.0])
def test_gains_are_found_in_the_noise(gain):
  """Of an image with edges, cut at 0 and white as in a camera, to a quarter of a stop."""
  gains = gain * _TIMES[0] / _TIMES
  ramp = jnp.linspace(0.05, 0.6, 64)[None, :, None] + 0.3 * (jnp.arange(64)[:, None, None] % 16 > 7)
  signal = jnp.broadcast_to(ramp * jnp.array([0.6, 1.0, 1.0, 0.7]), (4, 64, 64, 4))
  raw = jnp.clip(add_noise(jax.random.key(0), signal, gains, IsoNoise()), 0, 1)
  np.testing.assert_allclose(estimated_gains(raw, _TIMES, IsoNoise()), gains, rtol=0.19)


def test_frames_that_were_left_out_have_no_say():
  """Whatever they hold."""
  times = _TIMES.at[1].set(0)
  raw = add_noise(jax.random.key(0), jnp.full((4, 32, 32, 4), 0.3), 600 * _TIMES[0] / _TIMES, IsoNoise())
  found = estimated_gains(raw.at[1].set(0), times, IsoNoise())
  np.testing.assert_allclose(found[jnp.array([0, 2, 3])], 600 * (_TIMES[0] / _TIMES)[jnp.array([0, 2, 3])], rtol=0.15)


@pytest.mark.parametrize("side, gain", [(48, 90.0), (48, 1e5), (48, 0.01), (62, 700.0), (1030, 700.0)])
def test_the_gain_is_that_of_a_search_through_all(side, gain):
  """Ratios fall with the gain, so halving finds the one of all whose noise fits best; of large images nearly."""
  signal = jax.random.uniform(jax.random.key(1), (1, side, 1, 4), maxval=0.5) * jnp.ones((4, 1, side, 1))
  raw = add_noise(jax.random.key(0), signal, gain * _TIMES[0] / _TIMES, IsoNoise())
  a, b, c, d = (np.asarray(raw)[:, y::2, x::2] for y in (0, 1) for x in (0, 1))
  gains = np.geomspace(1.0, 8192.0, 105)

  def distance(index):
    variance = IsoNoise().variance(np.maximum((a + b + c + d) / 4, 0),
                                   (gains[index] * _TIMES[0] / _TIMES)[:, None, None, None])
    return abs(np.median(np.abs(a - b - c + d) / 2 / np.sqrt(variance)) - 0.6745)

  found = np.argmin(np.abs(gains - float(estimated_gains(raw, _TIMES, IsoNoise())[0])))
  if side <= 512:
    assert found == np.argmin([distance(index) for index in range(len(gains))])
  else:
    assert distance(found) < min(distance(found - 2), distance(found + 2))
