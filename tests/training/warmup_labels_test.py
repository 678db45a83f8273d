"""Pseudo-ground-truth: BAENet sees the very capture that its label was found on, and labels are found once."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import NormedMean, WaveScenes, small_config, wave_scenes

from debir_jax.evaluation.candidates import CandidateScores
from debir_jax.policies import candidate_set
from debir_jax.simulator import simulate_burst, target_of
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES
from debir_jax.training.warmup_labels import warmup_labels

_STAGE, _NUM_SCENES, _NUM_DRAWS = STAGES["stage2_warmup"], 4, 3


@pytest.fixture(scope="module")
def experiment():
  """A run whose bae scenes get labels of several draws; cameras are jittered, as in training."""
  config = small_config(**{"stage2_warmup.label_draws": _NUM_DRAWS})
  return Experiment(config, restorer=NormedMean(), scenes=wave_scenes())


@pytest.fixture(scope="module")
def scenes(experiment):
  """All scenes of the split as one batch."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *experiment.all_scenes("bae"))


@pytest.fixture(scope="module")
def variables(experiment):
  """Of a fresh restorer."""
  return experiment.initial_state().restoration_variables


@pytest.fixture(scope="module")
def labelled(experiment, variables, tmp_path_factory):
  """The labels, and the folder they are kept in."""
  folder = tmp_path_factory.mktemp("labels") / "run" / "stage2_warmup"  # Not there yet.
  return warmup_labels(experiment, _STAGE, variables, folder), folder


def _losses_of_candidates(experiment, variables, scene, conditions):
  """L1 of every candidate on one capture, taken and restored without evaluator and chain."""
  timing = experiment.setup.timing

  def loss_of(times):
    raw = simulate_burst(conditions.burst_key, scene.radiance, times, conditions.preview_gain, conditions.noise_model,
                         timing)
    return jnp.mean(jnp.abs(experiment.models.restorer.apply(variables, raw) - target_of(scene.radiance, timing)))

  return jax.vmap(loss_of)(jnp.asarray(candidate_set(timing).exposure_times, jnp.float32))


def test_the_label_is_the_best_candidate_on_the_capture_that_baenet_sees(experiment, scenes, variables, labelled):
  """Whatever the step: all of the set E are taken of the batch's own gains, cameras and noise, and compared."""
  labels, _ = labelled
  losses_of = jax.jit(jax.vmap(lambda scene, one: _losses_of_candidates(experiment, variables, scene, one)))
  candidates, seen = candidate_set(experiment.setup.timing).exposure_times, set()
  for step in range(_NUM_DRAWS + 1):
    batch = labels(scenes, jnp.asarray(step))
    best = np.argmin(np.asarray(losses_of(batch.scenes, batch.conditions)), axis=1)
    np.testing.assert_allclose(batch.exposure_times, candidates[best], rtol=1e-6)
    seen.add(tuple(best.tolist()))
  assert len(seen) == _NUM_DRAWS  # Labels of the draws differ, else mixed up draws would pass.


def test_every_draw_is_seen_in_turn_under_the_conditions_of_training(experiment, scenes, labelled):
  """Gains and cameras differ from draw to draw, and come again."""
  labels, _ = labelled
  gains = [tuple(np.asarray(labels(scenes, jnp.asarray(step)).conditions.preview_gain)) for step in range(6)]
  assert len(set(gains)) == _NUM_DRAWS and gains[:3] == gains[3:]
  cameras = labels(scenes, jnp.asarray(0)).conditions.noise_model
  assert experiment.setup.camera_jitter and len(set(np.asarray(cameras.shot_jitter))) == _NUM_SCENES


