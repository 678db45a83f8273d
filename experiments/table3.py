"""Table 3 of the paper: what each input of BAENet is worth; and, of Sec. 6.3, an exposure time for each frame.

  python -m experiments.table3 --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.table3                   # the quickstart's networks and scenes

BAENet without the preview, without the gain, without the motion, and with a single exposure time for all frames, each
trained through stages 2 and 3 from the same restorer as DEBIR. Results go into <workdir>/table3.
"""

import pathlib

import ml_collections

from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison
from experiments import networks, scales, tables

PAPER = {networks.DEBIR: (35.32,), "without preview": (34.80,), "without gain": (35.21,), "without motion": (35.13,),
         networks.UNIFORM_EXPOSURE: (35.01,)}
_CHANGES = {
    networks.DEBIR: {"bae.network": "baenet"}, "without preview": {"bae.use_preview": False},
    "without gain": {"bae.use_gain": False}, "without motion": {"bae.use_motion": False},
    networks.UNIFORM_EXPOSURE: {"bae.network": "uniform_exposure"}}


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  networks.pretrained(config, workdir)
  records = []
  for name, changes in _CHANGES.items():
    experiment, state = networks.trained(config, workdir, name, changes)
    records += experiment.evaluate([networks.method(name, experiment, state)])
  with locked(str(workdir / "table3")) as path:
    return tables.write({comparison.FINETUNED_COLUMN: records}, path, reference=networks.DEBIR, paper=PAPER)


main = scales.main_of(__doc__, "table3", run)

if __name__ == "__main__":
  prepare_memory()
  main()
