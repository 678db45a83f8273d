"""Trains DEBIR, or goes on with an interrupted run.

  python -m debir_jax.main --config=configs/quickstart.py --workdir=runs/quickstart   # everything, small, in minutes
  python -m debir_jax.main --config=configs/all_stages.py --workdir=runs/paper        # the paper's numbers
  python -m debir_jax.main --config=configs/stage2.py:debug --workdir=/tmp/try        # one step, to see that it runs
  python -m debir_jax.main --config=configs/evaluate.py --config.init_from=weights    # converted weights, no training

Run it from the top folder of the checkout. The same command goes on with a run that was stopped, and skips what is
finished. Any field of a config can be overridden, e.g. --config.batch_size=8 --config.data.photos=/my/photos;
configs/default.py lists and explains them all.

The workdir gets a folder per stage (checkpoints, log.jsonl, TensorBoard event files) and, where the config asks for a
comparison, `results` with tables and pictures.

All devices of the machine share each batch. Several machines share it when each runs the same command with the same
workdir on a common file system, and

  --distributed                                                       # on Cloud TPU, Slurm or MPI
  --coordinator=<host of process 0>:1234 --num_processes=2 --process_id=<0 or 1>   # anywhere else

SIGTERM and Ctrl-C save the step at hand and exit with code 75: start the same command again.
"""

# Kept short on purpose: everything that can be tested lies in libraries.
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from debir_jax.runtime import command_line, platform

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, optionally with ':debug' behind it, e.g. configs/stage2.py.",
    lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/debir", "Folder for checkpoints, logs and results; an earlier run in it goes on.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train with several processes. On Cloud TPU, Slurm and MPI JAX finds the others by itself; "
    "elsewhere give --coordinator, --num_processes and --process_id, which imply this flag.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Address of process 0, host:port.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_CONNECT_TIMEOUT_S = flags.DEFINE_integer("connect_timeout_s", 300,
                                          "How long processes wait for each other at the start.")


def main(argv: list[str]) -> None:
  """Runs the stages that the config names."""
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected arguments {argv[1:]}; options start with --.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # Orbax tells every detail of every save.
  from debir_jax.runtime import processes  # After the flags are read, so that --help is quick.
  from debir_jax.training import runner
  try:
    if (_NUM_PROCESSES.value or _PROCESS_ID.value) is not None and not (_DISTRIBUTED.value or _COORDINATOR.value):
      raise processes.ConnectionFailedError("--num_processes and --process_id want --coordinator, the address of "
                                            "process 0: without it every process would train alone.")
    if _DISTRIBUTED.value or _COORDINATOR.value:
      processes.connect(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _CONNECT_TIMEOUT_S.value)
    runner.run(_CONFIG.value, _WORKDIR.value)
  except runner.USER_ERRORS as error:
    sys.exit(f"\nError: {error}")


if __name__ == "__main__":
  platform.prepare_memory()
  app.run(main, flags_parser=command_line.parse_flags)
