"""Laws of the evaluator: common random numbers, one program for all, clear errors."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.evaluation import Evaluator, Method, evaluate, metrics, pseudo_ground_truth, summarize
from debir_jax.evaluation.evaluate import Metrics
from debir_jax.evaluation.summary import format_table
from debir_jax.imaging import view
from debir_jax.motion import MotionEstimator
from debir_jax.pipeline import Chain
from debir_jax.policies import Fixed, candidate_set
from debir_jax.simulator import CaptureSetup, IsoNoise, simulate_burst, target_of
from debir_jax.types import BurstTiming, CameraColor, Scene

TIMING = BurstTiming.paper(num_frames=2)
NUM_SUBFRAMES = TIMING.num_subframes(TIMING.budget_s)
NUM_SCENES, NUM_DRAWS, SIDE = 5, 2, 12


class WeightedMean(nn.Module):
  """The smallest restorer: a weighted mean of the frames."""

  num_traces = 0

  @nn.compact
  def __call__(self, raw):
    WeightedMean.num_traces += 1
    weights = self.param("weights", nn.initializers.ones, (TIMING.num_frames,))
    return jnp.einsum("n,...nhwc->...hwc", jax.nn.softmax(weights), raw)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Brightest:
  """A policy with a parameter, which looks at the preview and draws at random."""

  scale: jax.Array

  def __call__(self, key, observation, timing):
    share = jnp.clip(self.scale * observation.previews.mean() + 0.01 * jax.random.uniform(key), 0, 1)
    return timing.min_exposure_s + share * jnp.array([0.5, 1.0]) * 16 / 1920


@dataclasses.dataclass(frozen=True)
class DifferenceAsFlow:
  """A flow estimator that compiles in no time; its variable scales the flow."""

  name = "difference"
  preview_rendering = "binned"

  def apply(self, variables, image1, image2):
    return variables["scale"] * (image2 - image1)[..., :2]


def _times(*counts):
  return tuple(count / 1920 for count in counts)


def _variables(*weights):
  return {"params": {"weights": jnp.asarray(weights, jnp.float32)}}


@pytest.fixture(scope="module")
def scenes():
  """Gratings of several speeds."""
  frame, y, x = np.mgrid[:NUM_SUBFRAMES, :SIDE, :SIDE].astype(np.float32)
  speeds = np.linspace(0, 0.1, NUM_SCENES, dtype=np.float32)
  radiance = np.stack([0.4 + 0.3 * np.sin(0.9 * x + 0.4 * y - speed * frame) for speed in speeds])
  color = CameraColor(white_balance=jnp.ones((NUM_SCENES, 3)), ccm=jnp.tile(jnp.eye(3), (NUM_SCENES, 1, 1)))
  return Scene(radiance=jnp.repeat(jnp.asarray(radiance)[..., None], 4, axis=-1), color=color,
               scene_id=jnp.arange(10, 10 + NUM_SCENES))


def _setup():
  return CaptureSetup(timing=TIMING, noise_model=IsoNoise(), min_preview_gain=16.0, max_preview_gain=32.0)


def _chain(flow_scale=2.0, **setup):
  motion = MotionEstimator(estimator=DifferenceAsFlow(), variables={"scale": flow_scale})
  return Chain(setup=dataclasses.replace(_setup(), **setup), restorer=WeightedMean(), motion=motion)


def _evaluator(batch_size=2, num_draws=NUM_DRAWS, **metrics_options):
  return Evaluator(_chain(), num_draws=num_draws, seed=3, batch_size=batch_size, metrics=Metrics(**metrics_options))


@pytest.fixture(scope="module")
def evaluator():
  return _evaluator()


@pytest.fixture(scope="module")
def methods():
  return [Method("DEBIR", Brightest(jnp.float32(1.0)), _variables(0, 0)),
          Method("short", Fixed(_times(8, 8)), _variables(0, 0)),
          Method("long, weighted", Fixed(_times(32, 32)), _variables(1, 0)),
          Method("twin", Fixed(_times(8, 8)), _variables(0, 0))]


@pytest.fixture(scope="module")
def records(evaluator, methods, scenes):
  return evaluator.evaluate(methods, scenes)


def _of(records, method):
  return {(record.scene_id, record.draw): record for record in records if record.method == method}


def test_every_method_has_one_record_per_capture(records, methods):
  """Padding of the last batch (5 scenes in batches of 2) leaves no trace in the records."""
  captures = {(scene_id, draw) for scene_id in range(10, 10 + NUM_SCENES) for draw in range(NUM_DRAWS)}
  assert len(records) == len(methods) * len(captures)
  for method in methods:
    assert set(_of(records, method.name)) == captures


def test_identical_methods_differ_by_exactly_zero(records):
  """Two methods with the same policy and parameters see the same gains, previews and noise draws."""
  summary = {summary.method: summary for summary in summarize(records, reference="short")}["twin"]
  assert summary.difference == 0 and summary.difference_error == 0 and summary.win_rate == 0.5
  assert summary.ssim_difference == 0


def test_conditions_are_shared_by_methods_and_vary_between_captures(records, methods):
  """Gain and motion depend on the capture alone; every capture has its own gain, inside the range."""
  conditions = [
      {capture: (record.preview_gain, record.motion_magnitude) for capture, record in _of(records, m.name).items()}
      for m in methods]
  assert all(of_method == conditions[0] for of_method in conditions)
  gains = [gain for gain, _ in conditions[0].values()]
  assert len(set(gains)) == NUM_SCENES * NUM_DRAWS and min(gains) >= 16 and max(gains) <= 32


def test_order_of_methods_does_not_matter(evaluator, methods, scenes, records):
  """A method's records are the same whichever methods come before it."""
  alone = evaluator.evaluate(methods[::-1], scenes)
  for method in methods:
    assert _of(alone, method.name) == _of(records, method.name)


