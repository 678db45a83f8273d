"""What users hand in is refused before any work is done, with a sentence that says what to do."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import NormedMean, WaveScenes, small_config, wave_scenes

from debir_jax.policies import uniform
from debir_jax.training import runner, seams
from debir_jax.training.experiment import Experiment


@pytest.fixture
def refused(tmp_path):
  """A function of what is handed in, which must be refused with a message and without a trace in the workdir."""
  def check(message, scenes=None, **given):
    with pytest.raises(ValueError, match=message):
      runner.run(small_config(), tmp_path / "run", scenes=wave_scenes() | (scenes or {}), **given)
    assert not (tmp_path / "run").exists()

  return check


class _FirstFrame(nn.Module):
  """The start of the restorers below."""

  sizes: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, frames):
    scale = self.param("scale", nn.initializers.ones, ())
    return self.seen(scale * frames[..., 0, :, :, :4])

  def seen(self, image):
    """What becomes of the image."""
    return image


class _BranchesOnValues(_FirstFrame):
  def seen(self, image):
    return image if image.mean() > 0.5 else 2 * image


class _UsesNumpy(_FirstFrame):
  def seen(self, image):
    return jnp.asarray(np.asarray(image))


class _HalfTheSize(_FirstFrame):
  def seen(self, image):
    return image[..., ::2, ::2, :]


class _WithoutParams(nn.Module):
  @nn.compact
  def __call__(self, frames):
    self.variable("batch_stats", "mean", jnp.zeros, ())
    return frames[..., 0, :, :, :4]


class _NormedAlways(nn.Module):
  @nn.compact
  def __call__(self, frames):
    return nn.BatchNorm(use_running_average=True)(frames[..., 0, :, :, :4])


@pytest.mark.parametrize("restorer, message", [
    (_FirstFrame(sizes={3: 3}), "(?s)restorer=_FirstFrame.* cannot be hashed.*fields numbers, strings and tuples"),
    (_BranchesOnValues(), "(?s)restorer _BranchesOnValues cannot be traced.*jnp.where or lax.cond"),
    (_UsesNumpy(), "(?s)restorer _UsesNumpy cannot be traced.*jax.numpy in the place of numpy"),
    (_HalfTheSize(), r"restorer _HalfTheSize gives an image \(1, 8, 8, 4\).*expected \(1, 16, 16, 4\), packed RAW"),
    (_WithoutParams(), 'restorer _WithoutParams: init must return variables with a collection "params".*batch_stats'),
    (_NormedAlways(), 'restorer _NormedAlways has batch_stats .*train=True.*Give its __call__ an argument train=False'),
])
def test_a_restorer_that_cannot_be_trained_is_refused(refused, restorer, message):
  """It cannot be hashed, traced, or compared with the target, or has nothing that training could move or keep."""
  refused(message, restorer=restorer)


@dataclasses.dataclass
class _NotFrozen:
  """A policy with a field that anybody may change: no compiled program can belong to it."""

  exposure_time: float = 0.01

  def __call__(self, key, observation, timing):
    return jnp.full(timing.num_frames, self.exposure_time)


def _branches(key, observation, timing):
  return jnp.full(timing.num_frames, 0.01 if observation.motion_magnitude > 0.5 else 0.02)


def _too_few(key, observation, timing):
  return jnp.full(timing.num_frames - 1, 0.01)


@pytest.mark.parametrize("name, policy, message", [
    ("mine", _branches, "(?s)policy 'mine' cannot be traced.*jnp.where or lax.cond in the place of `if`"),
    ("mine", _too_few, r"policy 'mine' gives exposure times \(3,\); expected \[4\], s"),
    ("mine", _NotFrozen(), r"policies\['mine'\]=_NotFrozen.* cannot be hashed.*frozen dataclass"),
    ("DEBIR", uniform(0.01), r"'DEBIR' is taken by 'DEBIR'; choose one .* from DEBIR, bracket \{8,24,40,56\}, uniform"),
    ("uniform 8", uniform(0.01), r"'uniform 8' is taken by 'uniform \{8\}'"),
    ("?", uniform(0.01), r"the name '\?' is none"),
])
def test_a_policy_that_cannot_be_compared_is_refused(refused, name, policy, message):
  """It cannot be traced or hashed, gives something else than a time for every frame, or has no folder of its own."""
  refused(message, restorer=NormedMean(), policies={name: policy})


class _OtherRadiance(WaveScenes):
  """Says that its sequences are longer than they are."""

  def scene(self, index):
    scene = super().scene(index)
    return dataclasses.replace(scene, radiance=scene.radiance[:-1])


@pytest.mark.parametrize("split, source, message", [
    ("test", WaveScenes(crop_size=40), r"scenes\['test'\] has scenes of 40 px.*config.data.crop_size=32.* want"),
    ("bae", _OtherRadiance(), r"scenes\['bae'\] has .*radiance \(357, 16, 16, 4\).*want \(358, 16, 16, 4\)"),
    ("restore", WaveScenes(num_subframes=230), "have 230 subframes, but bursts .* need 358. Set num_subframes=358"),
    ("evaluation", WaveScenes(), "no splits 'evaluation'; scenes can be given for 'restore', 'bae', 'validation'"),
])
def test_scenes_that_bursts_cannot_be_taken_of_are_refused(refused, split, source, message):
  """Of another size, shorter than they say or than bursts are, or for a split that there is not."""
  refused(message, scenes={split: source})


def test_what_keeps_to_the_protocols_passes():
  """Restorer with BatchNorm, function and scenes."""
  restorer, scenes = NormedMean(), wave_scenes()
  experiment = Experiment(small_config(), restorer=restorer, scenes=scenes)
  policies = {"mine": lambda key, observation, timing: jnp.full(timing.num_frames, 0.01)}
  seams.check(experiment, restorer, scenes, policies)
