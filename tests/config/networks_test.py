"""What a config means: estimators of motion, their weights and what is recorded of them; rules of metrics; scenes."""

import pathlib

import cv2
import jax
import numpy as np
import pytest

from debir_jax.config.compatibility import purposes_of
from debir_jax.config.evaluation import metric_rules_of, patch_restorer_of
from debir_jax.config.networks import flow_of, models_of, restorer_of
from debir_jax.config.scenes import scene_sources_of
from debir_jax.evaluation import MetricRules
from debir_jax.motion import LucasKanade, Raft
from debir_jax.restoration import TiledRestorer
from debir_jax.training.experiment import Experiment
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
  save_weights(folder / "raft.safetensors", variables, {"network": {"name": "raft", "size": "small"}})
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


def test_lucas_kanade_is_the_default_and_needs_no_weights(config):
  assert flow_of(config) == (LucasKanade(), {})


def test_raft_takes_its_weights_from_the_file(config, variables, weight_folder):
  """The estimator and the arrays of the file are those of the models."""
  models = models_of(_configured(config, "raft_small", weight_folder / "raft.safetensors"))
  assert models.flow_estimator == Raft("small")
  jax.tree.map(lambda found, saved: (found == saved).all() or pytest.fail(), models.flow_variables, variables)


@pytest.mark.parametrize("estimator", ("raft_small", "raft_large"))
def test_raft_without_weights_becomes_lucas_kanade_and_says_so(config, estimator, capsys):
  """Nothing is downloaded, and nobody is left in the belief that RAFT measured."""
  assert flow_of(_configured(config, estimator)) == (LucasKanade(), {})
  assert f"config.motion.weights names no file for {estimator}: Lucas-Kanade" in capsys.readouterr().err


def test_what_is_recorded_is_the_estimator_in_use_and_no_path(config):
  """BAENet is tied to the motion meter that it was trained with, not to where its weights lay."""
  config.update(dict(data=dict(num_restore_scenes=4, num_bae_scenes=4, num_eval_scenes=2)))
  experiment = Experiment(_configured(config, "raft_small"))
  recorded = experiment.purposes["bae"]["motion"]
  assert recorded == dict(estimator="lucas_kanade", full_scale_px_per_s=config.motion.full_scale_px_per_s)
  assert purposes_of(_configured(config, "raft_small", "a"), "raft_small") == purposes_of(
      _configured(config, "raft_small", "b"))


@pytest.mark.parametrize("estimator, weights, error, message", (
    ("raft", "", ValueError, "choose one of 'lucas_kanade', 'raft_small', 'raft_large'"),
    ("raft_small", "nowhere", FileNotFoundError, "no weights at .*nowhere"),
    ("raft_large", "raft.safetensors", ValueError, r"not for .*'raft_large': it holds .*'small'.* not of .*'large'"),
    ("raft_small", "other.safetensors", ValueError, "it holds weights of None"),
    ("lucas_kanade", "raft.safetensors", ValueError, "of no use to config.motion.estimator='lucas_kanade'")))
def test_weights_that_do_not_fit_are_refused(config, weight_folder, estimator, weights, error, message):
  """A missing file, one of another size, one of another network, and one that nobody asked for."""
  with pytest.raises(error, match=message):
    flow_of(_configured(config, estimator, weight_folder / weights if weights else ""))


def test_crops_that_are_too_small_for_the_estimator_are_refused_before_training(config, weight_folder):
  """Previews have half the size of the mosaic, and RAFT needs 128 px."""
  config.data.crop_size = 224
  with pytest.raises(ValueError, match=r"got \(112, 112\); use larger crops"):
    flow_of(_configured(config, "raft_small", weight_folder / "raft.safetensors"))


def test_raft_finds_its_weights_in_the_folder_that_a_run_starts_from(config, variables, weight_folder):
  """Converted weights lie together, so that `init_from` is enough; for Lucas-Kanade the file is of no interest."""
  config.init_from = str(weight_folder)
  estimator, found = flow_of(_configured(config, "raft_small"))
  assert estimator == Raft("small")
  jax.tree.map(lambda found, saved: (found == saved).all() or pytest.fail(), found, variables)
  assert flow_of(_configured(config, "lucas_kanade")) == (LucasKanade(), {})


def test_the_release_config_measures_by_the_release_rules(config):
  """The default differs in floor and LPIPS."""
  from configs import release  # pylint: disable=import-outside-toplevel
  assert metric_rules_of(release.get_config()) == MetricRules.release()
  assert metric_rules_of(config) == MetricRules(border=10)


def test_patches_are_given_in_px_of_the_mosaic(config):
  """Restored in packed px; none where none are asked for."""
  restorer = restorer_of(config)
  assert patch_restorer_of(config, restorer) is None
  config.evaluation.update(dict(patch_size=64, patch_overlap=16))
  assert patch_restorer_of(config, restorer) == TiledRestorer(restorer, tile_size=32, overlap=8)


@pytest.mark.parametrize("size, overlap", [(60, 0), (264, 0), (64, 40), (64, 4), (-64, 0)])
def test_patches_that_do_not_fit_are_refused(config, size, overlap):
  config.evaluation.update(dict(patch_size=size, patch_overlap=overlap))
  with pytest.raises(ValueError, match=f"patch_size={size} and patch_overlap={overlap}.*crop_size=256"):
    patch_restorer_of(config, restorer_of(config))


@pytest.mark.parametrize("timing, second_start", [("paper", 176), ("release", 179)])
def test_held_out_scenes_are_windows_of_clips_on_request(config, tmp_path, timing, second_start):
  """Paper: a burst starts 80 subframes into a window, at a frame that is no interpolation. Release: windows as cut."""
  (tmp_path / "clip").mkdir()
  frame = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
  for number in range(3 * 179):
    (tmp_path / "clip" / f"{number:06d}.png").write_bytes(frame)
  config.data.update(dict(eval_clips=str(tmp_path), num_eval_scenes=5))
  config.capture.timing = timing
  source = scene_sources_of(config)["eval"]
  assert [source.window(i) for i in range(len(source))] == [("clip", 0), ("clip", second_start)]
  assert source.scene(1).radiance.shape == (dict(paper=230, release=179)[timing], 16, 24, 4)
