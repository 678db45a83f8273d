"""A run with scenes and a restorer of one's own that compiles little."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from configs import quickstart
from debir_jax.types import BurstTiming, CameraColor, Scene

NUM_SUBFRAMES = BurstTiming.paper().num_subframes(4 * BurstTiming.paper().max_exposure_s)  # For any random times.


def small_config(**fields):
  """The quickstart's smallest run, with exposure times that are learned without a network, and nothing watched."""
  config = quickstart.get_config("debug")
  config.bae.network = "digital_gimbal"
  config.stages = ("stage1", "stage2", "stage3")
  config.evaluation.watched_scenes = 0
  config.comparison.update(dict(finetune=False, headroom_scenes=0))
  config.update_from_flattened_dict(fields)
  return config


class NormedMean(nn.Module):
  """A restorer with BatchNorm: corrects the reference frame by what all frames say."""

  @nn.compact
  def __call__(self, frames, train=False):
    stacked = jnp.moveaxis(frames, -4, -2)
    stacked = stacked.reshape(*stacked.shape[:-2], -1)
    normed = nn.BatchNorm(use_running_average=not train, momentum=0.9)(stacked)
    return frames[..., 0, :, :, :4] + nn.Dense(4, kernel_init=nn.initializers.normal(0.01))(normed)


class WaveScenes:
  """Waves that travel to the right, computed by numpy; notes which scenes it was asked for."""

  def __init__(self, num_scenes=4, crop_size=32, num_subframes=NUM_SUBFRAMES):
    self.crop_size, self.num_subframes, self._num_scenes = crop_size, num_subframes, num_scenes
    self.asked = set()

  def __len__(self):
    return self._num_scenes

  def scene(self, index):
    """Each scene has a speed and a wave length of its own."""
    self.asked.add(index)
    side = self.crop_size // 2
    time, place = np.arange(self.num_subframes)[:, None, None, None], np.arange(side)[None, None, :, None]
    wave = np.sin(place * (1 + 0.3 * index) - time * 0.02 * (1 + index) + np.arange(4))
    radiance = np.broadcast_to(0.3 + 0.2 * wave, (self.num_subframes, side, side, 4))
    return Scene(radiance=jnp.asarray(radiance, jnp.float32), color=CameraColor.neutral(),
                 scene_id=jnp.asarray(index, jnp.int32))


def wave_scenes():
  """Of every split."""
  return dict(restore=WaveScenes(), bae=WaveScenes(), validation=WaveScenes(num_scenes=2),
              test=WaveScenes(num_scenes=3))
