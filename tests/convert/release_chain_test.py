"""From a checkpoint's names and arrays to the restored image, as the authors' release computes it, step by step.

Two previews, their motion, BAENet, exposure times, the burst, Burstormer: once through this package with converted
files, once written out in numpy from the facts of the release. Noise is off, so that nothing is drawn. RAFT and
Burstormer have their own comparisons; here they are called on images that were made the other way.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from plain_raft import random_state_dict
import pytest
from released import baenet_state_dict, burstormer_state_dict, slow_baenet
from scipy import ndimage

from debir_jax.convert import burstormer_config, burstormer_params, split_parts
from debir_jax.convert.__main__ import convert, write
from debir_jax.imaging import random_camera_color
from debir_jax.motion import Raft
from debir_jax.policies import observe
from debir_jax.restoration import Burstormer
from debir_jax.simulator import PoissonGaussianNoise, simulate_burst, simulate_previews
from debir_jax.training.experiment import Experiment
from debir_jax.training.runner import trained_state

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SIDE = 128  # Packed px; the least that RAFT takes.
_ISO_AT_1_240_S = 150_000  # The release draws it from 102,400 to 204,800.
_NO_NOISE = PoissonGaussianNoise(0.0, 0.0)
_KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def state_dict():
  """A final checkpoint with small networks; RAFT's steps are so short that motion stays below full scale."""
  raft = random_state_dict("small")
  for leaf in ("weight", "bias"):
    raft[f"update_block.flow_head.conv2.{leaf}"] *= 0.02
  raft = {f"baenet.raft.{name}": array for name, array in raft.items()}
  baenet = baenet_state_dict("baenet.mobilenet.", width=0.25)
  baenet["baenet.mobilenet.classifier.1.weight"] *= 0.2  # No share near its floor.
  return burstormer_state_dict(num_features=8, blocks_per_level=0, fusion_blocks=0) | baenet | raft


@pytest.fixture(scope="module")
def experiment(state_dict, tmp_path_factory):
  """A run with the release's config that starts from the converted files."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(_ROOT))
    from configs import release  # pylint: disable=import-outside-toplevel
    config = release.get_config("debug")
  config.update(dict(
      restorer=dict(deform_groups=8, identity_alignment=False), bae=dict(blocks="mobilenet_v2", width=0.25),
      data=dict(crop_size=2 * _SIDE), motion=dict(full_scale_px_per_s=10 / (41 / 1920)),
      init_from=str(tmp_path_factory.mktemp("weights"))))
  write(convert(state_dict, config), pathlib.Path(config.init_from), overwrite=False)
  return Experiment(config)


@pytest.fixture(scope="module")
def scene():
  """Radiance `[179, h, w, 4]` of waves that drift by a third of a px per subframe, and how to view it."""
  time, y, x = np.ogrid[:179, :_SIDE, :_SIDE]
  waves = [np.sin(0.2 * (x - 0.3 * time) + 0.13 * y + phase) for phase in (0, 1, 2, 3)]
  return (0.3 + 0.2 * np.stack(waves, -1)).astype(np.float32), random_camera_color(jax.random.key(1))


@pytest.fixture(scope="module")
def ours(experiment, scene):
  """What this package computes: (previews, observation, planes, times in s, raw, restored)."""
  radiance, color = scene
  timing, models = experiment.setup.timing, experiment.models
  preview_gain = _ISO_AT_1_240_S / 100 / 2  # At twice the exposure time.
  state = trained_state(experiment, pathlib.Path("unused"))
  policy = experiment.bae_policy(state)
  previews = simulate_previews(_KEY, radiance, preview_gain, _NO_NOISE, timing)
  observation = jax.jit(lambda previews, motion: observe(previews, preview_gain, color, motion, timing))(
      previews, models.motion)
  times = jax.jit(lambda observation: policy(_KEY, observation, timing))(observation)
  raw = simulate_burst(_KEY, radiance, times, preview_gain, _NO_NOISE, timing)
  restored = jax.jit(models.restorer.apply)(state.restoration_variables, raw)
  return previews, observation, policy.inputs(observation), times, raw, restored


def _linear_srgb(packed, color):
  """The release's development: Malvar, white balance, clip, matrix, clip."""
  mosaic = np.zeros((2 * _SIDE, 2 * _SIDE))
  mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = np.moveaxis(packed, -1, 0)
  balanced = np.clip(_malvar(mosaic) * np.asarray(color.white_balance), 0, 1)
  return np.clip(balanced @ np.asarray(color.ccm).T, 0, 1)


