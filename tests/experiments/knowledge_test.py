"""What knowing more is worth, where the truth is known: choices by what matters gain, by what does not gain nothing."""

import numpy as np
import pytest

from experiments import knowledge


def _captures(num_photos=40, draws=6):
  """The best of 9 choices is told by motion and gain and, by two choices up or down, by the scene."""
  rng = np.random.default_rng(0)
  photos = np.repeat([f"photo {number}" for number in range(num_photos)], draws)
  scenes = np.repeat(np.arange(num_photos), draws)
  motion, gain = rng.uniform(0.1, 1, num_photos).repeat(draws), rng.uniform(512, 1024, num_photos * draws)
  own = rng.choice([-2.0, 2.0], num_photos).repeat(draws)
  best = 4 - 1.5 * np.log(motion / 0.3) + (gain - 768) / 128 + own
  psnr = 30 - 0.1 * (np.arange(9) - best[:, None]) ** 2 + 0.01 * rng.standard_normal((len(photos), 9))
  return psnr, motion, gain, scenes, photos


def test_each_thing_known_gains_what_it_tells():
  """Parabolas: what a choice loses is the spread of the best one that is left by what is known."""
  found = {name: values.mean() for name, values in knowledge.gains_of(*_captures()).items()}
  assert found["nothing"] + 0.05 < found["motion"] < found["motion and gain"] < found["scene and gain"] <= 30.01
  assert found["nothing"] < found["gain"] < found["motion and gain"]
  assert found["motion and gain"] == pytest.approx(30 - 0.1 * 4, abs=0.12)
  assert found["motion"] < found["scene"] < found["scene and gain"]


def test_a_capture_does_not_choose_for_itself():
  """Where captures have nothing in common, nothing is gained over the mean by any knowledge."""
  rng = np.random.default_rng(1)
  psnr = rng.standard_normal((300, 9))
  found = knowledge.gains_of(psnr, rng.uniform(0.1, 1, 300), rng.uniform(512, 1024, 300), np.arange(300) // 3,
                             np.arange(300) // 3)
  assert all(abs(values.mean()) < 0.2 for values in found.values())


def test_the_table_says_what_each_is_worth():
  """Against nothing, and against motion and gain; a row for BAENet where there is one."""
  psnr = {name: values.tolist() for name, values in knowledge.gains_of(*_captures()).items()}
  table = knowledge.format_table(dict(choices=list("abcdefghi"), photos=_captures()[4].tolist(),
                                      psnr=psnr | {"BAENet": psnr["nothing"]}))
  rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[2:] for row in table.splitlines()[2:-2]}
  assert rows["BAENet"][0] == "0.00 ± 0.00" and rows["motion and gain"][1].startswith("0.00")
  assert "240 captures of 40 photos" in table
