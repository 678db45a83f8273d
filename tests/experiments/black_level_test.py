"""What the experiment on black levels measures: brightness of frames, and changes between two levels by scene."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from tables_by_hand import rows_of

from debir_jax.evaluation import Record
from debir_jax.training.experiment import Experiment
from experiments import black_level, scales


def _bias(level):
  config = scales.config_of("tiny")
  config.capture.black_level = level
  config.capture.min_preview_gain = config.capture.max_preview_gain  # Dark scenes: much noise.
  return black_level.brightness_bias(Experiment(config), 2)


def test_room_below_black_keeps_short_frames_from_becoming_brighter():
  """Clipped at 0 the shortest frame is the brightest; with much room noise has no mean, within the noise itself."""
  clipped, some, much = map(_bias, (0.0, 1 / 16, 0.5))
  times = list(clipped["change"])
  assert clipped["change"][times[0]] > max(0.02, clipped["change"][times[-1]])
  assert clipped["change"][times[0]] > some["change"][times[0]] > much["change"][times[0]]
  assert abs(much["change"][times[0]]) < 0.5 * clipped["change"][times[0]]
  assert clipped["num_scenes"] == clipped["num_groups"] == 2 and all(error >= 0 for error in clipped["error"].values())


def test_the_table_of_brightness_says_what_it_rests_on():
  """Errors where there are any, the number of photos, and that two are no evidence."""
  bias = {"0": dict(change={"8": 0.188, "56": -0.0042}, error={"8": 0.0123, "56": 0.001}, num_scenes=16, num_groups=2),
          "0.25": dict(change={"8": 0.0, "56": 0.0}, error={"8": np.nan, "56": np.nan}, num_scenes=16, num_groups=2)}
  text = black_level.format_bias(bias)
  first, second = rows_of(text)
  assert first["8"] == ["+18.8 ± 1.2 %"] and first["56"] == ["-0.4 ± 0.1 %"] and second["8"] == ["+0.0 %"]
  assert "16 scenes of 2 photos" in text and "no evidence" in text


def _records(psnr, shift):
  """Two draws each of six scenes of three photos; the second draw is 1 dB better, by each method."""
  return [Record(method=method, scene_id=scene, draw=draw, psnr=psnr[scene] + change + draw, ssim=0.9, l1=0.01,
                 preview_gain=600.0, exposure_times=(0.01,), motion_magnitude=0.1, group=f"photo {scene % 3}")
          for method, change in shift.items() for scene in range(6) for draw in range(2)]


def test_changes_are_paired_by_scene_and_have_intervals_over_photos():
  """Scenes differ by decibels, which has to cancel; DEBIR has no distance to itself."""
  psnr = 30 + 5 * np.asarray(jax.random.normal(jax.random.key(0), (6,)))
  moved = psnr + np.array([0.1, 0.3, 0.5, 0.1, 0.3, 0.5])  # Alike within a photo.
  records = {"level 0": _records(psnr, {"DEBIR": 0.0, "bracketing": -2.0}),
             "level 1": _records(moved, {"DEBIR": 0.0, "bracketing": -1.5})}
  text = black_level.format_changes(records)
  debir, bracketing = rows_of(text)
  error = np.std([0.1, 0.3, 0.5], ddof=1) / np.sqrt(3)
  assert debir["PSNR"][0].startswith(f"+0.300 ± {error:.3f} [+0.1") and debir["vs DEBIR"] == [""]
  assert bracketing["PSNR"][0].startswith(f"+0.800 ± {error:.3f} [")
  assert bracketing["vs DEBIR"] == ["+0.500 ± 0.000 [+0.500, +0.500]"]
  assert "What level 1 changes against level 0" in text and re.search("no evidence.*3 photos", text)


def test_changes_need_the_same_captures():
  """Another scene at one of the levels is not taken for the same."""
  rows = _records(np.full(6, 30.0), {"DEBIR": 0.0})
  others = [dataclasses.replace(row, scene_id=row.scene_id + 1) for row in rows]
  with pytest.raises(ValueError, match="different sets"):
    black_level.format_changes({"level 0": rows, "level 1": others})