def _malvar(mosaic):
  """Fig. 2 of Malvar, He and Cutler (2004), as 5x5 filters of the whole mosaic."""
  green = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
  row = np.array([[0, 0, .5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, .5, 0, 0]]) / 8
  diagonal = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0],
                       [0, 0, -1.5, 0, 0]]) / 8
  at = lambda kernel: ndimage.correlate(mosaic, kernel, mode="mirror")
  y, x = np.indices(mosaic.shape) % 2
  is_red, is_blue, is_gr = (y == 0) & (x == 0), (y == 1) & (x == 1), (y == 0) & (x == 1)
  is_green = ~(is_red | is_blue)
  red = np.where(is_red, mosaic, np.where(is_blue, at(diagonal), np.where(is_gr, at(row), at(row.T))))
  blue = np.where(is_blue, mosaic, np.where(is_red, at(diagonal), np.where(is_gr, at(row.T), at(row))))
  return np.stack([red, np.where(is_green, mosaic, at(green)), blue], axis=-1)


def _srgb(linear):
  return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)


def _halved(image):
  return image.reshape(_SIDE, 2, _SIDE, 2, 3).mean((1, 3))


def test_previews_are_means_of_nine_frames(ours, scene):
  """Frames 0 to 8 and 41 to 49."""
  radiance, _ = scene
  np.testing.assert_allclose(ours[0], [radiance[0:9].mean(0), radiance[41:50].mean(0)], atol=1e-6)


def test_motion_is_rafts_mean_flow_over_ten_px(ours, scene, experiment):
  """20 updates on half-size gamma previews; mean length of the flow, min(m, 10) / 10."""
  images = [jnp.asarray(_halved(_srgb(_linear_srgb(preview, scene[1]))), jnp.float32) for preview in ours[0]]
  raft = jax.jit(lambda variables: Raft("small").apply(variables, *images, num_updates=20))
  flow = np.asarray(raft(experiment.models.motion.variables))
  length = np.mean(np.sqrt((flow**2).sum(-1)))
  assert 0.5 < length < 9  # Neither still nor beyond full scale.
  np.testing.assert_allclose(ours[1].motion_magnitude, min(length, 10) / 10, rtol=1e-4)


def test_planes_are_srgb_motion_and_gain(ours, scene):
  """The later preview at the mosaic's size, the motion, and ISO / 102,400 - 1 of the ISO at 1/240 s."""
  expected = _linear_srgb(ours[0][1], scene[1])
  assert ours[2].shape == (2 * _SIDE, 2 * _SIDE, 5)
  np.testing.assert_allclose(ours[2][..., :3], expected, atol=1e-5)
  np.testing.assert_array_equal(ours[2][..., 3], ours[1].motion_magnitude)
  np.testing.assert_allclose(ours[2][..., 4], _ISO_AT_1_240_S / 102_400 - 1, rtol=1e-6)


def test_times_are_seven_and_a_hundred_shares(ours, state_dict):
  """t = (7 + 100 share) / 1920 s, share = (1 - 4/100) softmax + 1/100 of the first four logits."""
  prefix = "baenet.mobilenet."
  weights = {name.removeprefix(prefix): array for name, array in state_dict.items() if name.startswith(prefix)}
  logits = slow_baenet(weights, ours[2])
  softmax = np.exp(logits) / np.exp(logits).sum()
  shares = (1 - 4 / 100) * softmax[:4] + 1 / 100
  assert np.ptp(shares) > 0.02
  np.testing.assert_allclose(ours[3], (7 + 100 * shares) / 1920, rtol=1e-4)


def test_frames_are_means_that_start_at_entry_57(ours, scene):
  """A frame of k/1920 s is the mean of k - 7 entries; the next one starts k entries later."""
  radiance, start, frames = scene[0].astype(np.float64), 57.0, []
  for subframes in np.asarray(ours[3], np.float64) * 1920:
    end = start + subframes - 7
    weights = np.array([max(0.0, min(end, k + 1) - max(start, k)) for k in range(len(radiance))])
    frames.append(np.einsum("k,khwc->hwc", weights / (subframes - 7), radiance))
    start += subframes
  np.testing.assert_allclose(ours[4], np.clip(frames, 0, 1), atol=1e-5)


def test_the_restored_image_is_burstormers(ours, state_dict):
  """Of the weights at the checkpoint's top level, on the raw frames."""
  weights = split_parts(state_dict)["restorer"]
  expected = jax.jit(Burstormer(**burstormer_config(weights)).apply)(burstormer_params(weights), ours[4])
  assert ours[5].shape == (_SIDE, _SIDE, 4) and np.std(expected) > 1e-3
  np.testing.assert_allclose(ours[5], expected, atol=1e-5)
