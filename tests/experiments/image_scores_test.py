"""Laws of scores of images: paired differences, who is ahead, and whether two metrics prefer the same image."""

import numpy as np
import pytest

from experiments.image_scores import ImageScores, agreement, summarize_scores, verdict


def _rows(niqe, psnr):
  """Rows of methods whose scores are given for every image."""
  return [ImageScores(method=method, image=f"scene {index}", scores={"NIQE": value, "PSNR": quality})
          for method in niqe for index, (value, quality) in enumerate(zip(niqe[method], psnr[method]))]


def test_differences_are_paired_and_draws_are_averaged_within_an_image():
  """A constant difference has no error, however images differ; lower is better for NIQE."""
  rows = [ImageScores(method=method, image=f"scene {image}", draw=draw, scores={"NIQE": 5.0 * image + draw + extra})
          for method, extra in (("DEBIR", 0.0), ("other", 0.5)) for image in range(4) for draw in range(2)]
  reference, other = summarize_scores(rows, "NIQE", reference="DEBIR")
  assert reference.method == "DEBIR" and reference.num_images == 4 and reference.mean == pytest.approx(8)
  assert reference.error == pytest.approx(np.std([0, 5, 10, 15], ddof=1) / 2)
  assert (other.difference, other.difference_low, other.difference_high) == pytest.approx((0.5, 0.5, 0.5))
  assert other.difference_error == pytest.approx(0, abs=1e-12) and other.win_rate == 0
  assert reference.win_rate == 0.5  # Ties with itself.


def test_verdicts_follow_the_direction_of_the_metric():
  """The same numbers are ahead by one metric and behind by another."""
  values = {"A": [1.0, 2, 3, 4], "B": [2.0, 3, 4, 5], "C": [1.0, 2, 3, 4], "D": [0.0, 1, 2, 3]}
  rows = _rows(values, values)
  said = {metric: verdict(summarize_scores(rows, metric, reference="A"), metric) for metric in ("NIQE", "PSNR")}
  assert said["NIQE"] == "NIQE: A is ahead of B; is **behind** D; cannot be told apart from C."
  assert said["PSNR"] == "PSNR: A is ahead of D; is **behind** B; cannot be told apart from C."


def test_agreement_counts_pairs_of_methods_within_images():
  """All for one order, none for its opposite, half for ties; images of their own level do not matter."""
  psnr = {"A": [30.0, 20, 10, 5], "B": [31.0, 21, 11, 6], "C": [32.0, 22, 12, 7]}
  opposite = {name: [100 - value for value in values] for name, values in psnr.items()}
  assert agreement(_rows(opposite, psnr), "NIQE") == (1, 1, 1)
  assert agreement(_rows(psnr, psnr), "NIQE") == (0, 0, 0)
  assert agreement(_rows(opposite, psnr), "PSNR", with_metric="PSNR") == (1, 1, 1)  # Both higher for better.
  assert agreement(_rows(dict.fromkeys(psnr, [1.0] * 4), psnr), "NIQE")[0] == 0.5
  one_swapped = {**opposite, "A": opposite["B"], "B": opposite["A"]}
  assert agreement(_rows(one_swapped, psnr), "NIQE")[0] == pytest.approx(2 / 3)


def test_incomplete_sets_are_refused():
  rows = _rows({"A": [1.0, 2], "B": [1.0, 2]}, {"A": [1.0, 2], "B": [1.0, 2]})
  with pytest.raises(ValueError, match="no BRISQUE of 'A'"):
    summarize_scores(rows, "BRISQUE", reference="A")
  with pytest.raises(ValueError, match="different images: 1 .*'scene 1'"):
    summarize_scores(rows[:-1], "NIQE", reference="A")
  with pytest.raises(ValueError, match="two methods"):
    agreement(rows[:2], "NIQE")
  broken = [*rows, ImageScores(method="C", image="scene 0", scores={"NIQE": float("nan")})]
  with pytest.raises(ValueError, match="NIQE of 'C' on 'scene 0' is nan"):
    summarize_scores(broken, "NIQE", reference="A")
