"""One run in one place: who sees which scenes, cameras and noise, and what the steps of a stage are given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import NormedMean, small_config, wave_scenes

from debir_jax.evaluation import Method
from debir_jax.policies import BAENetPolicy, uniform
from debir_jax.simulator import IsoNoise
from debir_jax.training import experiment as experiment_lib
from debir_jax.training.experiment import Experiment
from debir_jax.training.losses import Batch
from debir_jax.training.stages import STAGES, stage_named
from debir_jax.types import SampledMotion
from debir_jax.weights.weight_file import BAENET_FILE, RESTORER_FILE, save_weights

_IDS = jnp.arange(3)


@pytest.fixture(scope="module")
def experiment():
  """Evaluation and training have seeds of their own."""
  config = small_config(**{"evaluation.seed": 1, "evaluation.num_draws": 2, "seed": 5, "data.seed": 3,
                           "end_to_end.bae_learning_rate": 3e-5})
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


def test_steps_are_computed_as_the_config_says(monkeypatch):
  """Over which devices, in which parts, and with which loss."""
  given = []
  monkeypatch.setattr(experiment_lib, "Steps", lambda models, setup, optimizers, options: given.append(options))
  Experiment(small_config(**{
      "parallel.shard_state": True, "parallel.num_microbatches": 2, "batch_size": 4, "clamp_loss": True,
      "stage2.noise_draws": 3, "stage2.frame_penalty": 0.5}), restorer=NormedMean(), scenes=wave_scenes())
  (options,) = given
  assert options.shard_state and options.num_microbatches == 2 and options.mesh.size == 1
  assert options.clamp_loss and options.noise_draws == 3 and options.penalties.frame == 0.5


def test_evaluation_and_labels_look_through_the_chain_of_the_config():
  """The restorer sees the planes, and BAENet the motion magnitude, that they see in training."""
  experiment = Experiment(small_config(**{"motion.full_scale_px_per_s": 300.0, "restorer_inputs.noise_map": True}),
                          restorer=NormedMean(), scenes=wave_scenes())
  for chain in (experiment.chain(), experiment.chain(training=True)):
    assert chain.motion.full_scale_px_per_s == 300 and chain.restorer_inputs.noise_map
    assert chain.restorer == NormedMean() and chain.setup.timing == experiment.setup.timing


def test_evaluation_and_labels_draw_other_noise(experiment):
  """By the seed of the evaluation and that of the scenes, whose labels all training seeds share; draws of the
  evaluation are as many as the config says."""
  assert (experiment.evaluator.seed, experiment.label_evaluator(3).seed) == (1, 3)
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


@pytest.fixture(scope="module")
def scenes(experiment):
  """A batch of the config's size."""
  batches = experiment.all_scenes("bae", experiment.config.batch_size)
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches)


def _moved(before, after):
  """Names of the networks whose weights differ."""
  same = lambda name: all(map(np.array_equal, *map(jax.tree.leaves, (getattr(before, name), getattr(after, name)))))
  return {name.removesuffix("_params") for name in ("restoration_params", "bae_params") if not same(name)}


def _labels(experiment):
  """Labels that ask for much longer exposures, on the conditions of the step."""
  times = jnp.full((experiment.config.batch_size, 4), 30 / 1920)
  return lambda scenes, step: Batch(scenes, experiment.steps.conditions(jax.random.key(0), step, len(times)), times)


@pytest.mark.parametrize("name, moved", [
    ("stage1", {"restoration"}), ("stage2_warmup", {"bae"}), ("stage2", {"bae"}), ("stage3", {"restoration"}),
    ("end_to_end", {"restoration", "bae"})])
