"""The differentiable burst simulator (Sec. 4.3 of the paper): one call per line, in the paper's order.

Pure functions of one sequence; a batch is `jax.vmap`. Radiance is packed Bayer `[F, h, w, 4]`, already sampled by the
color filter array: CFA sampling is linear and noise is per pixel, so the order of Eq. 6 does not matter, and a
sequence costs a third of RGB.
"""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.simulator.noise import NoiseModel, add_noise
from debir_jax.simulator.sensor import clip, quantize
from debir_jax.simulator.shutter import burst_windows, frame_mask, integrate_windows, preview_windows
from debir_jax.types import BurstTiming


def gains_for(exposure_times: jax.Array, preview_gain: jax.Array, timing: BurstTiming) -> jax.Array:
  """Gains that give every frame the brightness of the preview: g_i = g_p t_p / t_i (Eq. 1); 0 where none is taken.

  Args:
    exposure_times: `[n]`, s; 0 where a frame is left out.
    preview_gain: g_p, linear.
    timing: for the preview's exposure time.

  Returns:
    `[n]`, linear.
  """
  exposure_times = jnp.asarray(exposure_times)
  taken = frame_mask(exposure_times)
  gains = preview_gain * timing.preview_exposure_s / jnp.where(taken, exposure_times, 1)  # Finite gradients.
  return jnp.where(taken, gains, 0)


def simulate_burst(key: jax.Array, radiance: jax.Array, exposure_times: jax.Array, preview_gain: jax.Array,
                   noise_model: NoiseModel, timing: BurstTiming, *, gains: jax.Array | None = None,
                   bits: int | None = None, black_level: float = 0.0) -> jax.Array:
  """Takes a burst of a moving scene (Eq. 5 and 6), differentiable in the exposure times.

  Args:
    key: PRNG key of the noise.
    radiance: `[num_subframes, h, w, 4]`, packed, white = 1.
    exposure_times: `[n]`, s; 0 leaves a frame out, any but the first: its RAW is 0, and no gap elapses for it.
    preview_gain: g_p, linear.
    noise_model: see `noise.py`.
    timing: see `BurstTiming`.
    gains: `[n]`, linear, of the frames that are taken; default `gains_for(exposure_times, ...)`.
    bits: quantise to so many bits, with straight-through derivative; default: no quantisation, as in the paper.
    black_level: what the sensor counts without light, relative to white less black; 0: none, as in the paper.

  Returns:
    raw `[n, h, w, 4]` in [-black_level, 1].

  Raises:
    ValueError: wrong shapes; times that are negative or leave the sequence, or no first frame (where they are
      concrete).
  """
  _check_radiance(radiance, timing.num_subframes(timing.num_frames * timing.min_exposure_s), timing)
  _check_exposure_times(exposure_times)
  _check_positive("preview_gain", preview_gain)
  taken = frame_mask(exposure_times)
  gains = _gain_of_every_frame(
      gains_for(exposure_times, preview_gain, timing) if gains is None else gains, taken)
  _check_positive("gains", gains)
  raw = _take(key, radiance, burst_windows(exposure_times, timing), gains, noise_model, timing, bits, black_level)
  return jnp.where(taken[:, None, None, None], raw, 0)


def simulate_previews(key: jax.Array, radiance: jax.Array, preview_gain: jax.Array, noise_model: NoiseModel,
                      timing: BurstTiming, *, bits: int | None = None, black_level: float = 0.0) -> jax.Array:
  """Takes the two previews before the burst (Eq. 9 and 10).

  Args:
    key: PRNG key; use another one than for the burst of the same scene.
    radiance: `[num_subframes, h, w, 4]`, packed, white = 1.
    preview_gain: g_p, linear.
    noise_model: see `noise.py`.
    timing: see `BurstTiming`.
    bits, black_level: see `simulate_burst`.

  Returns:
    raw `[2, h, w, 4]` in [-black_level, 1]; index 0 is the earlier preview.
  """
  _check_radiance(radiance, timing.target_index, timing)
  _check_positive("preview_gain", preview_gain)
  return _take(key, radiance, preview_windows(timing), preview_gain, noise_model, timing, bits, black_level)


def target_of(radiance: jax.Array, timing: BurstTiming) -> jax.Array:
  """The image to restore: the radiance at the start of the burst, I_gt `[h, w, 4]`."""
  _check_radiance(radiance, timing.target_index + 1, timing)
  return radiance[timing.target_index]


def _take(key, radiance, windows, gains, noise_model, timing, bits, black_level):
  signal = integrate_windows(radiance, *windows, timing)  # S_{s,e}, Eq. 7
  noisy = add_noise(key, signal, gains, noise_model)  # + g N, Eq. 8
  raw = clip(noisy, black_level)  # Eq. 6
  return raw if bits is None else quantize(raw, bits, black_level)


def _gain_of_every_frame(gains, taken):
  """Gains `[n]`. No noise model need know a gain of 0: what is left out is taken like frame 0, and then blacked."""
  gains = jnp.asarray(gains)
  if gains.ndim and gains.shape != taken.shape:
    raise ValueError(f"gains must be a scalar or have shape {taken.shape}, got {gains.shape}.")
  return jnp.where(taken, gains, jnp.ravel(gains)[0])


def _check_radiance(radiance, needed_subframes, timing):
  if radiance.ndim != 4 or radiance.shape[-1] != 4:
    raise ValueError("radiance must be packed Bayer planes [num_subframes, h, w, 4] of one scene (use jax.vmap for a "
                     f"batch), got shape {radiance.shape}.")
  if radiance.shape[0] < needed_subframes:
    raise ValueError(f"radiance has {radiance.shape[0]} subframes, but this timing needs at least {needed_subframes} "
                     f"here, and {timing.num_subframes(timing.budget_s)} for a burst that spends the whole budget.")


def _check_exposure_times(exposure_times):
  if isinstance(exposure_times, jax.core.Tracer):
    return
  times = np.asarray(exposure_times)
  if not np.all(np.isfinite(times)) or np.any(times < 0) or not np.all(times[:1] > 0):
    raise ValueError("exposure_times must be positive and finite, or 0 where a frame behind the first one is left out, "
                     f"got {times}.")


def _check_positive(name, value):
  if isinstance(value, jax.core.Tracer):
    return
  value = np.asarray(value)
  if not np.all(np.isfinite(value)) or np.any(value <= 0):
    raise ValueError(f"{name} must be positive and finite, got {value}.")
