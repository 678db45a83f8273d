"""Runs every trial of a config's `sweep()`, and puts their results on validation scenes side by side.

  python -m debir_jax.sweep --config=configs/sweeps/stage2.py --config.init_from=runs/quickstart --workdir=runs/sweep

The config file has, beside `get_config`, a function `sweep()`: a dictionary of names of trials and the fields that each
of them changes, for example

  def sweep():
    return {f"rate {rate:g}": {"stage2.learning_rate": rate, "seed": 1} for rate in (1e-5, 1e-4, 1e-3)}

Each trial runs in a process of its own, one after the other, or several at a time with --processes, into a folder of
its name in the workdir. The same command goes on with a sweep that was stopped, and skips what is finished. Run it
several times at once, on other machines or GPUs (CUDA_VISIBLE_DEVICES) with the same workdir: they share the trials.
The workdir gets table.md, trials.json and trials.png: how well each trial's method does on the validation scenes, and
its difference to the first trial on the same scenes and noise draws. Trials that differ in their seed alone, named
alike but for ", seed 1" at the end, are also put together: their table has intervals over photos and seeds.
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from debir_jax.runtime import command_line, platform
from debir_jax.runtime.errors import told_in_a_line

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file with a function sweep().", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "Folder of the trials; an earlier sweep in it goes on.")
_PROCESSES = flags.DEFINE_integer("processes", 1, "How many trials run at a time.", lower_bound=1)
_METHOD = flags.DEFINE_string("method", "DEBIR", "Which method of each trial's table is compared.")
_TRIAL = flags.DEFINE_string("trial", None, "Run this trial alone, in this process.")


def main(argv: list[str]) -> None:
  """Runs all trials, or the one that is named."""
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected arguments {argv[1:]}; options start with --.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  from debir_jax.sweep import trials as trials_lib  # After the flags are read, so that --help is quick.
  from debir_jax.training import runner
  config_flag, workdir = flags.FLAGS["config"], pathlib.Path(_WORKDIR.value).expanduser()
  with told_in_a_line(*runner.USER_ERRORS):
    trials = trials_lib.trials_of(config_flags.get_config_filename(config_flag).partition(":")[0])
    trials_lib.check_not_given_twice(trials, config_flags.get_override_values(config_flag))
    sweep = trials_lib.Sweep(_CONFIG.value, trials, workdir)
    if _TRIAL.value is None:
      sys.exit(sweep.run_all([sys.executable, "-m", "debir_jax.sweep", *sys.argv[1:]], _PROCESSES.value, _METHOD.value))
    sys.exit(sweep.run_one(_TRIAL.value))


if __name__ == "__main__":
  platform.prepare_memory()
  app.run(main, flags_parser=command_line.parse_flags)
