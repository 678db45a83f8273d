"""Runs with several training seeds become one table: differences within seed, scene and draw."""

import json

import numpy as np
import pytest

from debir_jax.evaluation.records import Record, records_path, write_records
from experiments import pooled_seeds

_GAIN = {0: 0.5, 1: 0.3}  # dB of DEBIR over the other, by training seed.


def _run(folder, seed, column="stage 1 restorer", file_seed=None, results="results", others=("uniform {16}",)):
  rng = np.random.default_rng(7)  # Scenes are the same for every seed.
  scenes = rng.normal(30, 3, 6)
  records = [Record(method=method, scene_id=scene, draw=draw, psnr=psnr + seed + (method == "DEBIR") * _GAIN[seed],
                    ssim=0.8, l1=0.02, exposure_times=(0.01, 0.01), preview_gain=600.0, motion_magnitude=0.2,
                    group=f"photo {scene // 2}", training_seed=seed if file_seed is None else file_seed)
             for method in ("DEBIR", *others) for scene, psnr in enumerate(scenes) for draw in range(2)]
  write_records(records_path(folder / results, column), records)
  return folder


def test_differences_are_taken_within_a_seed_and_averaged_over_seeds(tmp_path, capsys):
  runs = [_run(tmp_path / str(seed), seed) for seed in (0, 1)]
  pooled_seeds.main([*map(str, runs), "--to", str(tmp_path / "pooled")])
  rows = {row["method"]: row for row in json.loads((tmp_path / "pooled/table.json").read_text())["stage 1 restorer"]}
  assert rows["uniform {16}"]["difference"] == pytest.approx(-0.4, abs=1e-6)
  assert rows["uniform {16}"]["difference_error"] > 0.05  # Two seeds differ by 0.2 dB.
  shown = f"{2.8 * rows['uniform {16}']['difference_error']:.2f} dB (stage 1 restorer)"
  for text in ((tmp_path / "pooled/table.md").read_text(), capsys.readouterr().out):
    assert "uniform {16}" in text and shown in text


def test_of_table_1_those_methods_are_pooled_that_all_seeds_have(tmp_path):
  runs = [_run(tmp_path / "0", 0, results="", others=("uniform {16}", "uniform {24}")),
          _run(tmp_path / "1", 1, results="")]
  pooled_seeds.main([*map(str, runs), "--to", str(tmp_path / "pooled")])
  rows = json.loads((tmp_path / "pooled/table.json").read_text())["stage 1 restorer"]
  assert [row["method"] for row in rows] == ["DEBIR", "uniform {16}"]


def test_runs_that_do_not_belong_together_are_named(tmp_path):
  """One seed twice, other columns, no results."""
  first = _run(tmp_path / "a", 0)
  for other, message in ((_run(tmp_path / "b", 1, file_seed=0), "have one training seed, 0"),
                         (_run(tmp_path / "c", 1, column="fine-tuned restorers"), "was compared by fine-tuned"),
                         (tmp_path / "d", "no records of a comparison")):
    with pytest.raises(SystemExit, match=message):
      pooled_seeds.main([str(first), str(other), "--to", str(tmp_path / "pooled")])
  assert not (tmp_path / "pooled").exists()
