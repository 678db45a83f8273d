"""Meters of motion: what the table says follows from the readings, true speeds are exact, and it runs."""

import json

import jax
import numpy as np
import pytest

from debir_jax.scenes import MotionStatistics, SceneSettings, camera_path, photo_motion
from debir_jax.simulator.shutter import preview_windows
from debir_jax.types import BurstTiming
from experiments import motion_meters


def test_the_true_speed_is_that_of_the_camera_between_the_previews():
  """A scene without layers: half of the mosaic's speed, of the path from the middle of one preview to the other's."""
  timing, crop = BurstTiming.paper(), 96
  statistics = MotionStatistics(static_fraction=0.0, parallax_fraction=0.0, object_fraction=0.0)
  params = photo_motion.random_scene_params(jax.random.key(3), SceneSettings(
      crop_size=crop, num_subframes=230, num_scenes=1, statistics=statistics))
  starts_s, ends_s = preview_windows(timing)
  first_s, second_s = (starts_s + ends_s) / 2
  assert second_s - first_s == pytest.approx(55 / 1920)
  moved = camera_path.affine_motion(params.path, camera_path.cell_positions(crop), first_s, second_s)
  expected = np.linalg.norm(moved, axis=-1).mean() / 2 / (55 / 1920)
  assert motion_meters.true_speed(params, timing, crop) == pytest.approx(expected, rel=1e-5)


def test_agreement_is_perfect_for_the_truth_and_tells_ranks_from_errors():
  """Twice the speed is right in order, and wrong by all of it."""
  true = [10.0, 50.0, 100.0, 400.0]
  perfect = motion_meters.agreement(true, true)
  assert [perfect["spearman"], perfect["pearson_log"]] == pytest.approx([1, 1])
  assert set(perfect["relative_error"].values()) == {0.0}
  double = motion_meters.agreement([2 * speed for speed in true], true)
  assert double["spearman"] == pytest.approx(1) and list(double["relative_error"].values()) == pytest.approx([1.0] * 4)
  assert motion_meters.agreement([0.0, 50.0, 40.0, 400.0], true)["spearman"] == pytest.approx(0.8)


def test_both_is_a_meter_that_is_still_where_the_search_is():
  assert motion_meters.with_rest([3.0, 4.0, 5.0], [0.0, 9.0, 0.1]) == [0.0, 4.0, 5.0]


def _scores():
  readings = dict(static={"Lucas-Kanade": [20.0, 30.0], "search": [0.0, 0.0]},
                  moving={"Lucas-Kanade": [110.0, 220.0], "search": [100.0, 200.0]})
  return {"96": dict(readings={"512 to 1024": readings}, true=dict(static=[0.0, 0.0], moving=[100.0, 200.0]),
                     milliseconds={"Lucas-Kanade": 3.2, "search": 150.0})}


def test_the_table_has_a_row_for_every_meter(tmp_path):
  """Quantiles of static readings, correlations, errors, time; and the true speeds."""
  table = motion_meters.format_table(_scores())
  first, second = [line for line in table.splitlines() if line.startswith("| 96 | 512 to 1024 |")]
  assert first.endswith("| Lucas-Kanade | 22.5 / 25.0 / 27.5 / 29.0 | 1.000 | 1.000 | 0.10 / 0.10 / 0.10 / 0.10 | 3 |")
  assert second.endswith("| search | 0.0 / 0.0 / 0.0 / 0.0 | 1.000 | 1.000 | 0.00 / 0.00 / 0.00 / 0.00 | 150 |")
  assert "| 96 | 105 / 125 / 150 / 175 / 190 / 195 / 199 |" in table
  motion_meters.draw(tmp_path / "a.png", _scores()["96"])
  assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_weights_of_raft_are_read_from_an_npz(shared_dir):
  """The golden file's, with names after state_dict/; 990,162 numbers."""
  variables = motion_meters.raft_variables(shared_dir / "golden" / "raft_small.npz")
  assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 990_162


@pytest.mark.slow
def test_it_measures_scenes_of_a_config(tmp_path):
  """Two scenes of either set, at small crops: readings at two ranges of gains, and half of the gains is half."""
  motion_meters.main(["--config=configs/quickstart.py:debug", "--crops", "64", "--scenes=2", f"--to={tmp_path}"])
  scores = json.loads((tmp_path / "scores.json").read_text())["64"]
  assert set(scores["readings"]) == {"512 to 1024", "256 to 512"}
  for readings in scores["readings"].values():
    assert set(readings["moving"]) == {"Lucas-Kanade", "search", "both"}
    assert all(len(values) == 2 for of_set in readings.values() for values in of_set.values())
  assert scores["true"]["static"] == [0, 0] and min(scores["true"]["moving"]) > 0
  assert "relative error" in (tmp_path / "table.md").read_text()
