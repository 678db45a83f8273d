"""Optical flow between two previews, and how much motion it means."""

from debir_jax.motion.flow import FlowEstimator, mean_flow_magnitude
from debir_jax.motion.lucas_kanade import LucasKanade
from debir_jax.motion.raft import Raft

__all__ = ["FlowEstimator", "LucasKanade", "Raft", "mean_flow_magnitude"]
