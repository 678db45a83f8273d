"""Active S-L of the paper's Table 1, beside DEBIR and fixed exposures with as many frames as it has: two.

  python -m experiments.active_sl --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.active_sl                   # the quickstart's networks and scenes

A classifier chooses among 16 pairs of exposure times. It learns by cross entropy which of them the pre-trained restorer
for two frames restores best; then the restorer is fine-tuned for it, as for every method. Results go into
<workdir>/active_sl. The paper compares it with four frames of the other methods: those are in Table 1 and 4.
"""

import pathlib

import ml_collections

from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from experiments import networks, scales, tables

NAME = "Active S-L"
PAPER = {NAME: (33.89, 0.9379, 0.176), f"{networks.DEBIR}, two frames": (34.22,), "bracketing, two frames": (33.59,),
         f"{networks.DEBIR}, four frames": (35.32, 0.9519, 0.154)}


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  config, root = networks.with_frames(config, workdir, 2)
  _, start = networks.pretrained(config, root)
  experiment, state = networks.trained(config, root, networks.DEBIR, {"bae.network": "baenet"})
  chooser = networks.trained(config, root, NAME, {"bae.network": "active_sl"}, stages=("stage2_warmup", "stage3"))
  methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, root)]
  records = experiment.evaluate(methods) + chooser[0].evaluate([networks.method(NAME, *chooser)])
  with locked(str(workdir / "active_sl")) as path:
    return tables.write({"two frames": records}, path, reference=networks.DEBIR, paper=PAPER)


main = scales.main_of(__doc__, "active_sl", run)

if __name__ == "__main__":
  prepare_memory()
  main()
