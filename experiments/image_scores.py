"""Scores of single images by any metrics, with or without a reference, and what they say of the methods behind them.

As in `summary.py`, draws of an image are averaged first, and every error is one over groups of images that show the
same photo or clip.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools

import numpy as np

from debir_jax.evaluation.statistics import Units, interval_of_mean, mean_and_error
from experiments.tables import comparison_in_words

HIGHER_IS_BETTER = {"PSNR": True, "LPIPS": False, "NIQE": False, "BRISQUE": False, "TOPIQ": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageScores:
  """What metrics say of one image.

  Attributes:
    method: that made it.
    image: its name; methods with the same image and draw restored the same.
    draw: of its noise.
    scores: by metric.
    group: which photo or clip it shows; None: it is one of its own.
  """

  method: str
  image: str
  draw: int = 0
  scores: Mapping[str, float]
  group: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreSummary:
  """A method in the numbers of one metric.

  Attributes:
    method: its name.
    mean, error: over images, with one standard error over groups (NaN for a single one).
    difference, difference_error: to the reference method on the same images.
    difference_low, difference_high: its 95 % interval, by resampling of groups; NaN for fewer than three.
    win_rate: fraction of the images on which it beats the reference method; a tie counts half.
    num_images, num_groups: measured on.
  """

  method: str
  mean: float
  error: float
  difference: float
  difference_error: float
  difference_low: float
  difference_high: float
  win_rate: float
  num_images: int
  num_groups: int


def summarize_scores(rows: Sequence[ImageScores], metric: str, *, reference: str) -> list[ScoreSummary]:
  """One summary for every method that has scores of a metric, in the order in which they first appear.

  Raises:
    ValueError: the reference method has none, methods were measured on other images than it, or a score is not finite.
  """
  means = _means(rows, metric)
  if reference not in means:
    raise ValueError(f"There is no {metric} of {reference!r} to compare with; there are {', '.join(map(repr, means))}.")
  summaries = []
  for method, of_image in means.items():
    different = set(of_image) ^ set(means[reference])
    if different:
      raise ValueError(f"{reference!r} and {method!r} were measured on different images: {len(different)} are of one "
                       f"only, such as {min(different)!r}.")
    values = np.array(list(of_image.values()))
    paired = values - np.array([means[reference][image] for image in of_image])
    better = paired if HIGHER_IS_BETTER[metric] else -paired
    units = _units(rows, of_image)
    (mean, error), (difference, difference_error) = mean_and_error(values, units), mean_and_error(paired, units)
    low, high = interval_of_mean(paired, units)
    summaries.append(ScoreSummary(
        method=method, mean=float(mean), error=float(error), difference=float(difference),
        difference_error=float(difference_error), difference_low=low, difference_high=high,
        win_rate=float(np.mean((better > 0) + (better == 0) / 2)), num_images=len(values),
        num_groups=units.num_groups))
  return summaries


def agreement(rows: Sequence[ImageScores], metric: str, *, with_metric: str = "PSNR") -> tuple[float, float, float]:
  """How often two metrics prefer the same one of two methods on an image: a fraction, 0.5 for chance.

  Returns:
    The mean over images of the fraction of pairs of methods; and its 95 % interval, by resampling of groups.

  Raises:
    ValueError: fewer than two methods have scores of both.
  """
  first, second = _means(rows, metric), _means(rows, with_metric)
  methods = [method for method in first if method in second]
  if len(methods) < 2:
    raise ValueError(f"{metric} and {with_metric} have {methods} in common; there must be two methods to choose from.")
  sign = 1 if HIGHER_IS_BETTER[metric] == HIGHER_IS_BETTER[with_metric] else -1
  fractions = []
  for image in first[methods[0]]:
    products = [sign * (first[a][image] - first[b][image]) * (second[a][image] - second[b][image])
                for a, b in itertools.combinations(methods, 2)]
    fractions.append(np.mean([(product > 0) + (product == 0) / 2 for product in products]))
  return float(np.mean(fractions)), *interval_of_mean(np.array(fractions), _units(rows, first[methods[0]]))


def _units(rows, images) -> Units:
  """Groups of images, in their order."""
  groups = {row.image: row.group or row.image for row in rows}
  return Units([groups[image] for image in images], [0] * len(images))


def verdict(summaries: Sequence[ScoreSummary], metric: str) -> str:
  """In words, whom the first method is ahead of, behind, or cannot be told apart from."""
  reference, *others = summaries
  interval = lambda row: (row.difference_low, row.difference_high)
  gains = {row.method: interval(row) if HIGHER_IS_BETTER[metric] else tuple(-end for end in reversed(interval(row)))
           for row in others}
  return f"{metric}: {reference.method} {comparison_in_words(gains)}."


def _means(rows, metric) -> dict[str, dict[str, float]]:
  """Mean over draws by method and image."""
  values: dict[str, dict[str, list[float]]] = {}
  for row in rows:
    if metric in row.scores:
      if not np.isfinite(row.scores[metric]):
        raise ValueError(f"The {metric} of {row.method!r} on {row.image!r} is {row.scores[metric]}.")
      values.setdefault(row.method, {}).setdefault(row.image, []).append(row.scores[metric])
  return {method: {image: float(np.mean(of_draws)) for image, of_draws in of_images.items()}
          for method, of_images in values.items()}
