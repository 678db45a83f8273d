"""Under which conditions bursts are taken: timing, noise and the range of gains, and one random draw of them.

One PRNG key stands for one capture. All that is random in it (gain, camera, noise of previews and of the burst) is
derived here, in different tags, so that candidates that are compared share everything but what is compared.
"""

import dataclasses

import jax

from debir_jax.simulator.noise import NoiseModel
from debir_jax.types import BurstTiming

_GAIN_TAG, _CAMERA_TAG, _PREVIEW_TAG, _BURST_TAG, _EXPOSURE_TAG = range(5)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureSetup:
  """The conditions that a model is trained for and evaluated under.

  Attributes:
    timing: see `BurstTiming`.
    noise_model: see `noise.py`.
    min_preview_gain, max_preview_gain: the preview's gain is drawn uniformly in between; linear.
    camera_jitter: draw a camera around the calibration for every capture (`noise_model.sample`), as in training.
    jitter_each_frame: draw one for every frame and preview instead, as the code of the authors' release does.
    black_level: what the sensor counts without light, relative to white less black; 0: none, as in the paper.
  """

  timing: BurstTiming
  noise_model: NoiseModel
  min_preview_gain: float = dataclasses.field(metadata=dict(static=True))
  max_preview_gain: float = dataclasses.field(metadata=dict(static=True))
  camera_jitter: bool = dataclasses.field(default=False, metadata=dict(static=True))
  jitter_each_frame: bool = dataclasses.field(default=False, metadata=dict(static=True))
  black_level: float = dataclasses.field(default=0.0, metadata=dict(static=True))

  def __post_init__(self):
    if not 0 < self.min_preview_gain <= self.max_preview_gain < float("inf"):
      raise ValueError("The range of preview gains must satisfy 0 < min_preview_gain <= max_preview_gain < inf, got "
                       f"{self.min_preview_gain} and {self.max_preview_gain}.")
    if self.camera_jitter and not hasattr(self.noise_model, "sample"):
      raise ValueError(f"camera_jitter needs a noise model with .sample(key); {type(self.noise_model).__name__} has "
                       "none. Use IsoNoise or switch camera_jitter off.")
    if not 0 <= self.black_level < 1:
      raise ValueError(f"black_level={self.black_level} must be a fraction of white, from 0 to below 1.")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureConditions:
  """One random draw of the conditions.

  Attributes:
    preview_gain: linear.
    noise_model: of the camera at hand, as it takes the burst; its parameters may differ by frame, `[n, 1, 1, 1]`.
    preview_noise_model: the same for the previews.
    preview_key, burst_key: noise of previews and burst.
    exposure_key: for exposure times that are drawn at random.
    black_level: see `CaptureSetup`.
  """

  preview_gain: jax.Array
  noise_model: NoiseModel
  preview_noise_model: NoiseModel
  preview_key: jax.Array
  burst_key: jax.Array
  exposure_key: jax.Array
  black_level: float = dataclasses.field(default=0.0, metadata=dict(static=True))


def sample_conditions(key: jax.Array, setup: CaptureSetup) -> CaptureConditions:
  """Draws the conditions of one capture."""
  tagged = lambda tag: jax.random.fold_in(key, tag)
  preview_gain = jax.random.uniform(
      tagged(_GAIN_TAG), minval=setup.min_preview_gain, maxval=setup.max_preview_gain)
  noise_model, preview_noise_model = _cameras(tagged(_CAMERA_TAG), setup)
  return CaptureConditions(
      preview_gain=preview_gain, noise_model=noise_model, preview_noise_model=preview_noise_model,
      preview_key=tagged(_PREVIEW_TAG), burst_key=tagged(_BURST_TAG), exposure_key=tagged(_EXPOSURE_TAG),
      black_level=setup.black_level)


def _cameras(key, setup):
  """Noise models of the burst and of the previews."""
  if not setup.camera_jitter:
    return setup.noise_model, setup.noise_model
  if not setup.jitter_each_frame:
    camera = setup.noise_model.sample(key)
    return camera, camera

  def of_frames(key, count):
    cameras = jax.vmap(setup.noise_model.sample)(jax.random.split(key, count))
    return jax.tree.map(lambda leaf: leaf[:, None, None, None], cameras)

  burst_key, preview_key = jax.random.split(key)
  return of_frames(burst_key, setup.timing.num_frames), of_frames(preview_key, 2)
