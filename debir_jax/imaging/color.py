"""Color of a camera: sRGB <-> linear sRGB <-> camera RGB, each next to its inverse.

Arrays are `[..., 3]`, values relative to white = 1. Nothing is clipped, so that calls can be chained and every
pair is an inverse; clip where the result is shown or stored. Camera RGB is what the sensor measures: linear,
before white balance. The brightness gain of the unprocessing is part of `CameraColor.white_balance`.

Unprocessing follows T. Brooks et al., "Unprocessing images for learned raw denoising", CVPR 2019.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.types import CameraColor

# IEC 61966-2-1: slope of the linear segment near black, its upper end (encoded), and the power segment.
_LINEAR_SLOPE = 12.92
_LINEAR_END_SRGB = 0.04045
_LINEAR_END = 0.0031308
_OFFSET = 0.055
_EXPONENT = 2.4

# Linear sRGB (D65) -> CIE XYZ, IEC 61966-2-1.
SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375],
                         [0.2126729, 0.7151522, 0.0721750],
                         [0.0193339, 0.1191920, 0.9503041]])

# XYZ -> camera RGB of four cameras, as used by Brooks et al. 2019.
_XYZ_TO_CAMERA = np.array([
    [[1.0234, -.2969, -.2266], [-.5625, 1.6328, -.0469], [-.0703, .2188, .6406]],
    [[.4913, -.0541, -.0202], [-.613, 1.3513, .2906], [-.1564, .2151, .7183]],
    [[.838, -.263, -.0639], [-.2887, 1.0725, .2496], [-.0627, .1427, .5438]],
    [[.6596, -.2079, -.0562], [-.4782, 1.3016, .1933], [-.097, .1581, .5181]]])

# Linear sRGB -> camera RGB of three cameras, used by the authors of the paper. No entry is negative and rows sum
# to 1, so that colors in [0, 1] stay in [0, 1].
_SRGB_TO_CAMERA = np.array([
    [[.6443, .1114, .2443], [.1731, .6422, .1847], [.0687, .2639, .6675]],
    [[.6804, .0724, .2472], [.1734, .6291, .1975], [.0574, .2482, .6944]],
    [[.6644, .1352, .2004], [.1318, .6858, .1823], [.0406, .2633, .6962]]])

# Ranges of Brooks et al. 2019: the brightness of a photo is divided by a gain 1 / N(mean, std); white-balance gains.
_BRIGHTNESS_MEAN, _BRIGHTNESS_STD = 0.8, 0.1
_RED_GAIN_RANGE = (1.9, 2.4)
_BLUE_GAIN_RANGE = (1.5, 1.9)
_BRIGHTNESS_CUT_STD = 2.0  # Ours: white stays at or below 1 in camera RGB.
_HIGHLIGHTS_BEGIN = 0.9  # Mean of a color's channels, from where inverse gains fade out (Brooks et al., Sec. 3.3).


def srgb_to_linear(srgb: jax.Array) -> jax.Array:
  """Decodes sRGB values. The gradient is finite everywhere, also at 0 and below."""
  # The power gets a safe value on the linear segment: its derivative there would be NaN, and 0 * NaN is NaN.
  safe = jnp.maximum(srgb, _LINEAR_END_SRGB)
  return jnp.where(srgb <= _LINEAR_END_SRGB, srgb / _LINEAR_SLOPE, ((safe + _OFFSET) / (1 + _OFFSET))**_EXPONENT)


def linear_to_srgb(linear: jax.Array) -> jax.Array:
  """Encodes linear values as sRGB, the inverse of `srgb_to_linear`."""
  safe = jnp.maximum(linear, _LINEAR_END)
  return jnp.where(linear <= _LINEAR_END, linear * _LINEAR_SLOPE,
                   (1 + _OFFSET) * safe**(1 / _EXPONENT) - _OFFSET)


def apply_white_balance(rgb: jax.Array, white_balance: jax.Array) -> jax.Array:
  """Multiplies `rgb [..., 3]` by the gains `[3]`."""
  return _check_rgb(rgb) * white_balance


def invert_white_balance(rgb: jax.Array, white_balance: jax.Array) -> jax.Array:
  """Divides `rgb [..., 3]` by the gains `[3]`."""
  return _check_rgb(rgb) / white_balance


def apply_ccm(rgb: jax.Array, ccm: jax.Array) -> jax.Array:
  """Multiplies each color of `rgb [..., 3]` by the matrix `[3, 3]`: out_i = sum_j ccm_ij rgb_j."""
  _check_rgb(rgb)
  # Three multiply-adds in full precision; accelerators round the operands of a matrix product.
  return rgb[..., 0:1] * ccm[:, 0] + rgb[..., 1:2] * ccm[:, 1] + rgb[..., 2:3] * ccm[:, 2]


def invert_ccm(rgb: jax.Array, ccm: jax.Array) -> jax.Array:
  """Multiplies each color of `rgb [..., 3]` by the inverse of the matrix `[3, 3]`."""
  return apply_ccm(rgb, jnp.linalg.inv(ccm))


def linear_srgb_to_camera_rgb(rgb: jax.Array, color: CameraColor) -> jax.Array:
  """Linear sRGB `[..., 3]` -> what the camera measures (brightness and white balance undone)."""
  return invert_white_balance(invert_ccm(rgb, color.ccm), color.white_balance)


def linear_srgb_to_saturating_camera_rgb(rgb: jax.Array, color: CameraColor) -> jax.Array:
  """`linear_srgb_to_camera_rgb` in which white stays white: gains are not undone where a photo is blown out.

  Inverse gains are below 1 and would turn what saturated the camera into a grey that no camera measures. As in
  Brooks et al. 2019, Sec. 3.3, they fade to 1 from a mean of 0.9 to a mean of 1; below, both functions agree.
  """
  camera = invert_ccm(rgb, color.ccm)
  gains = 1 / color.white_balance
  mean = jnp.mean(camera, axis=-1, keepdims=True)
  blown = (jnp.clip(mean - _HIGHLIGHTS_BEGIN, 0, 1 - _HIGHLIGHTS_BEGIN) / (1 - _HIGHLIGHTS_BEGIN))**2
  return camera * jnp.maximum(blown + (1 - blown) * gains, gains)


def camera_rgb_to_linear_srgb(rgb: jax.Array, color: CameraColor) -> jax.Array:
  """Camera RGB `[..., 3]` -> linear sRGB, the inverse of `linear_srgb_to_camera_rgb`."""
  return apply_ccm(apply_white_balance(rgb, color.white_balance), color.ccm)


def release_ccms() -> jax.Array:
  """The three camera RGB -> linear sRGB matrices `[3, 3, 3]` that the authors' data was made with."""
  return jnp.asarray(np.linalg.inv(_normalize_rows(_SRGB_TO_CAMERA)), jnp.float32)


