"""One run in one place: who sees which scenes, cameras and noise, and what the steps of a stage are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import NormedMean, small_config, wave_scenes

from debir_jax.evaluation import Method
from debir_jax.policies import uniform
from debir_jax.simulator import IsoNoise
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES

_IDS = jnp.arange(3)


@pytest.fixture(scope="module")
def experiment():
  """Evaluation and training have seeds of their own."""
  config = small_config(**{"evaluation.seed": 1, "evaluation.num_draws": 2, "seed": 5})
  return Experiment(config, restorer=NormedMean(), scenes=wave_scenes())


@pytest.fixture(scope="module")
def state(experiment):
  return experiment.initial_state()


def test_held_out_scenes_are_measured_with_the_calibrated_camera(experiment):
  """In training and for labels every capture has a camera of its own."""
  for evaluator in (experiment.evaluator, experiment.evaluator_with(num_draws=1)):
    camera = evaluator.conditions(_IDS, 0).noise_model
    jax.tree.map(lambda found, leaf: np.testing.assert_array_equal(found, jnp.broadcast_to(leaf, 3)), camera,
                 IsoNoise())
  assert not experiment.chain().setup.camera_jitter
  for jittered in (experiment.label_evaluator(1).conditions(_IDS, 0),
                   experiment.steps.conditions(jax.random.key(0), jnp.asarray(0), 3)):
    assert len(set(np.asarray(jittered.noise_model.shot_jitter))) == 3


def test_evaluation_and_labels_draw_other_noise(experiment):
  """By the seed of the evaluation and that of the run; draws of the evaluation are as many as the config says."""
  assert (experiment.evaluator.seed, experiment.label_evaluator(3).seed) == (1, 5)
  assert (experiment.evaluator.num_draws, experiment.label_evaluator(3).num_draws) == (2, 3)
  keys = [jax.random.key_data(evaluator.conditions(_IDS, 0).burst_key)
          for evaluator in (experiment.evaluator, experiment.label_evaluator(3))]
  assert not np.any(np.all(keys[0] == keys[1], axis=-1))


def test_gains_of_an_evaluation_can_be_set(experiment):
  """All captures at one gain, else drawn from the config's range."""
  fixed = experiment.evaluator_with(num_draws=1, preview_gain=300.0).conditions(_IDS, 0).preview_gain
  np.testing.assert_array_equal(fixed, 300)
  drawn = experiment.evaluator.conditions(_IDS, 0).preview_gain
  assert len(set(np.asarray(drawn))) == 3 and drawn.min() >= 512 and drawn.max() <= 1024


def test_all_held_out_scenes_are_measured_and_no_others():
  """One record per scene, draw and method, of the split that is held out."""
  scenes = wave_scenes()
  experiment = Experiment(small_config(), restorer=NormedMean(), scenes=scenes)
  variables = experiment.initial_state().restoration_variables
  records = experiment.evaluate([Method("short", uniform(8 / 1920), variables)])
  assert [record.scene_id for record in records] == [0, 1, 2]
  assert scenes["test"].asked == {0, 1, 2} and not scenes["restore"].asked and not scenes["bae"].asked


def test_scenes_come_by_split_number_or_index(experiment):
  """All of a split, the first so many, or those that are named."""
  ids = lambda *which: [int(scene.scene_id[0]) for scene in experiment.all_scenes(*which)]
  assert ids("bae") == [0, 1, 2, 3] and ids("test") == [0, 1, 2] and ids("test", 9) == [0, 1, 2]
  assert ids("bae", 2) == [0, 1] and ids("bae", [3, 1]) == [3, 1]


def test_candidates_are_scored_on_the_first_scenes_of_a_split(experiment, state):
  """As many as are asked for; none: all of them."""
  candidates = np.full((1, 4), 8 / 1920)
  for num_scenes, expected in ((2, [0, 1]), (None, [0, 1, 2]), (7, [0, 1, 2])):
    scores = experiment.score_candidates(
        experiment.evaluator, candidates, "test", state.restoration_variables, num_scenes)
    assert scores.scene_ids.tolist() == expected and scores.psnr.shape == (len(expected), 2, 1)


def test_stages_draw_noise_of_their_own_and_steps_their_own(experiment, state):
  """Else the restorer would be fine-tuned on the bursts that it was pre-trained on."""
  keys = [experiment._stage_key(stage) for stage in STAGES.values()]
  assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == len(STAGES)
  gains = [np.asarray(experiment._conditions(keys[0], state.replace(step=jnp.asarray(step))).preview_gain)
           for step in (0, 1)]
  assert not np.any(np.isclose(*gains))
