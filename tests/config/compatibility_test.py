"""What networks are recorded as made for, and the refusal to use them for something else."""

import json
import pathlib

import pytest

from debir_jax.config.compatibility import check_compatible, compatibility_of, flatten
from debir_jax.config.networks import models_of, named_motion_of
from debir_jax.training.experiment import Experiment
from debir_jax.weights.descriptions import build_conditions, build_motion, build_predictor, build_restorer

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def config(monkeypatch):
  """The default config at its full crop size."""
  monkeypatch.syspath_prepend(str(_ROOT))
  from configs import default  # pylint: disable=import-outside-toplevel
  return default.get_config()


def _configured(config, estimator, weights=""):
  config.motion.update(dict(estimator=estimator, weights=str(weights)))
  return config


def _compatibility(config):
  return json.loads(json.dumps(compatibility_of(config, models_of(config, motion=named_motion_of(config)))))


def test_what_is_recorded_is_the_estimator_in_use_and_no_path(config):
  """BAENet is tied to the motion meter that it was trained with, not to where its weights lay."""
  config.update(dict(data=dict(photos="builtin", num_restore_scenes=4, num_bae_scenes=4, num_test_scenes=2)))
  experiment = Experiment(_configured(config, "raft_small"))
  recorded = experiment.compatibility["bae"]["trained_for"]["motion"]
  assert recorded == dict(estimator="lucas_kanade", full_scale_px_per_s=config.motion.full_scale_px_per_s)
  assert _compatibility(_configured(config, "raft_small", "a")) == _compatibility(
      _configured(config, "raft_small", "b"))


def test_networks_can_be_built_again_from_what_is_recorded(config):
  """All that a weight file says comes from here."""
  models, recorded = models_of(config, motion=named_motion_of(config)), _compatibility(config)
  assert build_restorer(recorded["restoration"]["architecture"])[1] == models.restorer_inputs
  trained_for = recorded["bae"]["trained_for"]
  module, inputs = build_predictor(recorded["bae"]["architecture"], trained_for["min_preview_gain"])
  assert (module.num_frames, inputs) == (models.bae.num_frames, models.bae_inputs)
  assert build_motion(trained_for["motion"], {}) == models.motion
  assert build_conditions(trained_for) == build_conditions(recorded["restoration"]["trained_for"])


@pytest.mark.parametrize("section, values, parts", (
    ("capture", dict(timing="release"), ["bae", "restoration"]),
    ("capture", dict(noise="poisson_gaussian", camera_jitter=False), ["bae", "restoration"]),
    ("capture", dict(max_preview_gain=2048.0), ["bae", "restoration"]),
    ("capture", dict(black_level=0.1), ["bae", "restoration"]),
    ("restorer", dict(num_features=16), ["restoration"]),
    ("restorer_inputs", dict(noise_map=True), ["restoration"]),
    ("bae", dict(width=0.5), ["bae"]), ("bae", dict(preview="linear_srgb"), ["bae"]),
    ("bae", dict(slack_floor=True), ["bae"]), ("motion", dict(full_scale_px_per_s=1.0), ["bae"]),
    ("motion", dict(estimator="raft_small"), ["bae"]),
    ("bae", dict(dropout_rate=0.5, classifier_scale=0.0), []), ("restorer", dict(identity_alignment=True), []),
    ("compute", dict(dtype="bfloat16", remat="blocks"), []), ("capture", dict(camera_jitter=False), [])), ids=str)
def test_what_changes_the_meaning_of_weights_changes_what_is_recorded(config, section, values, parts):
  """By part; options of training alone change nothing."""
  before = _compatibility(config)
  config[section].update(values)
  after = _compatibility(config)
  assert sorted(part for part in before if before[part] != after[part]) == parts


def test_training_goes_on_under_other_penalties(config):
  """They are recorded, as they choose the burst size in use, but the weights mean the same: see `burst_size.py`."""
  config.capture.update(dict(num_frames=8, burst_sizes=(2, 4, 6, 8)))
  config.bae.network = "burst_size"
  before = _compatibility(config)["bae"]
  config.stage2.update(dict(exposure_time_penalty=0.1, frame_penalty=0.001))
  after = _compatibility(config)["bae"]
  recorded, recorded_before = (found["architecture"]["penalties"] for found in (after, before))
  assert recorded == dict(exposure_time=0.1, frame=0.001) != recorded_before
  check_compatible(before, after, "file")
  with pytest.raises(ValueError, match="architecture.width"):
    check_compatible(before, dict(after, architecture=after["architecture"] | dict(width=0.5)), "file")


def test_descriptions_that_agree_pass_and_every_difference_is_told():
  """Also of what only one of them has, and whatever JSON made of tuples."""
  found = dict(architecture=dict(name="a", sides=[2, 4]), trained_for=dict(noise="iso", gains=dict(low=1.0)))
  check_compatible(found, found | dict(architecture=dict(name="a", sides=(2, 4))), "file")
  wanted = dict(architecture=dict(name="b", sides=(2, 4), depth=3), trained_for=dict(noise="iso", gains=dict(low=2.0)))
  with pytest.raises(ValueError, match="The file was made for something else:") as error:
    check_compatible(found, wanted, "file")
  for line in ("  architecture.name: a there, b here", "  architecture.depth: absent there, 3 here",
               "  trained_for.gains.low: 1.0 there, 2.0 here"):
    assert line in str(error.value).splitlines()
  assert "noise" not in str(error.value) and "sides" not in str(error.value)
  assert "another --workdir or --config.init_from" in str(error.value)
  # A field that is None is no absent field.
  with pytest.raises(ValueError, match="  a: absent there, None here"):
    check_compatible(dict(b=1), dict(a=None, b=1), "file")


@pytest.mark.parametrize("found", (None, {}))
def test_weights_without_a_description_are_refused(found):
  with pytest.raises(ValueError, match="The file does not say what it was trained for"):
    check_compatible(found, dict(name="a"), "file")


def test_leaves_have_dotted_names():
  assert dict(flatten(dict(a=dict(b=dict(c=1), d=[2]), e=None))) == {"a.b.c": 1, "a.d": [2], "e": None}
