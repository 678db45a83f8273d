"""Signal-dependent (heteroscedastic) Gaussian noise of a RAW sensor, drawn so that gradients pass through it.

Every model answers one question: the *variance* of the noise of a pixel, relative to white = 1, at a noise-free signal
and a gain. All of them are affine in the signal; they differ in how they depend on the gain g:

  PaperNoise             g^2 (read_variance + shot_noise * S)            Eq. 6 and 8 as printed
  PoissonGaussianNoise   g shot_noise * S + g^2 read_variance            photon physics
  IsoNoise               calibrated table over ISO = base_iso * g        the authors' release; close to the physics

Models are pytrees: their parameters may be traced, batched and differentiated.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

# The release's calibration: shot_noise = slope * ISO + intercept; ln read_variance = slope * ln shot_noise + intercept.
_SHOT_PER_ISO = 9.2857e-7
_SHOT_AT_ISO_0 = 8.1006e-5
_LOG_READ_SLOPE = 2.2282
_LOG_READ_INTERCEPT = 0.45982
# Its spread from camera to camera, used in training only.
_SHOT_JITTER_STD = 5e-5
_LOG_READ_JITTER_STD = 0.25

_TINY_VARIANCE = 1e-20  # Keeps the slope of the square root finite for a model without read noise at signal 0.


class NoiseModel(Protocol):
  """What the simulator needs of a noise model."""

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """Variance of the noise at `signal` (white = 1) and linear `gain`; the arguments broadcast."""


def _noise_model(cls):
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@_noise_model
class PaperNoise:
  """Eq. 6 and 8 as the paper prints them: the gain multiplies the whole noise, var = g^2 (read + shot S).

  The defaults are our choice, as the paper's are in its unavailable supplement: they meet `IsoNoise` at the preview's
  exposure time and the lowest gain, 512.

  Attributes:
    shot_noise: variance per unit signal at gain 1.
    read_variance: variance at signal 0 and gain 1.
  """

  shot_noise: float | jax.Array = 1.8e-7
  read_variance: float | jax.Array = 6.8e-9

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """See `NoiseModel.variance`."""
    return gain**2 * (self.read_variance + self.shot_noise * _positive(signal))


@_noise_model
class PoissonGaussianNoise:
  """Photon and readout physics: shot noise grows with the gain, read noise with its square.

  At constant brightness (g t constant) the shot noise std falls as t^-1/2 and the read noise std as 1/t.

  Attributes:
    shot_noise: variance per unit signal at gain 1.
    read_variance: variance at signal 0 and gain 1.
  """

  shot_noise: float | jax.Array = 9.3e-5
  read_variance: float | jax.Array = 7e-9

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """See `NoiseModel.variance`."""
    return gain * self.shot_noise * _positive(signal) + gain**2 * self.read_variance


@_noise_model
class IsoNoise:
  """The authors' calibrated noise: shot noise affine in ISO, read variance a power (2.23) of the shot noise.

  Attributes:
    base_iso: ISO at gain 1.
    shot_jitter: added to the shot noise; see `sample`.
    log_read_jitter: added to ln read_variance; see `sample`.
  """

  base_iso: float | jax.Array = 100.0
  shot_jitter: float | jax.Array = 0.0
  log_read_jitter: float | jax.Array = 0.0

  def shot_noise(self, gain: jax.Array) -> jax.Array:
    """Variance per unit signal at a linear gain."""
    return _SHOT_PER_ISO * self.base_iso * gain + _SHOT_AT_ISO_0 + self.shot_jitter

  def read_variance(self, gain: jax.Array) -> jax.Array:
    """Variance at signal 0 and a linear gain."""
    log_read = _LOG_READ_SLOPE * jnp.log(self.shot_noise(gain)) + _LOG_READ_INTERCEPT + self.log_read_jitter
    return jnp.exp(log_read)

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """See `NoiseModel.variance`."""
    gain = jnp.asarray(gain)
    return self.read_variance(gain) + self.shot_noise(gain) * _positive(signal)

  def sample(self, key: jax.Array) -> "IsoNoise":
    """A camera drawn at random around the calibration, as the release does in training; draw one per burst.

    The shot noise jitter is redrawn until the shot noise is positive, at every gain from 1 upwards.
    """
    shot_key, read_key = jax.random.split(key)
    lowest = -(_SHOT_PER_ISO * self.base_iso + _SHOT_AT_ISO_0) / _SHOT_JITTER_STD
    shot_jitter = _SHOT_JITTER_STD * jax.random.truncated_normal(shot_key, lowest, jnp.inf)
    log_read_jitter = _LOG_READ_JITTER_STD * jax.random.normal(read_key)
    return IsoNoise(self.base_iso, shot_jitter, log_read_jitter)


def add_noise(key: jax.Array, signal: jax.Array, gains: jax.Array, noise_model: NoiseModel) -> jax.Array:
  """Adds sqrt(variance) * z with z ~ N(0, 1) (Eq. 8, reparameterised); not clipped.

  For a fixed `key` the result is a smooth function of signal and gains, so gradients reach the exposure times both
  through the blur and through the noise level.

  Args:
    key: PRNG key.
    signal: `[n, h, w, c]`, noise-free, white = 1.
    gains: `[n]`, linear, or a scalar.
    noise_model: variance as a function of signal and gain.

  Returns:
    Noisy signal, same shape.
  """
  gains = jnp.asarray(gains)
  if gains.ndim and gains.shape != signal.shape[:1]:
    raise ValueError(f"gains must be a scalar or have shape {signal.shape[:1]}, got {gains.shape}.")
  gains = gains.reshape(gains.shape + (1,) * (signal.ndim - gains.ndim))
  std = jnp.sqrt(jnp.maximum(noise_model.variance(signal, gains), _TINY_VARIANCE))
  return signal + std * jax.random.normal(key, signal.shape, signal.dtype)  # N = std * Z


def _positive(signal):
  return jnp.maximum(signal, 0)
