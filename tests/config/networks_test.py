"""Which networks a config means, what they see, and by which estimator and weights motion is measured."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.config.networks import (
  bae_inputs_of,
  bae_of,
  bae_policy_of,
  models_of,
  motion_of,
  named_motion_of,
  penalties_of,
  restorer_inputs_of,
  restorer_of,
)
from debir_jax.motion import FULL_SCALE_PX_PER_S, LucasKanade, MotionEstimator, Raft
from debir_jax.policies import (
  LIGHT_BLOCKS,
  ActiveSL,
  BaeInputs,
  BAENet,
  BurstPenalty,
  BurstSizeBAENet,
  DigitalGimbal,
)
from debir_jax.restoration import AlignedUNet, Burstormer, RestorerInputs
from debir_jax.weights.weight_file import save_weights

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def variables():
  """Random weights of the small network."""
  return Raft("small").init(jax.random.key(0))


@pytest.fixture(scope="module")
def weight_folder(variables, tmp_path_factory):
  """With a file for RAFT and one that does not say what it is for."""
  folder = tmp_path_factory.mktemp("weights")
  save_weights(folder / "raft.safetensors", variables, {"architecture": {"name": "raft", "size": "small"}})
  save_weights(folder / "other.safetensors", variables, {})
  return folder


@pytest.fixture
def config(monkeypatch):
  """The default config at its full crop size."""
  monkeypatch.syspath_prepend(str(_ROOT))
  from configs import default  # pylint: disable=import-outside-toplevel
  return default.get_config()


def _configured(config, estimator, weights=""):
  config.motion.update(dict(estimator=estimator, weights=str(weights)))
  return config


def test_the_default_networks_are_the_papers(config):
  """Burstormer on RAW alone, BAENet on preview, gain and motion, for four frames."""
  models = models_of(config)
  assert models.restorer == restorer_of(config) == Burstormer(blocks_per_level=2, dtype="float32")
  assert models.restorer_inputs == RestorerInputs() and models.burst_sizes == ()
  assert models.bae == BAENet(axis_name=models.bae.axis_name) and models.bae.num_frames == 4
  assert models.bae_inputs == BaeInputs(min_preview_gain=512.0) and models.bae_inputs.num_channels == 6


@pytest.mark.parametrize("network, num_frames, expected", (
    ("baenet", 4, BAENet(slack_floor=True, blocks=LIGHT_BLOCKS, width=0.5)),
    ("uniform_exposure", 6, BAENet(num_frames=6, uniform_exposure=True, slack_floor=True, blocks=LIGHT_BLOCKS,
                                   width=0.5)),
    ("digital_gimbal", 4, DigitalGimbal(slack_floor=True)),
    ("active_sl", 2, ActiveSL(num_pairs=16, slack_floor=True, blocks=LIGHT_BLOCKS, width=0.5)),
    ("burst_size", 8, BurstSizeBAENet(penalties=BurstPenalty(exposure_time=0.1, frame=0.02), slack_floor=True,
                                      blocks=LIGHT_BLOCKS, width=0.5))))
def test_names_mean_networks_with_the_options_of_the_config(config, network, num_frames, expected):
  """Each with those that it has; sizes and penalties for the one that chooses among sizes."""
  config.bae.update(dict(network=network, slack_floor=True, blocks="light", width=0.5))
  config.capture.num_frames = num_frames
  config.capture.burst_sizes = (2, 4, 6, 8) if network == "burst_size" else ()
  config.stage2.update(dict(exposure_time_penalty=0.1, frame_penalty=0.02))
  found = bae_of(config)
  assert found == (expected.clone(axis_name=found.axis_name) if hasattr(expected, "axis_name") else expected)
  assert type(found) is type(expected)


def test_a_network_for_aligned_frames_wants_them(config):
  """Its fields are those of config.aligned_unet; rematerialisation is the Burstormer's."""
  config.restorer.network = "aligned_unet"
  with pytest.raises(ValueError, match="set config.restorer_inputs.aligned=True"):
    restorer_of(config)
  config.restorer_inputs.aligned = True
  config.aligned_unet.update(dict(num_features=16, blocks_per_level=1))
  assert restorer_of(config) == AlignedUNet(num_features=16, blocks_per_level=1, dtype="float32")
  config.compute.remat = "blocks"
  with pytest.raises(ValueError, match="config.compute.remat='blocks' is of the Burstormer"):
    restorer_of(config)
  config.restorer.network = "unet"
  with pytest.raises(ValueError, match="restorer.network='unet'.*burstormer.*aligned_unet"):
    restorer_of(config)


def test_inputs_and_penalties_are_those_of_the_config(config):
  """Switches of BAENet's inputs, planes of the restorer; a frame mask where bursts have several sizes."""
  config.bae.update(dict(preview="linear_srgb", use_gain=False))
  config.capture.min_preview_gain = 600.0
  assert bae_inputs_of(config) == BaeInputs(min_preview_gain=600.0, preview="linear_srgb", use_gain=False)
  config.restorer_inputs.noise_map = True
  assert restorer_inputs_of(config) == RestorerInputs(noise_map=True)
  config.capture.update(dict(num_frames=4, burst_sizes=(2, 4)))
  assert restorer_inputs_of(config) == RestorerInputs(noise_map=True, frame_mask=True)
  assert models_of(config).burst_sizes == (2, 4)
  config.restorer.network = "aligned_unet"
  config.restorer_inputs.update(dict(noise_map=False, aligned=True))  # Whose validity tells what was taken.
  assert models_of(config).restorer_inputs == RestorerInputs(aligned=True)
  config.stage2.update(dict(exposure_time_penalty=0.3, frame_penalty=0.4))
  assert penalties_of(config) == BurstPenalty(exposure_time=0.3, frame=0.4)