def test_a_stage_moves_its_networks_at_its_rate_on_its_exposure_times(experiment, state, scenes, name, moved):
  """Halfway through, at the mean of its first and last rate: random times, or those that BAENet predicts."""
  num_steps, stage = 10, STAGES[name]
  experiment.config[name].update(dict(num_steps=num_steps, lr_warmup_steps=0))
  step_fn = experiment.step_fn(stage, _labels(experiment) if name == "stage2_warmup" else None)
  start = experiment.place(state.replace(step=jnp.asarray(num_steps // 2)))
  after, outputs = step_fn(start, scenes)
  assert _moved(state, after) == moved and int(after.step) == num_steps // 2 + 1
  section = experiment.config[name]
  assert outputs["learning_rate"] == pytest.approx((section.learning_rate + section.final_learning_rate) / 2, rel=1e-4)
  if name == "end_to_end":  # BAENet has a rate of its own.
    rates = section.bae_learning_rate, section.bae_final_learning_rate
    assert outputs["bae_learning_rate"] == pytest.approx(sum(rates) / 2, rel=1e-4) != outputs["learning_rate"]
  times, timing = 1920 * np.asarray(outputs["exposure_times"]), experiment.setup.timing
  if name == "stage1":
    assert len(np.unique(times)) == times.size and times.min() >= 8 and times.max() <= 64
  else:  # Of the digital gimbal: equal shares at first, of which one is left over.
    np.testing.assert_allclose(times, 1920 * (timing.min_exposure_s + timing.budget_s / 5 * (1 - 4 / 16)), rtol=1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_sees_motion_where_its_section_says_so(experiment, name):
  """The steps of a stage, of the baselines' fine-tuning too, get scenes with or without their exact motion."""
  scenes = next(experiment.batches("restore", 0))
  scenes = dataclasses.replace(scenes, motion=SampledMotion(flow_px=jnp.zeros((1, 2, 4, 4, 2)), interval_s=0.004))
  section = experiment.config[name]
  for exact in (True, False):
    with section.unlocked():
      before, section.exact_motion = section.exact_motion, exact
    try:
      assert (experiment._as_seen(STAGES[name], scenes).motion is None) != exact
    finally:
      section.exact_motion = before


def test_labels_are_searched_with_the_motion_that_the_warmup_sees(experiment):
  """Evaluation never is."""
  section = experiment.config.stage2_warmup
  before = section.exact_motion
  for exact in (True, False):
    section.exact_motion = exact
    assert experiment.label_evaluator(1)._chain.exact_motion == exact
  section.exact_motion = before
  assert not experiment.evaluator._chain.exact_motion
  assert experiment.evaluator_with(num_draws=1, exact_motion=True)._chain.exact_motion


def test_an_unknown_kind_of_stage_is_refused(experiment):
  with pytest.raises(ValueError, match="Unknown kind of stage 'other'"):
    experiment.step_fn(dataclasses.replace(STAGES["stage1"], kind="other"))


def test_scenes_are_watched_under_three_quarters_of_the_budget_before_baenet_is_trained(experiment, state):
  """Every stage but the first watches BAENet's own times."""
  timing = experiment.setup.timing
  times = experiment.policy_of(STAGES["stage1"])(state)(None, None, timing)
  np.testing.assert_allclose(1920 * times, [24] * 4, rtol=1e-6)
  for name in ("stage2_warmup", "stage2", "stage3", "end_to_end"):
    assert isinstance(experiment.policy_of(STAGES[name])(state), BAENetPolicy)


def test_watched_scenes_are_the_first_of_those_held_out(experiment, state):
  """Means of their PSNR and of what alternate frames make up of them, and a picture of each; none: nothing."""
  assert experiment.watch(state, experiment.policy_of(STAGES["stage1"])) == ({}, {})
  experiment.config.evaluation.watched_scenes = 2
  scalars, images = experiment.watch(state, experiment.policy_of(STAGES["stage1"]))
  experiment.config.evaluation.watched_scenes = 0
  method = Method("by hand", uniform(24 / 1920), state.restoration_variables)
  examples = experiment.evaluator.examples([method], experiment.all_scenes("test", 2), alternate_frame_sensitivity=True)
  assert scalars == pytest.approx({
      "watched_psnr": np.mean([example.psnr for example in examples]),
      "alternate_frame_sensitivity": np.mean([example.alternate_frame_sensitivity for example in examples])})
  assert {name: image.shape for name, image in images.items()} == {
      f"watched/scene_{scene}": (1, 32, 96, 3) for scene in (0, 1)}


def test_a_stage_is_there_once_it_has_checkpoints_or_weights_stand_for_it(experiment, tmp_path):
  """Another stage of the same run is not."""
  assert not experiment.has_stage("stage1", tmp_path)
  (tmp_path / "stage1" / "checkpoints").mkdir(parents=True)
  assert experiment.has_stage("stage1", tmp_path) and not experiment.has_stage("stage2", tmp_path)
  (tmp_path / "restorer.safetensors").write_bytes(b"")
  assert experiment.has_stage("stage2", tmp_path)


def test_a_folder_of_weight_files_stands_for_a_finished_run(experiment, state, tmp_path):
  """Both networks; of stage 1, whose BAENet is not trained yet, the restorer alone."""
  files = dict(restoration=RESTORER_FILE, bae=BAENET_FILE)
  for part, name in files.items():
    saved = jax.tree.map(lambda leaf: leaf + 1, getattr(state, f"{part}_variables"))
    save_weights(tmp_path / name, saved, experiment.compatibility[part])
  for stage, loaded in (("stage1", {"restoration"}), ("stage3", {"restoration", "bae"})):
    found = experiment.load_stage(stage, tmp_path, state)
    for part in files:
      before, after = (getattr(one, f"{part}_variables") for one in (state, found))
      jax.tree.map(lambda x, y: np.testing.assert_allclose(y, x + (part in loaded), rtol=1e-6), before, after)


def test_saturation_is_an_option_of_stage_1(experiment, monkeypatch):
  """Off it changes nothing; on, the first stage alone sees scenes beyond white, others in every step."""
  seen, state = [], type("State", (), dict(step=7))
  monkeypatch.setattr(experiment.steps, "with_saturation", lambda key, step, scenes: seen.append(step) or scenes)
  monkeypatch.setattr(experiment, "_step_fn", lambda stage, labels: lambda state, scenes: None)
  monkeypatch.setattr(experiment, "_as_seen", lambda stage, scenes: scenes)
  for is_on, expected in ((False, []), (True, [7])):
    with experiment.config.unlocked():
      experiment.config.stage1.saturation = is_on
    for name in ("stage1", "stage3"):
      experiment.step_fn(stage_named(name))(state, None)
    assert seen == expected
  experiment.config.stage1.saturation = False
