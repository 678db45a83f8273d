"""Optical flow between two previews, and how much motion it means."""

from debir_jax.motion.flow import FlowEstimator
from debir_jax.motion.flow import mean_flow_magnitude
from debir_jax.motion.lucas_kanade import LucasKanade

__all__ = ["FlowEstimator", "LucasKanade", "mean_flow_magnitude"]
