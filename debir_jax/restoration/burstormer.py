"""Burstormer for de-noising (https://arxiv.org/abs/2304.01194), as DEBIR restores bursts with it.

`[..., n, H, W, c] -> [..., H, W, out_channels]`: n frames, even, frame 0 is the base that all others are aligned to and
that the result shows. With packed RAW, 4 channels go in and come out, signals relative to white = 1; `RestorerInputs`
adds what else is known of a frame. No skip from input to output but on request, no activation at the end, no clamp: the
image is regressed from features.

Names of the weights follow the published PyTorch module, so that `debir_jax.convert` can import them.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.kernels.dense import gelu
from debir_jax.restoration.alignment import BurstAlignment
from debir_jax.restoration.fusion import BurstFeatureFusion, cyclic_pairs
from debir_jax.restoration.layers import Conv1x1, Conv3x3, draw_weights


class Burstormer(nn.Module):
  """Restores the reference frame of a burst.

  The number of frames fixes the shape of one weight only (`rec_conv1`); input channels are those of the data.

  Attributes:
    num_features: features per frame, f, a multiple of 8. 48 in the paper.
    out_channels: channels of the result.
    blocks_per_level: attention blocks at full and at half size, one number for both or two.
    fusion_blocks: attention blocks in each of the six fusion modules.
    deform_groups: blocks of channels that the alignment moves together. 8 in the published network; fewer make offsets,
      most of a small network's work, cheaper.
    identity_alignment: fresh deformable convolutions hand frames on unchanged, instead of random mixtures. In a small
      random network alternate frames reach the result fifty times more weakly than the reference frame (with this:
      three times), so a short training finds how to restore the reference frame alone.
    global_skip: add the first `out_channels` channels of the reference frame to the result; fresh weights then return
      the reference frame.
    dtype: type to compute in, "bfloat16" or "float32"; None: the type of the burst. Norms, attention weights, sampling
      positions and the result are at least float32, weights are stored as float32.
    remat: what the backward pass computes again instead of storing it. "none"; "blocks": every attention block;
      "stages": every alignment and fusion as a whole, which leaves little more than the features between them. On CPU
      attention blocks always store nothing but their input.
  """

  num_features: int = 48
  out_channels: int = 4
  blocks_per_level: int | tuple[int, int] = (2, 2)
  fusion_blocks: int = 2
  deform_groups: int = 8
  identity_alignment: bool = False
  global_skip: bool = False
  dtype: str | None = None
  remat: str = "none"

  def __post_init__(self):
    if isinstance(self.blocks_per_level, int):  # Networks that are the same are equal, and described alike.
      self.blocks_per_level = (self.blocks_per_level,) * 2
    super().__post_init__()

  def init(self, key, burst):
    """Fresh variables for bursts of this shape, drawn as PyTorch draws them (see `draw_weights`).

    Takes the place of Flax's own, which compiles a generator for every weight: 26 s instead of one. As there, `key` may
    be given as {"params": key}.
    """
    key = key["params"] if isinstance(key, dict) else key
    variables = draw_weights(key, jax.eval_shape(super().init, key, burst))
    if self.identity_alignment:
      variables = jax.tree_util.tree_map_with_path(_identity_where_deformable, variables)
    if self.global_skip:
      variables["params"]["out_conv"] = jax.tree.map(jnp.zeros_like, variables["params"]["out_conv"])
    return variables

  @nn.compact
  def __call__(self, burst):
    self._check(burst)
    features = self.num_features
    frames = burst.astype(self.dtype or burst.dtype)

    frames = Conv3x3(features, use_bias=False, name="conv1")(frames)
    frames = BurstAlignment(self.blocks_per_level, self.fusion_blocks, self.deform_groups, self.remat,
                            name="align")(frames)
    frames = self._fuse(frames, "back_projection1")
    frames = gelu(Conv1x1(2 * features, name="rec_conv1")(frames_to_channels(frames)))
    frames = self._fuse(channels_to_frames(frames, 2), "back_projection2")
    image = gelu(Conv1x1(features, name="rec_conv2")(frames_to_channels(frames)))
    wide = jnp.promote_types(image.dtype, jnp.float32)
    image = Conv3x3(self.out_channels, use_bias=False, dtype=wide, name="out_conv")(image)
    return image + burst[..., 0, :, :, :self.out_channels].astype(wide) if self.global_skip else image

  def _fuse(self, frames, name):
    module = nn.remat(BurstFeatureFusion) if self.remat == "stages" else BurstFeatureFusion
    return module(sign=-1, num_blocks=self.fusion_blocks, remat=self.remat, name=name)(cyclic_pairs(frames))

  def _check(self, burst):
    """Raises a ValueError for a burst or a configuration that the network has no meaning for."""
    if self.num_features < 8 or self.num_features % 8:
      raise ValueError(f"num_features must be a multiple of 8, got {self.num_features}.")
    if self.deform_groups < 1 or self.num_features % self.deform_groups:
      raise ValueError(f"deform_groups must divide num_features={self.num_features}, got {self.deform_groups}.")
    if self.dtype not in (None, "float32", "bfloat16") or self.remat not in ("none", "blocks", "stages"):
      raise ValueError("dtype must be 'float32', 'bfloat16' or None and remat 'none', 'blocks' or 'stages', got "
                       f"{self.dtype!r} and {self.remat!r}.")
    if burst.ndim < 4 or 0 in burst.shape:
      raise ValueError(f"Expected a burst [..., n, H, W, c] that is not empty, got the shape {burst.shape}.")
    num_frames, height, width = burst.shape[-4:-1]
    if num_frames < 2 or num_frames % 2:
      raise ValueError(f"Burstormer fuses frames in pairs: the number of frames must be even, got {num_frames}. "
                       "Drop a frame or repeat one.")
    if height % 4 or width % 4:
      raise ValueError(f"Height and width must be multiples of 4, got {height} x {width}. Pad the frames, e.g. by "
                       "reflection, and crop the result.")
    known = self.variables.get("params", {}).get("rec_conv1", {}).get("kernel")
    if known is not None and known.shape[2] != num_frames * self.num_features:
      raise ValueError(f"These weights belong to bursts of {known.shape[2] / self.num_features:g} frames, got "
                       f"{num_frames}. Use as many frames, or weights that were trained with {num_frames}.")


# The same network at a size for tests, the quickstart and training on a CPU.
light_burstormer = functools.partial(Burstormer, num_features=8, blocks_per_level=1, fusion_blocks=1)


def _identity_where_deformable(path, weight):
  """Replaces a deformable kernel by twice the identity, as fresh masks are 1/2, and its bias by 0."""
  if path[-1].key == "deform_bias":
    return jnp.zeros_like(weight)
  if path[-1].key != "deform_kernel":
    return weight
  identity = jnp.tile(jnp.eye(weight.shape[2], dtype=weight.dtype), weight.shape[3] // weight.shape[2])
  return jnp.zeros_like(weight).at[1, 1].set(2 * identity)


def frames_to_channels(frames):
  """`[..., n, H, W, f] -> [..., H, W, n * f]`, the channels of frame 0 first."""
  images = jnp.moveaxis(frames, -4, -2)
  return images.reshape(images.shape[:-2] + (-1,))


def channels_to_frames(images, num_frames):
  """`[..., H, W, n * f] -> [..., n, H, W, f]`, the inverse of `frames_to_channels`."""
  return jnp.moveaxis(images.reshape(images.shape[:-1] + (num_frames, -1)), -2, -4)
