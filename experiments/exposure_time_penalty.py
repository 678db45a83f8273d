"""Beyond the paper: a penalty on exposure time. PSNR against the time that a burst takes.

  python -m experiments.exposure_time_penalty --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.exposure_time_penalty                   # the quickstart's networks and scenes

A camera that exposes for less time saves energy and loses fewer moments. Stage 2 goes on from BAENet's warm-up with a
penalty per second of exposure in its loss (config.stage2.exposure_time_penalty), of several sizes; stage 3 as ever.
Uniform exposures of several lengths, each with its fine-tuned restorer, are what can be had without looking. Written to
<workdir>/exposure_time_penalty. The number of frames stays: readout between them takes the same time for all.
"""

import json
import pathlib

import ml_collections

from debir_jax.evaluation import format_table, records_path, summarize, write_records
from debir_jax.evaluation.summary import json_fields
from debir_jax.runtime.files import write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison
from experiments import networks, plots, scales, tables

_PENALTIES = (0.0, 0.03, 0.1, 0.3)  # Loss per second.
_UNIFORM_SUBFRAMES = (12, 16, 20, 24, 28, 32)


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the table."""
  plain, start = networks.pretrained(config, workdir)
  records = []
  for penalty in _PENALTIES:
    experiment, state = networks.trained(
        config, workdir, f"exposure time penalty {penalty:g}",
        {"bae.network": "baenet", "stage2.exposure_time_penalty": penalty},
        stages=("stage2", "stage3"), start=networks.WARM_UP)
    records += experiment.evaluate([networks.method(_name(penalty), experiment, state)])
  with locked(str(workdir / "exposure_time_penalty")) as path:
    records += plain.evaluate(
        networks.finetuned(plain, start, workdir, networks.uniforms(_UNIFORM_SUBFRAMES)))
    summaries = summarize(records, reference=_name(0.0))
    write_records(records_path(path, comparison.FINETUNED_COLUMN), records)
    tables.write_environment(path)
    table = lambda **options: format_table({comparison.FINETUNED_COLUMN: summaries}, reference=_name(0.0), **options)
    write_text(path / "table.md", table(markdown=True) + "\n")
    write_text(path / "exposure_time_penalty.json", json.dumps(list(map(json_fields, summaries)), indent=2))
    plots.trade_off(path / "exposure_time_penalty.png", {
        "predicted, with several penalties": summaries[:len(_PENALTIES)], "uniform": summaries[len(_PENALTIES):]})
  return table()


def _name(penalty) -> str:
  return f"{networks.DEBIR}, {penalty:g} per second"


main = scales.main_of(__doc__, "exposure_time_penalty", run)

if __name__ == "__main__":
  prepare_memory()
  main()
