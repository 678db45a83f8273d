"""Laws of pseudo-ground-truth and headroom."""

import numpy as np
import pytest

from debir_jax.evaluation import CandidateScores, format_headroom, headroom, pseudo_ground_truth
from debir_jax.evaluation.candidates import mean_and_error, merge_scores

CANDIDATES = np.array([[8, 8], [16, 16], [8, 24]]) / 1920


def _scores(l1):
  l1 = np.asarray(l1, np.float64)
  return CandidateScores(candidates=CANDIDATES, scene_ids=np.arange(l1.shape[0]), preview_gain=np.ones(l1.shape[:2]),
                         psnr=-20 * np.log10(l1), l1=l1)


def test_pseudo_ground_truth_is_the_planted_best_of_every_capture():
  """Each capture gets the candidate of its lowest L1, with its exposure times."""
  planted = np.random.default_rng(0).integers(3, size=(6, 4))
  best, times = pseudo_ground_truth(_scores(np.where(np.arange(3) == planted[..., None], 0.1, 0.2)))
  np.testing.assert_array_equal(best, planted)
  np.testing.assert_array_equal(times, CANDIDATES[planted])


def test_pseudo_ground_truth_of_a_scene_is_the_best_mean_over_its_draws():
  """Averaging lets one large loss outvote two small ones, and gives all draws of the scene the same label."""
  l1 = [[[.10, .11, .9], [.10, .11, .9], [.30, .11, .9]]]
  assert pseudo_ground_truth(_scores(l1))[0].tolist() == [[0, 0, 1]]
  best, times = pseudo_ground_truth(_scores(l1), average_draws=True)
  assert best.tolist() == [[1, 1, 1]] and times.shape == (1, 3, 2)


def test_headroom_of_equal_candidates_is_zero():
  """Where candidates do not differ, nothing can be gained, by any of the three measures."""
  psnr = np.repeat(np.random.default_rng(0).normal(30, 2, (5, 4, 1)), 3, axis=2)
  result = headroom(psnr)
  assert result.per_scene == result.per_capture == result.unbiased == 0
  assert result.per_scene_error == result.unbiased_error == 0


def test_headroom_is_never_negative_and_larger_the_finer_the_choice():
  """Best per capture >= best per scene >= best fixed, on any numbers."""
  for seed in range(20):
    result = headroom(np.random.default_rng(seed).normal(30, 2, (4, 3, 5)))
    assert result.per_capture >= result.per_scene >= 0


def test_headroom_by_hand():
  """Two scenes that want different candidates: 1 dB is lost by the best fixed one on the second scene."""
  psnr = np.array([[[30., 27.]] * 2, [[30., 31.]] * 2])
  result = headroom(psnr)
  assert result.best_fixed == 0 and result.best_per_scene.tolist() == [0, 1]
  np.testing.assert_allclose(result.mean_psnr, [30, 29])
  np.testing.assert_allclose(result.psnr_error, [0, 2])
  np.testing.assert_allclose(result.best_fraction, [0.5, 0.5])
  for gain, error in [(result.per_scene, result.per_scene_error), (result.unbiased, result.unbiased_error),
                      (result.per_capture, result.per_capture_error)]:
    np.testing.assert_allclose([gain, error], [0.5, 0.5])  # Gains of 0 and 1: std sqrt(1/2), error 1/2.


