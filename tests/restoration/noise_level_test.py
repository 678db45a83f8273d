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
