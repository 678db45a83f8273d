"""The yardstick: what its table says follows from the scores, and it runs."""

import pathlib
import sys

import numpy as np
import pytest

from debir_jax.runtime.command_line import load_config
from debir_jax.training.runner import run
from experiments import yardstick

_NAMES = ["{8}x4", "{16}x4", "{24}x4", "{32}x4", "{8,16,24,32}", "{8,24,40,56}"]


def _scores(best_of):
  """Every scene is restored at 30 dB, by 1 dB better with the candidate that is its best; bracketing always at 29.5."""
  psnr = np.full((len(best_of), 2, 6), 30.0)
  psnr[np.arange(len(best_of)), :, best_of] = 31.0
  psnr[..., 5] = 29.5
  return dict(candidates=_NAMES, psnr=psnr.tolist(), groups=[f"photo {i // 2}" for i in range(len(best_of))],
              endpoint_error_px=np.tile(np.arange(6.0), (len(best_of), 1)).tolist())


def test_the_table_tells_shares_laws_and_headroom():
  """Of ten moving scenes five are best at {16}x4, five at {24}x4; static ones at {32}x4."""
  table = yardstick.format_table(dict(static=_scores([3] * 10), moving=_scores([1] * 5 + [2] * 5)))
  assert "| this restorer | 0 | 50 | 50 | 0 | 0 |" in table
  assert "| release, GoPro test | 0 | 30 | 33 | 20 | 17 |" in table
  assert "share: 20 points" in table
  assert "over {16}x4, cross-validated over noise: 0.50 ±" in table
  assert "{32}x4 over bracketing: 1.50 ± 0.00 dB" in table
  assert "{16}x4 over bracketing: 1.00 ±" in table
  assert "| moving, endpoint error, median, px | 0.00 | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 |" in table
  assert "10 scenes of 5 photos, 2 noise draws each" in table


@pytest.mark.slow
def test_it_measures_a_run(tmp_path, monkeypatch):
  """Networks of one step: tables and scores are there, also with exact motion and at half the gains."""
  config_file = str(pathlib.Path(yardstick.__file__).parents[1] / "configs" / "pretrain_small.py:debug")
  config = load_config(config_file)
  config.stages, config.comparison.enabled = ("stage1",), False
  run(config, str(tmp_path))
  monkeypatch.setattr(sys, "argv", ["yardstick", "--nohuge_pages"])  # Where `prepare_memory` looks.
  common = [f"--config={config_file}", f"--from={tmp_path}", "--scenes=2", "--draws=1", "--nohuge_pages"]
  yardstick.main(common)
  yardstick.main([*common, "--exact_motion", "--min_gain=256", "--max_gain=512", "--speed=100"])
  assert {path.name for path in (tmp_path / "yardstick").iterdir()} == {
      "found_512_1024_360px_s", "exact_256_512_100px_s"}
  for path in (tmp_path / "yardstick").iterdir():
    assert "Headroom" in (path / "table.md").read_text()
