"""The capture chain, Fig. 1 of the paper, as functions of ONE scene; everybody who needs many uses `jax.vmap`.

  observation = observe_scene(...)                      two previews and the motion between them
  exposure_times = policy(key, observation, timing)     see `policies/`
  burst = capture(...)                                  the frames, at gains of constant brightness
  image = restore(restorer, variables, restorer_inputs(burst, options))

Training, evaluation, the oracle, the sensitivity to exposure times and the front door take these very steps. With real
frames the first and the third are a camera's; the others stay.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.motion import MotionEstimator
from debir_jax.policies import observe
from debir_jax.restoration import Restorer, RestorerInputs
from debir_jax.simulator import (
    CaptureConditions,
    CaptureSetup,
    NoiseModel,
    frame_mask,
    gains_for,
    preview_starts_after_target,
    simulate_burst,
    simulate_previews,
    starts_after_target,
)
from debir_jax.types import Burst, BurstTiming, CameraColor, Observation, Preview, SampledMotion, Scene


def observe_scene(key: jax.Array, radiance: jax.Array, color: CameraColor, preview_gain: jax.Array,
                  noise_model: NoiseModel, timing: BurstTiming, motion: MotionEstimator, *,
                  black_level: float = 0.0) -> Observation:
  """Takes the previews of a scene and measures the motion between them.

  Args:
    key: of the previews' noise; another one than the burst's.
    radiance: `[num_subframes, h, w, 4]`, packed, white = 1.
    color: how to develop the previews.
    preview_gain: g_p, linear.
    noise_model: of the camera.
    timing: see `BurstTiming`.
    motion: what measures the motion.
    black_level: see `simulate_burst`.
  """
  previews = simulate_previews(key, radiance, preview_gain, noise_model, timing, black_level=black_level)
  return observe(previews, preview_gain, color, motion, timing)


def capture(key: jax.Array, radiance: jax.Array, exposure_times: jax.Array, preview_gain: jax.Array,
            noise_model: NoiseModel, timing: BurstTiming, *, black_level: float = 0.0, motion: Any = None) -> Burst:
  """Takes the burst of a scene; differentiable in the exposure times.

  Args:
    key: of the burst's noise.
    radiance: `[num_subframes, h, w, 4]`, packed, white = 1.
    exposure_times: `[n]`, s; 0 leaves a frame out, any but the first.
    preview_gain: g_p, linear, from which the gains follow (Eq. 1).
    noise_model: of the camera.
    timing: see `BurstTiming`.
    black_level: see `simulate_burst`.
    motion: of the scene, where the burst is to know it: `Burst.motion`.
  """
  gains = gains_for(exposure_times, preview_gain, timing)
  raw = simulate_burst(key, radiance, exposure_times, preview_gain, noise_model, timing, gains=gains,
                       black_level=black_level)
  return Burst(raw=raw, exposure_times=jnp.asarray(exposure_times), gains=gains, frame_mask=frame_mask(exposure_times),
               noise_model=noise_model, start_s=starts_after_target(exposure_times, timing), motion=motion)


def capture_under(conditions: CaptureConditions, radiance: jax.Array, exposure_times: jax.Array, timing: BurstTiming, *,
                  motion: Any = None) -> Burst:
  """`capture` under drawn conditions; a burst that is not told its motion brings the later one of its previews.

  Args:
    conditions: of the capture.
    radiance, exposure_times, timing, motion: see `capture`.
  """
  gain, black_level = conditions.preview_gain, conditions.black_level
  burst = capture(conditions.burst_key, radiance, exposure_times, gain, conditions.noise_model, timing,
                  black_level=black_level, motion=motion)
  if motion is not None:
    return burst
  previews = simulate_previews(conditions.preview_key, radiance, gain, conditions.preview_noise_model, timing,
                               black_level=black_level)
  return dataclasses.replace(burst, preview=preview_before(previews, gain, timing))


def preview_before(previews: jax.Array, preview_gain: jax.Array, timing: BurstTiming) -> Preview:
  """The later one of two previews `[2, h, w, 4]`, as a burst right after it knows it."""
  return Preview(raw=previews[1], exposure_time=jnp.float32(timing.preview_exposure_s), gain=jnp.float32(preview_gain),
                 start_s=preview_starts_after_target(timing)[1])


def restorer_inputs(burst: Burst, options: RestorerInputs) -> jax.Array:
  """What the restorer sees of a burst: frames `[n, h, w, c]`."""
  return options(burst)


def restore(restorer: Restorer, variables: Any, inputs: jax.Array) -> jax.Array:
  """The restored image `[h, w, 4]` of `restorer_inputs`; leading axes are a batch."""
  return restorer.apply(variables, inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
  """What every burst goes through, whoever chooses its exposure times: what always travels together.

  Attributes:
    setup: conditions; switch its `camera_jitter` off to evaluate on the calibrated camera.
    restorer: a network for bursts `[B, n, h, w, c]`; hashable, as a Flax module is.
    restorer_inputs: what it sees of a burst.
    motion: where the motion magnitude comes from.
    exact_motion: frames are aligned by the motion that a scene tells, where it tells one; else by what is found in
      them.
  """

  setup: CaptureSetup
  restorer: Restorer
  restorer_inputs: RestorerInputs = RestorerInputs()
  motion: MotionEstimator = MotionEstimator()
  exact_motion: bool = False

  def motion_of(self, scene: Scene) -> SampledMotion | None:
    """What a burst of a scene knows of its motion."""
    return scene.motion if self.exact_motion else None
