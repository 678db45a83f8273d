"""A small U-Net over the frames of `aligned_planes` and their means: the restorer for CPUs.

`[..., n, H, W, 9] -> [..., H, W, 4]`. It starts from two images of all aligned frames: their inverse-variance mean,
which is all that can be had of a scene at rest, and their Wiener filter, which also knows how far each frame is
blurred. How the frames differ from the mean goes in beside them. The network's result is added to the Wiener filter, so
fresh weights return that.

Three levels, residual blocks of two 3x3 convolutions; between levels 2x2 pixels become channels of one, and back,
beside dense layers, whose gradients are faster on CPUs than those of strided and transposed convolutions.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.kernels.dense import gelu
from debir_jax.restoration.aligned_inputs import LITTLE, NUM_ALIGNED_CHANNELS
from debir_jax.restoration.layers import Conv1x1, Conv3x3, draw_weights
from debir_jax.restoration.wiener import wiener_merge

_OUT_CHANNELS = 4
_NUM_FRAME_PLANES, _NUM_MEAN_PLANES = 9, 9  # Of `planes_of`: of every frame, and of all together.
_LEAST_OWN_SHARE = 0.05  # Of a frame's variance that its mean with others does not have: of a frame that is alone.
_LARGEST_DIFFERENCE = 8.0  # Standard deviations; beyond it is not noise, by how much does not matter.
_DIFFERENCE_SCALE, _LOG_STD_SCALE = 0.1, 0.2  # Planes are to be about as large as the image.


class AlignedUNet(nn.Module):
  """Restores the scene at the instant to which the frames are aligned.

  Attributes:
    num_features: at full size; twice and four times as many at half and a quarter of the size.
    blocks_per_level: residual blocks before each change of size and behind it.
    dtype: type to compute in, "bfloat16" or "float32"; None: that of the frames. Means and result are float32 at least.
  """

  num_features: int = 24
  blocks_per_level: int = 2
  dtype: str | None = None

  def init(self, key, frames):
    """Fresh variables for bursts of this shape; see `Burstormer.init`."""
    key = key["params"] if isinstance(key, dict) else key
    variables = draw_weights(key, jax.eval_shape(super().init, key, frames))
    variables["params"]["out_conv"] = jax.tree.map(jnp.zeros_like, variables["params"]["out_conv"])
    return variables

  @nn.compact
  def __call__(self, frames):
    if frames.ndim < 4 or frames.shape[-1] != NUM_ALIGNED_CHANNELS:
      raise ValueError(f"Expected aligned frames [..., n, H, W, {NUM_ALIGNED_CHANNELS}] (restorer_inputs.aligned), got "
                       f"the shape {frames.shape}.")
    if frames.shape[-3] % 4 or frames.shape[-2] % 4:
      raise ValueError(f"Sides must be multiples of 4 packed px, got {frames.shape[-3]}x{frames.shape[-2]}.")
    planes, skip = planes_of(frames)
    x = Conv3x3(self.num_features, name="in_conv")(planes.astype(self.dtype or planes.dtype))
    levels = []
    for level in range(2):
      x = self._blocks(x, f"down{level}")
      levels.append(x)
      x = Conv1x1(2 * x.shape[-1], name=f"to_half{level}")(_cells_to_channels(x))
    x = self._blocks(x, "middle")
    for level in (1, 0):
      x = _channels_to_cells(Conv1x1(4 * levels[level].shape[-1], name=f"to_double{level}")(x)) + levels[level]
      x = self._blocks(x, f"up{level}")
    return skip + Conv3x3(_OUT_CHANNELS, name="out_conv")(x).astype(skip.dtype)

  def _blocks(self, x, name):
    for number in range(self.blocks_per_level):
      inner = gelu(Conv3x3(x.shape[-1], name=f"{name}_{number}_conv0")(x))
      x = x + Conv3x3(x.shape[-1], name=f"{name}_{number}_conv1")(inner)
    return x


def variables_for_frames(variables: Any, num_frames: int) -> Any:
  """Variables for bursts of another length than those that they were trained for.

  Fewer frames: the later ones are left out. More: as long as it is not trained again, the network sees frames that are
  new to it in the mean and in the Wiener filter alone; a burst without them is restored as before.
  """
  params = dict(variables["params"])
  kernel = params["in_conv"]["kernel"]  # [3, 3, 9 n + 9, features]
  of_frames, of_means = jnp.split(kernel, [kernel.shape[2] - _NUM_MEAN_PLANES], axis=2)
  wanted = num_frames * _NUM_FRAME_PLANES
  new = jnp.zeros((*kernel.shape[:2], max(0, wanted - of_frames.shape[2]), kernel.shape[3]), kernel.dtype)
  kernel = jnp.concatenate([of_frames[:, :, :wanted], new, of_means], 2)
  params["in_conv"] = params["in_conv"] | dict(kernel=kernel)
  return variables | dict(params=params)


def planes_of(frames: jax.Array) -> tuple[jax.Array, jax.Array]:
  """What the network sees of aligned frames `[..., n, h, w, 9]`: `[..., h, w, 9 n + 9]`, and what its result is added
  to, `[..., h, w, 4]`.

  Of every frame: how it differs from the mean of all, in units of its noise; the logarithm of its noise; validity and
  blur. Then the mean, the Wiener filter, and the mean's standard deviation.

  Where nothing moves the first is noise of variance 1, and the last three are alike, however one total exposure time is
  split: the network cannot help restoring all splits alike. Shown the frames as they are, it weighs them by habit, and
  restores bracketing worse than four equal frames.
  """
  frames = frames.astype(jnp.promote_types(frames.dtype, jnp.float32))
  raw, std, valid = frames[..., :4], frames[..., 4:5], frames[..., 5:6]
  precision = (valid + LITTLE) / std**2
  mean, variance = jnp.sum(precision * raw, -4) / jnp.sum(precision, -4), 1 / jnp.sum(precision, -4)
  merged = wiener_merge(frames, mean, variance)
  # The mean has a part of the frame's own noise in it: the difference varies by that much less.
  own_variance = jnp.maximum(std**2 - variance[..., None, :, :, :], _LEAST_OWN_SHARE * std**2)
  difference = valid * (raw - mean[..., None, :, :, :]) / jnp.sqrt(own_variance)
  difference = _DIFFERENCE_SCALE * jnp.clip(difference, -_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE)
  of_frames = jnp.concatenate([difference, _LOG_STD_SCALE * jnp.log(std), frames[..., 5:]], -1)
  by_pixel = jnp.moveaxis(of_frames, -4, -2).reshape(*mean.shape[:-1], -1)
  # Where no frame is valid it would be a hundred times as large as anywhere else.
  mean_std = jnp.minimum(jnp.sqrt(variance), jnp.max(std, -4))
  return jnp.concatenate([by_pixel, mean, merged, mean_std], -1), merged


def _cells_to_channels(x):
  """`[..., H, W, c] -> [..., H / 2, W / 2, 4 c]`."""
  *leading, height, width, channels = x.shape
  cells = x.reshape(*leading, height // 2, 2, width // 2, 2, channels)
  return jnp.moveaxis(cells, -4, -3).reshape(*leading, height // 2, width // 2, 4 * channels)


def _channels_to_cells(x):
  """The inverse of `_cells_to_channels`."""
  *leading, height, width, channels = x.shape
  cells = x.reshape(*leading, height, width, 2, 2, channels // 4)
  return jnp.moveaxis(cells, -3, -4).reshape(*leading, 2 * height, 2 * width, channels // 4)