@pytest.mark.parametrize("section, values, message", (
    ("bae", dict(network="one_time"), r"config.bae.network='one_time'; choose one of 'baenet', 'uniform_exposure'"),
    ("bae", dict(blocks="heavy"), r"config.bae.blocks='heavy'; choose one of 'mobilenet_v2', 'light'"),
    ("bae", dict(preview="srgb"), r"kind of preview 'srgb'"),
    ("bae", dict(use_preview=False, use_gain=False, use_motion=False), r"config.bae"),
    ("bae", dict(network="burst_size"), r"capture.burst_sizes, which is empty"),
    ("stage2", dict(frame_penalty=-0.1), r"config.stage2.frame_penalty=-0.1"),
    ("stage2", dict(exposure_time_penalty=float("nan")), r"config.stage2.exposure_time_penalty=nan")))
def test_fields_that_mean_nothing_are_refused(config, section, values, message):
  """With the field's name and, where it is one of several, all that it may be."""
  config[section].update(values)
  with pytest.raises(ValueError, match=message):
    models_of(config)
    penalties_of(config)


def test_a_restorer_and_motion_that_are_given_take_their_places(config):
  """All else stays as it is configured."""
  class MyRestorer:
    pass

  restorer, motion = MyRestorer(), MotionEstimator(full_scale_px_per_s=1.0)
  models, configured = models_of(config, restorer=restorer, motion=motion), models_of(config)
  assert models.restorer is restorer and models.motion is motion
  assert (models.bae, models.bae_inputs, models.restorer_inputs) == (
      configured.bae, configured.bae_inputs, configured.restorer_inputs)


def test_a_trained_baenet_sees_what_the_config_says(config):
  """As a policy with the network, the weights and the inputs of the models."""
  models, variables = models_of(config), {"params": {"kernel": jnp.ones(2)}}
  policy = bae_policy_of(models, variables)
  assert (policy.module, policy.inputs) == (models.bae, models.bae_inputs) and policy.variables is variables


def test_lucas_kanade_is_the_default_and_needs_no_weights(config):
  """At the release's full scale."""
  assert motion_of(config) == MotionEstimator(estimator=LucasKanade(), variables={})
  config.motion.full_scale_px_per_s = 100.0
  assert FULL_SCALE_PX_PER_S != motion_of(config).full_scale_px_per_s == 100.0


def test_raft_takes_its_weights_from_the_file(config, variables, weight_folder):
  """The estimator and the arrays of the file are those of the models."""
  models = models_of(_configured(config, "raft_small", weight_folder / "raft.safetensors"))
  assert models.motion.estimator == Raft("small")
  jax.tree.map(np.testing.assert_array_equal, models.motion.variables, variables)


@pytest.mark.parametrize("estimator", ("raft_small", "raft_large"))
def test_raft_without_weights_becomes_lucas_kanade_and_says_so(config, estimator, capsys):
  """Nothing is downloaded, and nobody is left in the belief that RAFT measured."""
  assert motion_of(_configured(config, estimator)) == MotionEstimator(estimator=LucasKanade(), variables={})
  assert f"config.motion.weights names no file for {estimator}: Lucas-Kanade" in capsys.readouterr().err


def test_an_estimator_can_be_named_without_its_weights(config):
  """To describe what a network was trained with, where the weights are elsewhere."""
  config.motion.full_scale_px_per_s = 100.0
  assert named_motion_of(_configured(config, "raft_large", "nowhere")) == MotionEstimator(
      estimator=Raft("large"), full_scale_px_per_s=100.0)


@pytest.mark.parametrize("estimator, weights, error, message", (
    ("raft", "", ValueError, "choose one of 'lucas_kanade', 'raft_small', 'raft_large'"),
    ("raft_small", "nowhere", FileNotFoundError, "no weights at .*nowhere"),
    ("raft_large", "raft.safetensors", ValueError, r"not for .*'raft_large': it holds .*'small'.* not of .*'large'"),
    ("raft_small", "other.safetensors", ValueError, "it holds weights of None"),
    ("lucas_kanade", "raft.safetensors", ValueError, "of no use to config.motion.estimator='lucas_kanade'")))
def test_weights_that_do_not_fit_are_refused(config, weight_folder, estimator, weights, error, message):
  """A missing file, one of another size, one of another network, and one that nobody asked for."""
  with pytest.raises(error, match=message):
    motion_of(_configured(config, estimator, weight_folder / weights if weights else ""))


def test_crops_that_are_too_small_for_the_estimator_are_refused_before_training(config, weight_folder):
  """Previews have half the size of the mosaic, and RAFT needs 128 px."""
  config.data.crop_size = 224
  with pytest.raises(ValueError, match=r"got \(112, 112\); use larger crops"):
    motion_of(_configured(config, "raft_small", weight_folder / "raft.safetensors"))


def test_raft_finds_its_weights_in_the_folder_that_a_run_starts_from(config, variables, weight_folder):
  """Converted weights lie together, so that `init_from` is enough; for Lucas-Kanade the file is of no interest."""
  config.init_from = str(weight_folder)
  motion = motion_of(_configured(config, "raft_small"))
  assert motion.estimator == Raft("small")
  jax.tree.map(np.testing.assert_array_equal, motion.variables, variables)
  assert motion_of(_configured(config, "lucas_kanade")) == MotionEstimator(estimator=LucasKanade(), variables={})