def _planted(best, best_by_psnr=None, **fields):
  """An experiment whose candidates are as good as planted; what it hands on as conditions says for what."""
  l1, minus_psnr = (np.where(np.arange(5) == indices[..., None], 0.1, 0.2)
                    for indices in (best, best if best_by_psnr is None else best_by_psnr))
  scores = CandidateScores(candidates=np.zeros((5, 4)), scene_ids=np.arange(len(best)),
                           preview_gain=np.ones(best.shape), psnr=-minus_psnr, l1=l1)
  evaluator = types.SimpleNamespace(conditions=lambda scene_ids, draw: (scene_ids, draw))
  return types.SimpleNamespace(
      config=small_config(**{"stage2_warmup.label_draws": best.shape[1]} | fields), compatibility=dict(restoration={}),
      scenes=dict(bae=WaveScenes(len(best))),
      label_evaluator=lambda num_draws: evaluator, score_candidates=lambda *args: scores)


def test_labels_are_looked_up_by_scene_and_draw(tmp_path):
  """Also where a batch holds some of the scenes in another order, and after an interruption, from the file."""
  best = np.random.default_rng(0).integers(5, size=(6, 4))
  experiment = _planted(best)
  candidates = candidate_set(Experiment(small_config()).setup.timing).exposure_times
  ids = jnp.array([4, 1, 1, 5])
  for _ in range(2):
    labels = warmup_labels(experiment, _STAGE, None, tmp_path)
    for step in range(9):
      batch = labels(types.SimpleNamespace(scene_id=ids), step)
      np.testing.assert_allclose(batch.exposure_times, candidates[best[ids, step % 4]], rtol=1e-6)
      assert batch.conditions == (ids, step % 4) or batch.conditions[1] == step % 4
    experiment.score_candidates = None  # The second time they are read.


@pytest.mark.parametrize("metric", ("l1", "psnr"))
def test_the_label_is_best_by_the_metric_of_the_config(tmp_path, metric, capsys):
  """Where the two disagree on every capture; how often each candidate is best is told, also of those that never are."""
  by = dict(l1=np.array([[0], [1], [4]]), psnr=np.array([[2], [3], [0]]))
  experiment = _planted(by["l1"], by["psnr"], **{"stage2_warmup.label_metric": metric})
  batch = warmup_labels(experiment, _STAGE, None, tmp_path)(types.SimpleNamespace(scene_id=jnp.arange(3)), 0)
  candidates = candidate_set(Experiment(small_config()).setup.timing).exposure_times
  np.testing.assert_allclose(batch.exposure_times, candidates[by[metric][:, 0]], rtol=1e-6)
  told = capsys.readouterr().err.splitlines()[-1].partition("labels: ")[2]
  counts = [int(part.rpartition(": ")[2]) for part in told.split(", ")]
  assert counts == dict(l1=[1, 1, 0, 0, 1], psnr=[1, 0, 1, 1, 0])[metric]


@pytest.mark.parametrize("change", ("restorer", "draws", "metric", "gains", "scenes"))
def test_labels_that_something_else_was_made_of_are_refused(experiment, variables, labelled, change):
  """Another restorer, other scenes or settings; the message names the file and the way on."""
  _, folder = labelled
  found = json.loads((folder / "labels.json").read_text())
  assert np.shape(found["best"]) == (_NUM_SCENES, _NUM_DRAWS) and len(found["candidates"]) == 5
  fields = dict(draws={"stage2_warmup.label_draws": 2}, metric={"stage2_warmup.label_metric": "psnr"},
                gains={"capture.max_preview_gain": 900.0}).get(change, {})
  config = small_config(**{"stage2_warmup.label_draws": _NUM_DRAWS} | fields)
  scenes = wave_scenes() | (dict(bae=WaveScenes(5)) if change == "scenes" else {})
  other = Experiment(config, restorer=NormedMean(), scenes=scenes)
  if change == "restorer":
    variables = jax.tree.map(lambda leaf: leaf + 1e-6, variables)
  with pytest.raises(ValueError, match="labels.json was made with another restorer, .* Delete it"):
    warmup_labels(other, _STAGE, variables, folder)
