"""Sec. 6.3 of the paper: an exposure time for each frame against one for all of them.

  python -m experiments.uniform_vs_nonuniform --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.uniform_vs_nonuniform                   # the quickstart's networks and scenes

DEBIR, BAENet with a single exposure time for all frames, the longest uniform exposure and bracketing, each with a
restorer of its own from the same start: is it the times of single frames, or the choice by scene, that helps? Results
go into <workdir>/uniform_vs_nonuniform.
"""

import pathlib

import ml_collections

from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison
from experiments import networks, scales, tables

PAPER = {networks.DEBIR: (35.32, 0.9519, 0.154), networks.UNIFORM_EXPOSURE: (35.01,),
         "bracketing": (35.04, 0.9481, 0.164)}


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  plain, start = networks.pretrained(config, workdir)
  records = []
  for name, network in ((networks.DEBIR, "baenet"), (networks.UNIFORM_EXPOSURE, "uniform_exposure")):
    experiment, state = networks.trained(config, workdir, name, {"bae.network": network})
    records += experiment.evaluate([networks.method(name, experiment, state)])
  with locked(str(workdir / "uniform_vs_nonuniform")) as path:
    records += plain.evaluate(networks.fixed(plain, start, workdir))
    return tables.write({comparison.FINETUNED_COLUMN: records}, path, reference=networks.DEBIR, paper=PAPER)


main = scales.main_of(__doc__, "uniform_vs_nonuniform", run)

if __name__ == "__main__":
  prepare_memory()
  main()