def random_release_ccm(key: jax.Array, *, count: int = 3) -> jax.Array:
  """One of the first `count` of `release_ccms`, `[3, 3]`, drawn with equal chances; the authors' code has 2 there."""
  return release_ccms()[jax.random.randint(key, (), 0, count)]


def random_ccm(key: jax.Array) -> jax.Array:
  """Camera RGB -> linear sRGB matrix `[3, 3]` of a random mixture of four cameras (Brooks et al. 2019).

  Saturated colors can become negative in such a camera's RGB.
  """
  weights = jax.random.uniform(key, (4, 1, 1), minval=1e-8)  # Never all zero.
  xyz_to_camera = jnp.sum(weights * _XYZ_TO_CAMERA.astype(np.float32), axis=0) / jnp.sum(weights)
  columns = [jnp.sum(xyz_to_camera * column, axis=1) for column in SRGB_TO_XYZ.T.astype(np.float32)]
  return jnp.linalg.inv(_normalize_rows(jnp.stack(columns, axis=1)))


def random_camera_color(
    key: jax.Array, *, draw_ccm: Callable[[jax.Array], jax.Array] = random_release_ccm,
    brightness_cut_std: float = _BRIGHTNESS_CUT_STD) -> CameraColor:
  """Random brightness, white balance and color matrix: what separates a photo from RAW.

  Args:
    key: a PRNG key.
    draw_ccm: draws the camera RGB -> linear sRGB matrix `[3, 3]` from a key.
    brightness_cut_std: standard deviations at which the brightness N(0.8, 0.1) is cut. 2: white stays at or below 1 in
      camera RGB. The authors' code does not cut it: `math.inf`.
  """
  brightness_key, red_key, blue_key, ccm_key = jax.random.split(key, 4)
  brightness = _BRIGHTNESS_MEAN + _BRIGHTNESS_STD * jax.random.truncated_normal(
      brightness_key, -brightness_cut_std, brightness_cut_std)
  red_gain = jax.random.uniform(red_key, (), minval=_RED_GAIN_RANGE[0], maxval=_RED_GAIN_RANGE[1])
  blue_gain = jax.random.uniform(blue_key, (), minval=_BLUE_GAIN_RANGE[0], maxval=_BLUE_GAIN_RANGE[1])
  white_balance = jnp.stack([red_gain, jnp.ones_like(red_gain), blue_gain]) / brightness
  return CameraColor(white_balance=white_balance, ccm=draw_ccm(ccm_key))


@dataclasses.dataclass(frozen=True)
class Unprocessing:
  """How photos become what a camera measured. Hashable, so static under `jit`.

  Attributes:
    draw_color: draws the camera's color from a key.
    preserve_highlights: white stays white, see `linear_srgb_to_saturating_camera_rgb`.
  """

  draw_color: Callable[[jax.Array], CameraColor] = random_camera_color
  preserve_highlights: bool = True

  @property
  def description(self) -> list:
    """What tells it from others, JSON, the same in every process."""
    return [_described(self.draw_color), self.preserve_highlights]

  def camera_rgb(self, rgb: jax.Array, color: CameraColor) -> jax.Array:
    """Linear sRGB `[..., 3]` -> camera RGB, cut to [0, 1]."""
    convert = linear_srgb_to_saturating_camera_rgb if self.preserve_highlights else linear_srgb_to_camera_rgb
    return jnp.clip(convert(rgb, color), 0, 1)


def _described(function):
  """Name of a function, with the arguments that a partial one has."""
  if isinstance(function, functools.partial):
    return [_described(function.func), {name: _described(value) for name, value in function.keywords.items()}]
  return getattr(function, "__qualname__", repr(function))


def _normalize_rows(matrix):
  """Grey must map to grey: rows sum to 1."""
  return matrix / matrix.sum(axis=-1, keepdims=True)


def _check_rgb(rgb):
  if rgb.ndim < 1 or rgb.shape[-1] != 3:
    raise ValueError(f"Colors must be [..., 3], got shape {rgb.shape}.")
  return rgb
