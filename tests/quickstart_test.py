"""The quickstart at its full size, on what its results must show. Ten minutes: `pytest -m slow`.

It goes on with `runs/quickstart`, so that a finished run is only evaluated again.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from debir_jax.evaluation.correlation import correlate
from debir_jax.evaluation.records import by_method, read_records
from debir_jax.evaluation.summary import summarize

_ROOT = pathlib.Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results():
  """Folder with the results of the quickstart."""
  command = [sys.executable, "-m", "debir_jax.main", "--config=configs/quickstart.py", "--workdir=runs/quickstart"]
  environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # Here it is the programs that take their time.
  subprocess.run(command, cwd=_ROOT, env=environment, check=True)
  return _ROOT / "runs" / "quickstart" / "results"


def test_choosing_the_exposure_per_scene_is_worth_something(results):
  """Cross-validated headroom above zero: otherwise scenes or restorer leave no policy anything to gain."""
  assert json.loads((results / "headroom.json").read_text())["gain_cross_validated_db"] > 0


@pytest.mark.parametrize("column", ["stage_1_restorer", "fine-tuned_restorers"])
def test_no_fixed_exposure_is_better_than_debir_beyond_the_error(results, column):
  """Paired difference to DEBIR at most two standard errors above zero, for every fixed exposure."""
  for summary in summarize(read_records(results / f"records_{column}.jsonl")):
    if summary.method != "DEBIR":
      assert summary.difference < 2 * summary.difference_error, summary


def test_the_first_frame_gets_shorter_with_motion(results):
  """Fig. 3 (a) of the paper: the 95 % interval of the correlation lies below zero."""
  ours = by_method(read_records(results / "records_fine-tuned_restorers.jsonl"))["DEBIR"]
  first = np.array([record.exposure_times[0] for record in ours])
  motion = np.array([record.motion_magnitude for record in ours])
  scene_ids = np.array([record.scene_id for record in ours])
  assert correlate(motion, first, scene_ids).high < 0
