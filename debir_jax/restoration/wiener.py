"""The Wiener filter of a whole burst: aligned frames, each with its own noise and blur, become one image.

Within a window, a frame that stands in its place is Y_i = H_i X + N_i at every frequency f: a motion by b_i px during
the exposure is a box along b_i, H_i(f) = sinc(f . b_i), and the noise is white. With the power P(f) of the scene the
best linear estimate is

  X = sum_i H_i Y_i / s_i^2  /  (sum_i H_i^2 / s_i^2 + 1 / P)

so coarse detail comes from long frames, and what these have lost to blur comes from short ones. Frames that do not move
are averaged with the inverse of their variances, whatever the split of their exposure times.

P falls like 1 / f^2, as photos do (measured on the packed RAW of the training scenes, it does from 1/30 to 0.6 cycles
per px); how high it is, is what the window's variance is above the noise's. Windows of 16 px overlap by half.
"""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.restoration.aligned_inputs import BLUR_UNIT_PX

_SIDE = 16  # px of a window: blur of up to about its half is undone.
_STEP = _SIDE // 2
_LEAST_SHARE = 1e-3  # What a frame weighs that lies outside of a window, so that weights never vanish.
_LEAST_POWER = 1e-9

# In the middle of the windows' pixels: squares of neighbouring windows add up to 1.
_TAPER = np.sin(np.pi * (np.arange(_SIDE) + 0.5) / _SIDE)
_TAPER = (_TAPER[:, None] * _TAPER).astype(np.float32)
_WEIGHT = _TAPER**2 / np.sum(_TAPER**2)
_FY, _FX = (frequency.astype(np.float32) for frequency in np.meshgrid(
    np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij"))
_PRIOR = (1 / (_FX**2 + _FY**2 + (0.5 / _SIDE)**2)).astype(np.float32)
_IS_DETAIL = (_FX**2 + _FY**2 > 0).astype(np.float32)
_COUNT = np.where((_FX == 0) | (_FX == _FX.max()), 1, 2).astype(np.float32)  # A real image's other half is not stored.


def wiener_merge(frames: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
  """The burst's Wiener filter, `[..., h, w, 4]`, float32 or wider; differentiable in the frames and their blur.

  Args:
    frames: `[..., n, h, w, 9]` of `aligned_planes`.
    mean: `[..., h, w, 4]`, inverse-variance mean of the frames.
    variance: `[..., h, w, 1]`, of its noise.
  """
  height, width = mean.shape[-3:-1]
  valid = frames[..., 5:6]
  raw = valid * frames[..., :4] + (1 - valid) * mean[..., None, :, :, :]
  raw, mean = jnp.moveaxis(raw, -1, -3), _windows(jnp.moveaxis(mean, -1, -3))  # [..., n, 4, h, w], [..., 4, y, x, S, S]
  offset = jnp.sum(mean * _WEIGHT, (-1, -2), keepdims=True)  # Light, not detail.

  share, length, along_2x, along_2y = (_window_means(frames[..., plane]) for plane in (5, 6, 7, 8))
  precision = (share**2 + _LEAST_SHARE) / _window_means(frames[..., 4]**2)  # [..., n, y, x]
  contrast = _contrast(*(BLUR_UNIT_PX * blur for blur in (length, along_2x, along_2y)))  # [..., n, y, x, S, S / 2 + 1]
  weighted = contrast * precision[..., None, None]

  noise = 1 / _window_means(1 / variance[..., 0])[..., None, :, :]  # Where nothing is valid the variance is huge.
  energy = jnp.sum(jnp.abs(_spectrum(mean, offset))**2 * _COUNT * _IS_DETAIL, (-1, -2)) / np.sum(_TAPER**2)
  level = jnp.maximum(energy - (_SIDE**2 - 1) * noise, 0) / np.sum(_PRIOR * _COUNT * _IS_DETAIL)
  power = (level[..., None, None] + _LEAST_POWER) * _PRIOR  # [..., 4, y, x, S, S / 2 + 1]

  of_channels, of_frames = (lambda array: array[..., None, :, :, :, :]), (lambda array: array[..., None, :, :, :, :, :])
  above = jnp.sum(of_channels(weighted) * _spectrum(_windows(raw), of_frames(offset)), -6)
  below = of_channels(jnp.sum(weighted * contrast, -5)) + 1 / power
  windows = jnp.fft.irfft2(above / below, s=(_SIDE, _SIDE)) * _TAPER + offset * _TAPER**2
  return jnp.moveaxis(_overlapped(windows, height, width), -3, -1)


def _contrast(length, along_2x, along_2y):
  """sinc(f . b) `[..., S, S / 2 + 1]` of the mean blur of a window, px: its length, and length times the double angle.
  """
  length, along_2x, along_2y = (array[..., None, None] for array in (length, along_2x, along_2y))
  # (f . b)^2 by the double angle, so that neither the sign of b nor a blur of nothing matters.
  turns = length / 2 * (length * (_FX**2 + _FY**2) + along_2x * (_FX**2 - _FY**2) + 2 * along_2y * _FX * _FY)
  return jnp.sinc(jnp.sqrt(jnp.maximum(turns, 0) + 1e-9))


def _spectrum(windows, offset):
  return jnp.fft.rfft2((windows - offset) * _TAPER)


def _window_means(image):
  return jnp.sum(_windows(image) * _WEIGHT, (-1, -2))


def _windows(image):
  """Windows `[..., y, x, S, S]` of `[..., h, w]`, mirrored at its edges; each px is in four of them."""
  padding = [(_STEP, _STEP + -side % _STEP) for side in image.shape[-2:]]
  padded = jnp.pad(image, [(0, 0)] * (image.ndim - 2) + padding, mode="symmetric")
  *leading, height, width = padded.shape
  cells = padded.reshape(*leading, height // _STEP, _STEP, width // _STEP, _STEP).swapaxes(-2, -3)
  rows = jnp.concatenate([cells[..., :-1, :, :, :], cells[..., 1:, :, :, :]], -2)
  return jnp.concatenate([rows[..., :-1, :, :], rows[..., 1:, :, :]], -1)


def _overlapped(windows, height, width):
  """The image `[..., height, width]` whose windows add up to these."""
  beside = lambda array, axis, before: jnp.pad(
      array, [(0, 0)] * (array.ndim - 4 + axis) + [(1, 0) if before else (0, 1)] + [(0, 0)] * (3 - axis))
  rows = beside(windows[..., :_STEP], 1, False) + beside(windows[..., _STEP:], 1, True)
  cells = beside(rows[..., :_STEP, :], 0, False) + beside(rows[..., _STEP:, :], 0, True)
  *leading, num_rows, num_columns, _, _ = cells.shape
  image = cells.swapaxes(-2, -3).reshape(*leading, num_rows * _STEP, num_columns * _STEP)
  return image[..., _STEP:_STEP + height, _STEP:_STEP + width]
