"""Restoration of a burst: `[..., n, h, w, 4]` noisy frames to one image `[..., h, w, 4]`."""

from debir_jax.kernels.deform_conv import deform_conv2d
from debir_jax.restoration.burst_planes import BurstPlanes
from debir_jax.restoration.burstormer import Burstormer, light_burstormer
from debir_jax.restoration.restorer import Restorer
from debir_jax.restoration.tiles import TiledRestorer, restore_in_tiles

__all__ = ["Burstormer", "BurstPlanes", "Restorer", "TiledRestorer", "deform_conv2d", "light_burstormer",
           "restore_in_tiles"]
