"""The smallest networks, scenes and states that steps can be taken with."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from debir_jax.config.networks import Models
from debir_jax.motion import MotionEstimator
from debir_jax.policies import LIGHT_BLOCKS, BaeInputs, BAENet, init_baenet
from debir_jax.restoration import RestorerInputs
from debir_jax.simulator import CaptureSetup, PoissonGaussianNoise
from debir_jax.training.losses import Batch
from debir_jax.training.state import OPTIMIZERS, TrainState, split_variables
from debir_jax.training.steps import StepOptions, Steps
from debir_jax.types import BurstTiming, CameraColor, Scene

TIMING = BurstTiming.paper()
# Little noise, so that no pixel saturates.
SETUP = CaptureSetup(timing=TIMING, noise_model=PoissonGaussianNoise(1e-5, 1e-9), min_preview_gain=16.0,
                     max_preview_gain=32.0)
KEY = jax.random.key(3)
# The rate is 1 and the "optimizer" returns the gradient, so that a step shows the gradient it took.
PLAIN_DESCENT = 1.0


class WeightedMean(nn.Module):
  """The smallest restorer: a learned weight for every frame."""

  @nn.compact
  def __call__(self, frames):
    weights = self.param("kernel", lambda key: jnp.array([0.4, 0.3, 0.2, 0.1]))
    return jnp.einsum("n,...nhwc->...hwc", weights.astype(frames.dtype), frames)


@dataclasses.dataclass(frozen=True)
class DifferenceAsFlow:
  """A flow estimator that compiles in no time."""

  name = "difference"
  preview_rendering = "binned"

  def apply(self, variables, image1, image2):
    """What changed in two of three channels, "px"."""
    del variables
    return (image2 - image1)[..., :2]


def small_bae(kind=BAENet, **fields):
  """A BAENet, or a variant, of two kinds of blocks."""
  return kind(**dict(blocks=LIGHT_BLOCKS[:2], width=0.25, dropout_rate=0.0, norm="group") | fields)


def small_models(bae=None, restorer=WeightedMean(), **fields):
  """Networks that compile fast."""
  return Models(**dict(
      restorer=restorer, restorer_inputs=RestorerInputs(), bae=bae or small_bae(),
      bae_inputs=BaeInputs(min_preview_gain=SETUP.min_preview_gain),
      motion=MotionEstimator(estimator=DifferenceAsFlow(), full_scale_px_per_s=400.0)) | fields)


def small_steps(models, optimizer=optax.identity(), **options):
  """Steps of all networks with one optimizer; without any, a step is the gradient."""
  return Steps(models, SETUP, dict.fromkeys(OPTIMIZERS, optimizer), StepOptions(**options))


def small_scenes(num_scenes=2, side=8, dtype=None):
  """Smooth random motion of a random texture, for bursts of any exposure times."""
  time = jnp.arange(TIMING.num_subframes(TIMING.num_frames * TIMING.max_exposure_s)) / 40
  phase, speed, amplitude = jax.random.uniform(jax.random.key(1), (3, num_scenes, 1, side, side, 4), dtype or float)
  radiance = 0.4 + 0.2 * amplitude * jnp.sin(time[:, None, None, None] * (1 + speed) + 6 * phase)
  color = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_scenes, *leaf.shape)), CameraColor.neutral())
  return Scene(radiance=radiance.astype(phase.dtype), color=color, scene_id=jnp.arange(num_scenes))


def small_state(models, optimizer=optax.identity(), *, side=8, dtype=jnp.float32):
  """A first state."""
  cast = lambda tree: jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
  frames = jnp.zeros((1, TIMING.num_frames, side, side, 4))
  restoration, restoration_stats = split_variables(cast(models.restorer.init(jax.random.key(1), frames)))
  bae, bae_stats = split_variables(cast(init_baenet(jax.random.key(0), models.bae)))
  moved = dict(restoration=restoration, bae=bae, finetune=restoration)
  return TrainState(step=jnp.zeros((), jnp.int32), restoration_params=restoration, restoration_stats=restoration_stats,
                    bae_params=bae, bae_stats=bae_stats,
                    optimizer_states={name: optimizer.init(moved[name]) for name in OPTIMIZERS})


def copy(state):
  """Steps give their input away."""
  return jax.tree.map(jnp.copy, state)


def take(steps, name, state, scenes, learning_rate=PLAIN_DESCENT):
  """One step of this name, on the conditions that follow from the state's step."""
  conditions, state = steps.conditions(KEY, state.step, len(scenes.scene_id)), copy(state)
  if name == "restoration":
    batch = Batch(scenes, conditions, steps.random_exposure_times(conditions))
    return steps.restoration(state, "finetune", batch, learning_rate)
  if name == "warmup":
    return steps.warmup(state, Batch(scenes, conditions, jnp.full((len(scenes.scene_id), 4), 24 / 1920)), learning_rate)
  if name == "end_to_end":
    return steps.end_to_end(state, "finetune", Batch(scenes, conditions), learning_rate, learning_rate)
  return steps.exposure(state, Batch(scenes, conditions), learning_rate)
