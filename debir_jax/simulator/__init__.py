"""The differentiable burst simulator: no parameters, no state, exact gradients to the exposure times."""

from debir_jax.simulator.burst import gains_for, simulate_burst, simulate_previews, target_of
from debir_jax.simulator.capture import CaptureConditions, CaptureSetup, sample_conditions
from debir_jax.simulator.noise import IsoNoise, NoiseModel, PaperNoise, PoissonGaussianNoise, add_noise
from debir_jax.simulator.sensor import clip, quantize
from debir_jax.simulator.shutter import (
                                         burst_windows,
                                         capture_time,
                                         frame_mask,
                                         integrate,
                                         integrate_windows,
                                         preview_starts_after_target,
                                         preview_windows,
                                         starts_after_target,
                                         window_weights,
)

__all__ = [
    "CaptureSetup", "IsoNoise", "NoiseModel", "PaperNoise", "PoissonGaussianNoise", "CaptureConditions", "add_noise",
    "burst_windows", "capture_time", "clip", "sample_conditions", "frame_mask", "gains_for", "integrate",
    "integrate_windows", "preview_starts_after_target", "preview_windows", "quantize", "simulate_burst",
    "simulate_previews", "starts_after_target", "target_of", "window_weights"]
