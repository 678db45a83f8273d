"""What the configs say is what the paper, or the authors' release, says; and each other config changes a handful."""

import pathlib

import pytest

from debir_jax.config.networks import models_of

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_BATCH_SIZE, _RESTORE_SCENES, _BAE_SCENES = 4, 4_092, 1_127  # Sec. 5.1 and 6.


@pytest.fixture
def configs(monkeypatch):
  """The package of the configs."""
  monkeypatch.syspath_prepend(str(_ROOT))
  import configs  # pylint: disable=import-outside-toplevel
  from configs import default, release, stage1, stage2, stage3  # noqa: F401
  return configs


def _steps(epochs, num_scenes):
  return epochs * num_scenes / _BATCH_SIZE


def test_the_default_has_the_paper_s_scenes(configs):
  """Sec. 5.1: 5,219 sequences for training, 4,092 of them for the restorer, the others for BAENet; 532 are held out."""
  data = configs.default.get_config().data
  assert (data.num_restore_scenes, data.num_bae_scenes) == (_RESTORE_SCENES, _BAE_SCENES)
  assert data.num_restore_scenes + data.num_bae_scenes == 5_219 and data.num_test_scenes == 532


def test_the_default_has_the_paper_s_schedule(configs):
  """Sec. 6: 500, 100 and 50 epochs in batches of 4, of which 35 of the second stage are its warm-up."""
  config = configs.default.get_config()
  assert config.batch_size == _BATCH_SIZE and config.stages == ("stage1", "stage2_warmup", "stage2", "stage3")
  assert config.stage1.num_steps == _steps(500, _RESTORE_SCENES)
  assert config.stage2_warmup.num_steps == pytest.approx(_steps(35, _BAE_SCENES), abs=1)
  assert config.stage2_warmup.num_steps + config.stage2.num_steps == _steps(100, _BAE_SCENES)
  assert config.stage3.num_steps == _steps(50, _RESTORE_SCENES)


@pytest.mark.parametrize("stage, first, last", [
    ("stage1", 3e-4, 1e-8), ("stage2_warmup", 1e-7, 1e-8), ("stage2", 1e-7, 1e-8), ("stage3", 1e-5, 1e-7)])
def test_the_default_has_the_paper_s_learning_rates(configs, stage, first, last):
  """Sec. 6: AdamW with cosine annealing, from the first step on."""
  section = configs.default.get_config()[stage]
  assert (section.learning_rate, section.final_learning_rate, section.lr_warmup_steps) == (first, last, 0)


def test_the_default_takes_the_paper_s_bursts(configs):
  """Sec. 4 and 6: four frames of 256x256 px, the paper's timing, BAENet with all of its inputs, no clamp in Eq. 13."""
  config = configs.default.get_config()
  assert (config.capture.num_frames, config.capture.timing, config.data.crop_size) == (4, "paper", 256)
  assert config.bae.use_preview and config.bae.use_gain and config.bae.use_motion
  assert (config.bae.network, config.bae.blocks, config.bae.width) == ("baenet", "mobilenet_v2", 1.0)
  assert config.restorer.num_features == 48 and not config.clamp_loss
  assert config.stage2.exposure_time_penalty == config.stage2.frame_penalty == 0


@pytest.mark.parametrize("name, stages", [
    ("stage1", ("stage1",)), ("stage2", ("stage2_warmup", "stage2")), ("stage3", ("stage3",))])
def test_configs_of_single_stages_change_nothing_else(configs, name, stages):
  """So that stages which are run one by one are those of the default, on the paper's data sets."""
  config = getattr(configs, name).get_config()
  expected = configs.default.on_paper_data(configs.default.get_config(), "")
  assert (config.data.source, config.data.test_source) == ("gopro_debir+realblur_debir", "gopro_debir")
  assert config.stages == stages
  expected.stages = stages
  assert config.to_dict() == expected.to_dict()


def test_the_recipe_for_a_gpu_has_the_paper_s_networks_and_bursts(configs):
  """It differs in how long, where from and in which numbers is trained; first weights are no part of a network."""
  from configs import pretrain
  config, expected = pretrain.get_config(), configs.default.get_config()
  assert config.restorer.to_dict() == expected.restorer.to_dict() | dict(identity_alignment=True)
  assert config.bae.to_dict() == expected.bae.to_dict() | dict(classifier_scale=0.0)
  for field in ("capture", "restorer_inputs", "motion", "batch_size", "stages"):
    assert config[field] == expected[field], field
  assert config.data.crop_size == expected.data.crop_size == 256 and not config.comparison.enabled
  assert config.stage1.learning_rate == expected.stage1.learning_rate


def test_the_recipe_for_several_burst_sizes_differs_from_the_quickstart_in_bursts_and_steps(configs):
  """Same networks for images, same scenes; BAENet is that of several sizes."""
  from configs import burst_sizes, quickstart
  config, expected = burst_sizes.get_config(), quickstart.get_config()
  for section in ("data", "aligned_unet", "restorer", "restorer_inputs", "restoration_optimizer", "bae_optimizer"):
    assert config[section] == expected[section], section
  models = models_of(config)
  assert models.bae.num_frames == 8 and models.burst_sizes == models.bae.burst_sizes == (2, 4, 6, 8)


def test_the_release_has_its_own_schedule_and_rules(configs):
  """50 and 100 epochs of BAENet's scenes, 30 of the restorer's; timing, inputs and metric of its code."""
  config = configs.release.get_config()
  assert config.stage2_warmup.num_steps == pytest.approx(_steps(50, _BAE_SCENES), abs=1)
  assert config.stage2.num_steps == _steps(100, _BAE_SCENES)
  assert config.stage3.num_steps == _steps(30, _RESTORE_SCENES)
  assert (config.capture.timing, config.bae.preview) == ("release", "linear_srgb")
  assert config.motion.estimator == "raft_small" and config.clamp_loss
  evaluation = config.evaluation
  assert (evaluation.border, evaluation.mse_floor, evaluation.lpips_rule) == (10, 1e-6, "release")
