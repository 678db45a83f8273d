"""The value with the lowest mean loss is found, and told where it may lie beyond those that were tried."""

import pytest

from debir_jax.evaluation import Record, calibrate


def _evaluate(best):
  """Losses of methods whose policy is a number: the distance from the best one, with one scene off by a constant."""
  return lambda methods: [
      Record(method=method.name, scene_id=scene_id, draw=0, psnr=30.0, ssim=0.5, exposure_times=(0.01,) * 4,
             preview_gain=600.0, motion_magnitude=0.1, l1=abs(method.policy - best) + scene_id)
      for method in methods for scene_id in (1, 2)]


@pytest.mark.parametrize("best, found, at_the_end", [(2.2, 2.0, False), (0.0, 1.0, True), (9.0, 4.0, True)])
def test_the_best_value_is_found(best, found, at_the_end):
  """By mean loss over all captures."""
  result = calibrate(lambda value: value, [1, 2, 4], _evaluate(best), {})
  assert (result.best, result.at_the_end) == (found, at_the_end)
  assert result.l1 == pytest.approx([abs(value - best) + 1.5 for value in (1, 2, 4)])


@pytest.mark.parametrize("values", [[], [2, 1], [1, 1]])
def test_values_have_to_ascend(values):
  """So that the first and last one are the ends."""
  with pytest.raises(ValueError, match="must ascend"):
    calibrate(lambda value: value, values, _evaluate(1), {})
