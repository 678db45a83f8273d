"""Policies are compared on the same captures, in all and where things are slow or fast."""

import numpy as np

from experiments import bae_recipes


def test_each_is_told_against_the_best_fixed_exposure():
  """One that wins by 1 dB where things are fast and loses nothing elsewhere is 0.2 dB ahead in all."""
  rng = np.random.default_rng(0)
  motion, level = np.linspace(0, 1, 50), rng.normal(30, 2, 50)
  psnr = {"mine": level + (motion > 0.8), "{16}x4": level, "{24}x4": level - 0.5}
  table = bae_recipes.format_table(dict(
      groups=[f"photo {index // 2}" for index in range(50)], motion=motion.tolist(),
      psnr={name: values.tolist() for name, values in psnr.items()},
      times={name: [[16.0] * 4] * 50 for name in psnr}))
  mine, = [line for line in table.splitlines() if line.startswith("| mine")]
  assert "+0.20 ±" in mine and "16.0 16.0 16.0 16.0" in mine and mine.endswith(4 * "+0.00 | " + "+1.00 |")
  assert "ahead of {16}x4" in table and "| {24}x4 |" in table and "-0.50 ± 0.00" in table
  assert "50 captures of 25 photos" in table