def test_batching_of_the_scenes_does_not_matter(evaluator, methods, scenes, records):
  """One batch, another batch size, or an iterable of uneven batches in another order: the same numbers."""
  part = lambda *indices: jax.tree.map(lambda x: x[np.array(indices)], scenes)
  in_parts = evaluator.evaluate(methods[:2], iter([part(4), part(2, 0, 1), part(3)]))
  in_one = _evaluator(batch_size=NUM_SCENES).evaluate(methods[:2], scenes)
  for other in (in_parts, in_one):
    for method in methods[:2]:
      expected = _of(records, method.name)
      assert set(_of(other, method.name)) == set(expected)
      for capture, record in _of(other, method.name).items():
        np.testing.assert_allclose(record.psnr, expected[capture].psnr, rtol=1e-5)
        np.testing.assert_allclose(record.ssim, expected[capture].ssim, rtol=1e-4)
        np.testing.assert_allclose(record.exposure_times, expected[capture].exposure_times, rtol=1e-5)


def test_records_equal_the_obvious_loop_over_single_captures(evaluator, scenes, records):
  """PSNR, SSIM and L1 of a record are those of one burst taken with the capture's own key and restored on its own."""
  for scene, draw in [(0, 1), (4, 0)]:
    conditions = jax.tree.map(lambda x: x[0], evaluator.conditions(scenes.scene_id[scene:scene + 1], draw))
    radiance = scenes.radiance[scene]
    raw = jax.jit(simulate_burst, static_argnums=5)(
        conditions.burst_key, radiance, jnp.array(_times(32, 32)), conditions.preview_gain, IsoNoise(), TIMING)
    restored = WeightedMean().apply(_variables(1, 0), raw)
    target = target_of(radiance, TIMING)
    record = _of(records, "long, weighted")[10 + scene, draw]
    np.testing.assert_allclose(record.psnr, metrics.psnr(restored, target), rtol=1e-5)
    np.testing.assert_allclose(record.ssim, metrics.ssim(restored, target), rtol=1e-4)
    np.testing.assert_allclose(record.l1, jnp.abs(restored - target).mean(), rtol=1e-5)
    np.testing.assert_allclose(record.preview_gain, conditions.preview_gain, rtol=1e-6)


