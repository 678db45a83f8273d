"""Restoration of a burst: `[..., n, h, w, 4]` noisy frames to one image `[..., h, w, 4]`."""

from debir_jax.kernels.deform_conv import deform_conv2d
from debir_jax.restoration.aligned_inputs import NUM_ALIGNED_CHANNELS, aligned_planes
from debir_jax.restoration.aligned_unet import AlignedUNet
from debir_jax.restoration.burstormer import Burstormer, light_burstormer
from debir_jax.restoration.restorer import Restorer, apply_in_training
from debir_jax.restoration.restorer_inputs import RestorerInputs
from debir_jax.restoration.tiles import TiledRestorer, restore_in_tiles

__all__ = ["AlignedUNet", "Burstormer", "NUM_ALIGNED_CHANNELS", "Restorer", "RestorerInputs", "TiledRestorer",
           "aligned_planes", "apply_in_training", "deform_conv2d", "light_burstormer", "restore_in_tiles"]
