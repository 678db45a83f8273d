"""How results depend on the gain of the preview, inside and outside of the range that the networks were trained for.

  python -m experiments.gain_range --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.gain_range                   # the quickstart's networks and scenes

All test scenes at each of seven gains, from half the lowest gain of training to twice the highest, for DEBIR,
bracketing and the uniform exposures {16} and {32}, each with its fine-tuned restorer; the same scenes and noise draws
for all. Outside of the range the gain that BAENet sees is clipped to it. Written to <workdir>/gain_range: table.md,
JSON, figure.
"""

import pathlib

import ml_collections

from debir_jax.evaluation import summarize
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from experiments import networks, plots, scales, tables

_FACTORS = (0.5, 0.71, 1, 1.41, 2, 2.83, 4)  # Of the lowest gain of training; the highest is 2.


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures at every gain, writes the results; returns the table."""
  _, start = networks.pretrained(config, workdir)
  experiment, state = networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  with locked(str(workdir / "gain_range")) as path:
    methods = [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, workdir)]
    summaries = {}
    for factor in _FACTORS:
      gain = factor * config.capture.min_preview_gain
      log(f"measuring at gain {gain:.0f} ...")
      evaluator = experiment.evaluator_with(num_draws=config.evaluation.num_draws, preview_gain=gain)
      summaries[gain] = summarize(experiment.evaluate(methods, evaluator=evaluator))
    _draw(path / "gain_range.png", summaries, config.capture)
    return tables.write_conditions({f"{gain:.0f}": rows for gain, rows in summaries.items()}, path, "Gain {}".format)


def _draw(path, summaries, capture) -> None:
  names = [row.method for row in next(iter(summaries.values()))]
  of_gains = lambda index, field: [getattr(rows[index], field) for rows in summaries.values()]
  quality = {name: (of_gains(index, "psnr"), None) for index, name in enumerate(names)}  # Scenes differ by decibels.
  paired = {name: (of_gains(index, "difference"), of_gains(index, "difference_error"))
            for index, name in enumerate(names) if name != networks.DEBIR}
  plots.lines(path, list(summaries), {"PSNR, dB": quality, f"PSNR less that of {networks.DEBIR}, dB": paired},
              x_label="gain of the preview (grey: training)", log_x=True,
              shaded=(capture.min_preview_gain, capture.max_preview_gain))


main = scales.main_of(__doc__, "gain_range", run)

if __name__ == "__main__":
  prepare_memory()
  main()
