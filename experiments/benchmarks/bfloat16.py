"""What computing the restorer in bfloat16 costs in PSNR: held-out scenes of a finished run, the same captures in both
types.

  PYTHONPATH=. python experiments/benchmarks/bfloat16.py --config=configs/quickstart.py --workdir=runs/quickstart

takes the restorer of stage 1, prints its PSNR in both types with the paired difference, for every fixed exposure of the
paper's set E, and writes experiments/benchmarks/results/bfloat16_<device>.json.
"""

import datetime
import json
import pathlib
import platform

from absl import app, flags, logging
import jax
from ml_collections import config_flags
import numpy as np

from debir_jax.evaluation.evaluate import Method
from debir_jax.policies import Fixed, candidate_set
from debir_jax.runtime.files import write_text
from debir_jax.training.experiment import Experiment

_CONFIG = config_flags.DEFINE_config_file("config", None, "What the run was started with.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the run.", required=True)
_RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def psnr_by_candidate(config, workdir: pathlib.Path, dtype: str) -> dict[str, np.ndarray]:
  """PSNR in dB of every held-out capture `[scenes * draws]`, by the name of the exposure times."""
  config = config.copy_and_resolve_references()
  config.compute.dtype = dtype
  experiment = Experiment(config)
  variables = experiment.load_stage("stage1", workdir, experiment.initial_state()).restoration_variables
  candidates = candidate_set(experiment.setup.timing)
  methods = [Method(name, Fixed(tuple(map(float, times))), variables)
             for name, times in zip(candidates.names, candidates.exposure_times)]
  records = experiment.evaluate(methods)
  return {method.name: np.array([r.psnr for r in records if r.method == method.name]) for method in methods}


def main(_):
  logging.set_verbosity(logging.WARNING)  # Orbax tells every detail of every load.
  wide, narrow = [psnr_by_candidate(_CONFIG.value, pathlib.Path(_WORKDIR.value), dtype)
                  for dtype in ("float32", "bfloat16")]
  rows = {}
  print(f"{'exposure times':24s} {'float32, dB':>12s} {'bfloat16 - float32, dB':>24s} {'largest':>9s}")
  for name, values in wide.items():
    change = narrow[name] - values
    error = change.std(ddof=1) / np.sqrt(change.size)
    rows[name] = dict(float32_db=values.mean(), change_db=change.mean(), standard_error_db=error,
                      largest_change_db=np.abs(change).max(), captures=change.size)
    print(f"{name:24s} {values.mean():12.3f} {change.mean():+15.4f} ± {error:.4f} {np.abs(change).max():9.4f}")
  device = jax.devices()[0]
  write_text(_RESULTS / f"bfloat16_{device.platform}.json", json.dumps(dict(
      rows=rows, device=device.device_kind, machine=platform.processor() or platform.machine(), jax=jax.__version__,
      date=datetime.date.today().isoformat(), seed=_CONFIG.value.seed), indent=2) + "\n")


if __name__ == "__main__":
  app.run(main)
