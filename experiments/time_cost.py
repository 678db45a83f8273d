"""Beyond the paper: a price on exposure time, and what it buys. PSNR against the time that a burst takes.

  python -m experiments.time_cost --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.time_cost                   # the quickstart's networks and scenes

A camera that exposes for less time saves energy and loses fewer moments. Stage 2 goes on from DEBIR's warm-up with a
cost per second of exposure in its loss (config.stage2.time_cost), at several prices; stage 3 as ever. Uniform exposures
of several lengths, each with its fine-tuned restorer, are what can be had without looking. Written to
<workdir>/time_cost. The number of frames stays: readout between them takes the same time for all.
"""

import dataclasses
import json
import pathlib

import ml_collections

from debir_jax.evaluation import format_table, plots, records_path, summarize, write_records
from debir_jax.runtime.files import write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from experiments import networks, scales, tables

_COSTS = (0.0, 0.03, 0.1, 0.3)  # Loss per second.
_UNIFORM_SUBFRAMES = (12, 16, 20, 24, 28, 32)


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  plain, start = networks.pretrained(config, workdir)
  networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  records = []
  for cost in _COSTS:
    experiment, state = networks.trained(
        config, workdir, f"time cost {cost:g}", {"bae.network": "baenet", "stage2.time_cost": cost},
        stages=("stage2", "stage3"), start=(networks.DEBIR, "stage2_warmup"))
    records += experiment.evaluate([networks.method(_name(cost), experiment, state)])
  with locked(str(workdir / "time_cost")) as path:
    records += plain.evaluate(
        networks.finetuned(plain, start, workdir, networks.uniforms(_UNIFORM_SUBFRAMES)))
    summaries = summarize(records, reference=_name(0.0))
    write_records(records_path(path, "fine-tuned"), records)
    tables.write_environment(path)
    table = lambda **options: format_table({"fine-tuned": summaries}, reference=_name(0.0), **options)
    write_text(path / "table.md", table(markdown=True) + "\n")
    write_text(path / "time_cost.json", json.dumps(list(map(dataclasses.asdict, summaries)), indent=2))
    plots.trade_off(path / "time_cost.png", {
        "predicted, at several prices": summaries[:len(_COSTS)], "uniform": summaries[len(_COSTS):]})
  return table()


def _name(cost) -> str:
  return f"{networks.DEBIR}, {cost:g} per second"


main = scales.main_of(__doc__, "time_cost", run)

if __name__ == "__main__":
  prepare_memory()
  main()
