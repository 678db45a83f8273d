"""Optical flow between two previews, and how much motion it means; the motion of a whole burst."""

from debir_jax.motion.burst_flow import WindowedMotion, find_motion
from debir_jax.motion.estimator import FULL_SCALE_PX_PER_S, MotionEstimator, develop_previews
from debir_jax.motion.flow import FlowEstimator, mean_flow_magnitude
from debir_jax.motion.lucas_kanade import LucasKanade
from debir_jax.motion.raft import Raft
from debir_jax.motion.residual_flow import LocalMotion, find_local_motion
from debir_jax.motion.sharp_flow import SharpFlow

__all__ = ["FULL_SCALE_PX_PER_S", "FlowEstimator", "LocalMotion", "LucasKanade", "MotionEstimator", "Raft",
           "SharpFlow", "WindowedMotion", "develop_previews", "find_local_motion", "find_motion", "mean_flow_magnitude"]