def test_restorer_compiles_once_for_all_methods_candidates_draws_and_evaluators(evaluator, scenes, records):
  """Parameters, keys and times are arguments: the restorer is not traced again once it has been."""
  del records  # Has compiled it.
  other = Evaluator(_chain(flow_scale=1.0, max_preview_gain=64.0), num_draws=1, batch_size=2)
  WeightedMean.num_traces = 0
  for one in (evaluator, other):
    one.evaluate([Method(f"{count}", Fixed(_times(count, count)), _variables(count, 0)) for count in (8, 9)], scenes)
    one.score_candidates(candidate_set(TIMING).exposure_times, scenes, _variables(1, 2))
    one.examples([Method("a", Fixed(_times(8, 8)), _variables(0, 0))], scenes)
  assert WeightedMean.num_traces == 0
  _evaluator(batch_size=3).examples([Method("a", Fixed(_times(8, 8)), _variables(0, 0))], scenes)
  assert WeightedMean.num_traces == 1  # Another shape: the counter counts.


def test_new_weights_of_a_pytree_policy_do_not_compile_again(evaluator, scenes, records):
  """A policy that is a pytree hands its arrays over as arguments, and they matter."""
  del records  # Has compiled the policy.
  num_programs = evaluate._predict._cache_size()
  changed = evaluator.evaluate([Method("DEBIR", Brightest(jnp.float32(0.1)), _variables(0, 0))], scenes)
  assert evaluate._predict._cache_size() == num_programs > 0
  assert changed[0].exposure_times[0] < 9.5 / 1920


def test_candidate_scores_equal_the_records_of_fixed_policies(evaluator, scenes, records):
  """Scoring a candidate is evaluating the policy that always chooses it, on the same captures."""
  candidates = np.array([_times(32, 32), _times(8, 8)])
  scores = evaluator.score_candidates(candidates, scenes, _variables(0, 0))
  assert scores.psnr.shape == scores.l1.shape == (NUM_SCENES, NUM_DRAWS, 2)
  np.testing.assert_array_equal(scores.scene_ids, np.arange(10, 10 + NUM_SCENES))
  for (scene_id, draw), record in _of(records, "short").items():
    capture = scene_id - 10, draw
    assert (scores.psnr[capture][1], scores.l1[capture][1]) == (record.psnr, record.l1)
    assert scores.preview_gain[capture] == record.preview_gain


def test_labels_are_long_on_the_static_scene_and_short_on_the_fastest(evaluator, scenes):
  """The pseudo-ground-truth trades noise against blur: 32 where nothing moves, 8 where much does."""
  candidates = np.array([_times(8, 8), _times(32, 32)])
  first_frame_only = _variables(9, 0)
  best, times = pseudo_ground_truth(evaluator.score_candidates(candidates, scenes, first_frame_only))
  assert (best[0] == 1).all() and (best[-1] == 0).all()
  np.testing.assert_allclose(times[0, 0], candidates[1], rtol=1e-6)


def test_examples_show_what_was_measured(evaluator, methods, scenes, records):
  """An example's images give the PSNR of its record; scenes in order, methods within a scene."""
  examples = evaluator.examples(methods[:2], scenes, draw=1)
  assert [(e.scene_id, e.method) for e in examples[:3]] == [(10, "DEBIR"), (10, "short"), (11, "DEBIR")]
  for example in examples:
    record = _of(records, example.method)[example.scene_id, 1]
    assert example.psnr == record.psnr
    np.testing.assert_allclose(metrics.psnr(example.restored, example.target), record.psnr, rtol=1e-5)
    np.testing.assert_allclose(example.exposure_times * example.gains,
                               example.preview_gain * TIMING.preview_exposure_s, rtol=1e-5)
    assert example.raw.shape == (2, SIDE, SIDE, 4) and example.previews.shape == (2, SIDE, SIDE, 4)