@pytest.mark.parametrize("num_draws", [2, 3, 4])
def test_cross_validated_headroom_is_the_obvious_loop(num_draws):
  """Both choices, fixed and per scene, are made on one half of the draws and measured on the other, both ways round."""
  psnr = np.random.default_rng(num_draws).normal(30, 2, (5, num_draws, 3))
  first, second = psnr[:, :num_draws // 2].mean(1), psnr[:, num_draws // 2:].mean(1)
  gains = np.zeros(5)
  for chosen_on, measured in ((first, second), (second, first)):
    fixed = np.argmax(chosen_on.mean(0))
    for scene in range(5):
      gains[scene] += (measured[scene, np.argmax(chosen_on[scene])] - measured[scene, fixed]) / 2
  result = headroom(psnr)
  np.testing.assert_allclose([result.unbiased, result.unbiased_error], [gains.mean(), gains.std(ddof=1) / 5 ** 0.5])
  best = psnr.mean((0, 1)).argmax()
  np.testing.assert_allclose(result.per_scene, np.mean([scene.mean(0).max() - scene.mean(0)[best] for scene in psnr]))
  np.testing.assert_allclose(result.per_capture, np.mean([
      capture.max() - capture[best] for scene in psnr for capture in scene]))
  assert (result.num_scenes, result.num_draws, result.best_fixed) == (5, num_draws, best)


def test_parts_of_scores_are_merged_in_order_of_their_scenes():
  """As several processes measure them, also through JSON."""
  scores = _scores(np.random.default_rng(5).uniform(0.05, 0.2, (4, 2, 3)))
  of_scenes = ("scene_ids", "preview_gain", "psnr", "l1")
  part = lambda *scenes: {name: getattr(scores, name)[list(scenes)].tolist() for name in of_scenes} | {
      "candidates": CANDIDATES.tolist()}
  merged = merge_scores([part(1, 3), part(0, 2)])
  for name in ("candidates", *of_scenes):
    np.testing.assert_array_equal(getattr(merged, name), getattr(scores, name))


def test_cross_validated_headroom_is_not_optimistic():
  """Pure noise has no headroom: choosing on the same draws claims some, choosing on other draws claims none."""
  result = headroom(np.random.default_rng(0).normal(30, 1, (2000, 4, 5)))
  assert result.per_scene > 0.5
  assert abs(result.unbiased) < 4 * result.unbiased_error < 0.2


def test_cross_validation_finds_a_planted_gain():
  """A gain of 1 dB per scene under noise of 0.5 dB per draw is found without bias where the choice is clear."""
  rng = np.random.default_rng(1)
  likes = rng.integers(2, size=400)
  psnr = 30 + 2.0 * (np.arange(2) == likes[:, None])[:, None] + rng.normal(0, 0.25, (400, 4, 2))
  result = headroom(psnr)
  np.testing.assert_allclose(result.unbiased, 2 * (1 - np.mean(likes == result.best_fixed)), atol=0.05)


def test_a_single_draw_or_scene_has_no_error_estimate():
  """What cannot be known is NaN, not 0."""
  assert np.isnan(headroom(np.ones((3, 1, 2))).unbiased)
  assert np.isnan(headroom(np.ones((1, 2, 2))).per_scene_error)
  assert np.isnan(mean_and_error(np.ones((1, 2)))[1]).all()


def test_bad_scores_are_refused():
  """A forgotten axis and values that are not finite."""
  with pytest.raises(ValueError, match=r"\[scenes, draws, candidates\].*\(3, 2\)"):
    headroom(np.ones((3, 2)))
  with pytest.raises(ValueError, match="1 values that are not finite"):
    headroom(np.array([[[np.nan, 1.0]]]))


def test_headroom_table_shows_budget_and_gains():
  """One line per candidate with its times and their sum; gains with their errors."""
  scores = _scores(np.random.default_rng(2).uniform(0.05, 0.2, (4, 2, 3)))
  for markdown in (False, True):
    text = format_headroom(headroom(scores.psnr), scores, markdown=markdown)
    line = next(line for line in text.splitlines() if "{8,24}" in line)
    assert " 32 " in line and "±" in line and "4 scenes with 2 noise draws each" in text
    assert f"{100 * np.mean(scores.psnr.mean(1).argmax(1) == 2):.0f} % of scenes" in line


def test_labels_by_psnr_are_those_of_the_release(x64):
  """The candidate with the highest PSNR, whatever its L1."""
  psnr, l1 = np.array([[[30.0, 31.0, 29.0]]]), np.array([[[0.02, 0.03, 0.01]]])
  scores = CandidateScores(candidates=np.eye(3, 4), scene_ids=np.array([0]), preview_gain=np.ones((1, 1)), psnr=psnr,
                           l1=l1)
  assert pseudo_ground_truth(scores)[0].tolist() == [[2]]
  assert pseudo_ground_truth(scores, metric="psnr")[0].tolist() == [[1]]


def test_headroom_errors_are_over_photos():
  """Eight scenes of two photos say no more than two scenes."""
  psnr = np.array([[[30.0, 31.0]], [[31.0, 30.0]]] * 4)
  result, alone = headroom(psnr, ["a", "b"] * 4), headroom(psnr[:2])
  assert result.per_scene_error == pytest.approx(alone.per_scene_error)
  np.testing.assert_allclose(result.psnr_error, alone.psnr_error)
  assert (result.num_groups, alone.num_groups) == (2, None)
