"""How a config measures restored images: rules of the metrics, LPIPS, and restoration in patches."""

import pathlib

import pytest

from debir_jax.config.evaluation import metric_rules_of, metrics_of, patch_restorer_of
from debir_jax.config.networks import restorer_of
from debir_jax.evaluation import MetricRules
from debir_jax.evaluation.evaluate import Metrics
from debir_jax.restoration import TiledRestorer

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def config(monkeypatch):
  """The default config at its full crop size."""
  monkeypatch.syspath_prepend(str(_ROOT))
  from configs import default  # pylint: disable=import-outside-toplevel
  return default.get_config()


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


def test_metrics_are_rules_lpips_and_patches(config):
  """LPIPS is left out without a file of its weights, and a file that is missing is an error."""
  restorer = restorer_of(config)
  config.evaluation.update(dict(border=4, mse_floor=1e-6, patch_size=64))
  assert metrics_of(config, restorer) == Metrics(
      rules=MetricRules(border=4, mse_floor=1e-6), lpips=None,
      patch_restorer=TiledRestorer(restorer, tile_size=32, overlap=0))
  config.evaluation.lpips = "nowhere/lpips.safetensors"
  with pytest.raises(FileNotFoundError, match="no weights at nowhere"):
    metrics_of(config, restorer)


def test_an_unknown_rule_for_lpips_is_refused(config):
  config.evaluation.lpips_rule = "unpublished"
  with pytest.raises(ValueError, match="'published', 'release', got 'unpublished'"):
    metric_rules_of(config)