def test_the_sensitivity_to_alternate_frames_is_their_fraction_of_the_image(evaluator, scenes):
  """Nothing for a restorer of the first frame; else by hand, from the examples, whatever fills the last batch."""
  method = lambda *weights: Method("mean", Fixed(_times(8, 8)), _variables(*weights))
  plain = evaluator.examples([method(50, -50)], scenes)
  assert [example.alternate_frame_sensitivity for example in plain] == [None] * 5
  for example in evaluator.examples([method(50, -50)], scenes, alternate_frame_sensitivity=True):
    assert example.alternate_frame_sensitivity == 0
  for example in evaluator.examples([method(0, 0)], scenes, alternate_frame_sensitivity=True):
    change = (example.raw[1, :, ::-1] - example.raw[1]) / 2
    expected = np.sqrt(np.mean(change ** 2) / np.mean(example.raw.mean(0) ** 2))
    np.testing.assert_allclose(example.alternate_frame_sensitivity, expected, rtol=1e-4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedDistance:
  """A distance of viewing images with a weight, in the place of LPIPS."""

  weight: jax.Array

  def __call__(self, image, reference, *, border):
    inner = slice(border, image.shape[0] - border)
    return self.weight * jnp.mean(jnp.abs(image - reference)[inner, inner])


def test_lpips_sees_viewing_images_and_stands_in_table_and_records(scenes):
  """Without weights there is neither a column nor a number."""
  methods = [Method("DEBIR", Fixed(_times(8, 16)), _variables(1, 0)),
             Method("other", Fixed(_times(8, 8)), _variables(0, 1))]
  chain, options = _chain(flow_scale=1.0), dict(num_draws=1, seed=3)
  plain = Evaluator(chain, **options)
  with_lpips = Evaluator(chain, metrics=Metrics(lpips=WeightedDistance(jnp.array(2.0))), **options)
  found = with_lpips.evaluate(methods, scenes)
  for record, without in zip(found, plain.evaluate(methods, scenes), strict=True):  # Of two programs: alike, not equal.
    for name, value in dataclasses.asdict(without).items():
      if name != "lpips":
        assert getattr(record, name) == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
  example = with_lpips.examples(methods, scenes)[0]
  shown = [np.asarray(view(image, example.color)) for image in (example.restored, example.target)]
  first = next(record for record in found if (record.method, record.scene_id) == (example.method, example.scene_id))
  assert first.lpips == pytest.approx(2 * np.abs(shown[0] - shown[1]).mean(), rel=1e-4)
  summaries = summarize(found)
  assert summaries[1].lpips_difference == pytest.approx(summaries[1].lpips - summaries[0].lpips)
  assert "LPIPS" in format_table({"": summaries})
  assert "LPIPS" not in format_table({"": summarize([dataclasses.replace(record, lpips=None) for record in found])})


class FirstPixels(nn.Module):
  """In a patch restorer's place: the mean of the frames, but zeros beyond the first pixels."""

  @nn.compact
  def __call__(self, raw):
    return WeightedMean(parent=None).apply(self.variables, raw).at[..., 8:, :, :].set(0)


def test_every_capture_is_restored_in_patches_too_where_it_is_asked_for(evaluator, scenes, records):
  """The same captures, measured by the same rules, beside what was measured before."""
  methods = [Method("short", Fixed(_times(8, 8)), _variables(0, 0))]
  found = _evaluator(patch_restorer=FirstPixels()).evaluate(methods, scenes)
  plain = _of(records, "short")
  assert all(dataclasses.replace(record, patch_psnr=None, patch_ssim=None) == plain[record.scene_id, record.draw]
             for record in found)
  example = evaluator.examples(methods, scenes)[0]
  cut = example.restored.copy()
  cut[8:] = 0
  assert found[0].patch_psnr == pytest.approx(float(metrics.psnr(cut, example.target)), rel=1e-5)
  assert found[0].patch_ssim == pytest.approx(float(metrics.ssim(cut, example.target)), rel=1e-4)
  assert all(record.patch_psnr is None for record in records)


def test_observations_are_those_of_the_evaluation(evaluator, scenes, records):
  """`observe` gives the gain and motion that the records carry, of the first draw unless told otherwise."""
  two_scenes = jax.tree.map(lambda x: x[:2], scenes)
  for draw, observations in ((1, evaluator.observe(two_scenes, draw=1)), (0, evaluator.observe(two_scenes))):
    expected = [_of(records, "short")[scene_id, draw] for scene_id in (10, 11)]
    np.testing.assert_allclose(observations.preview_gain, [record.preview_gain for record in expected], rtol=1e-5)
    np.testing.assert_allclose(observations.motion_magnitude, [record.motion_magnitude for record in expected],
                               rtol=1e-5)


def test_diverged_restorer_is_named_with_its_scene(evaluator, scenes):
  """A prediction that is not finite stops the evaluation, also where clamping would hide it."""
  for weight in (np.nan, np.inf):
    with pytest.raises(ValueError, match=r"Method 'broken', scene 10, draw 0: .*not finite"):
      evaluator.evaluate([Method("broken", Fixed(_times(8, 8)), _variables(weight, 0))], scenes)
  with pytest.raises(ValueError, match=r"Candidate \{8\}x2, scene 10, draw 0"):
    evaluator.score_candidates(np.array([_times(8, 8)]), scenes, _variables(np.nan, 0))


def _constant_policy(*counts):
  return lambda key, observation, timing: jnp.array(_times(*counts))


@pytest.mark.parametrize("counts, message", [
    ((np.nan, 8), "must be finite"), ((-8, 8), "longer than"), ((8, 8, 8), r"expected 2 exposure times, .*\(3,\)"),
    ((40, 40), r"end at subframe 167.00, .*have 152"), ((7.99, 8), "below the shortest"),
    ((0, 8), "behind the first one"), ((32.01, 32), "more than the budget")])
def test_impossible_exposure_times_are_refused(evaluator, scenes, counts, message):
  """Inside a compiled program they would pass silently."""
  with pytest.raises(ValueError, match=f"Method 'bad', scene 10: .*{message}"):
    evaluator.evaluate([Method("bad", _constant_policy(*counts), _variables(0, 0))], scenes)


def test_more_than_the_budget_is_refused_also_where_the_sequence_is_long_enough(evaluator, scenes):
  """Up to rounding the whole budget may be spent."""
  longer = dataclasses.replace(scenes, radiance=jnp.concatenate([scenes.radiance, scenes.radiance[:, :8]], 1))
  assert evaluator.evaluate([Method("all of it", _constant_policy(32, 32), _variables(0, 0))], longer)
  with pytest.raises(ValueError, match="add up to 34.375 ms, more than the budget of 33.333 ms"):
    evaluator.evaluate([Method("bad", _constant_policy(34, 32), _variables(0, 0))], longer)


@pytest.mark.parametrize("timing", [BurstTiming.paper(2), BurstTiming.release(2)], ids=["paper", "release"])
def test_a_burst_may_end_where_its_sequence_ends(timing):
  """Up to rounding, a thousandth of a subframe; gaps and what an entry was itself exposed for are counted."""
  gaps = timing.frame_gap_s * 1920 - (timing.subframe_support - 1)
  for over, refused in ((0, False), (5e-4, False), (2e-3, True), (1, True)):
    last = 152 + over - timing.target_index - gaps - 20
    check = lambda: evaluate._check_times("It", np.array([20, last]) / 1920, 152, timing)
    if not refused:
      check()
      continue
    with pytest.raises(ValueError, match=f"It: .* end at subframe {152 + over:.2f}, but the sequences have 152"):
      check()


def test_repeated_names_and_scenes_are_refused(evaluator, methods, scenes):
  """Two methods of one name, no method at all, or a scene that comes twice."""
  with pytest.raises(ValueError, match="'short', 'short'"):
    evaluator.evaluate([methods[1], methods[1]], scenes)
  with pytest.raises(ValueError, match="own name"):
    evaluator.evaluate([], scenes)
  with pytest.raises(ValueError, match="scene_id 10 occurs twice"):
    evaluator.evaluate(methods[1:2], [scenes, scenes])


def test_malformed_arguments_are_refused(evaluator, scenes):
  """A scene without batch axis, candidates of another burst length, no scenes, no draws."""
  with pytest.raises(ValueError, match="leading axis"):
    evaluator.evaluate([Method("a", Fixed(_times(8, 8)), _variables(0, 0))], jax.tree.map(lambda x: x[0], scenes))
  with pytest.raises(ValueError, match=r"\[m, 2\] .* \(1, 4\)"):
    evaluator.score_candidates(np.full((1, 4), 0.01), scenes, _variables(0, 0))
  with pytest.raises(ValueError, match="no scenes"):
    evaluator.score_candidates(np.full((1, 2), 0.01), [], _variables(0, 0))
  with pytest.raises(ValueError, match="got 0 and 2"):
    _evaluator(num_draws=0)
