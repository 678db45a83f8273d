"""What the commands of this package share: flags and config files."""

import importlib.util
import pathlib
import sys
import types

from absl import flags
import ml_collections

from debir_jax.runtime import workdir

flags.DEFINE_bool("huge_pages", True, "Put arrays on huge pages where Linux gives them on request (faster on CPUs); "
                  "the program starts once more for it. --nohuge_pages: do not.")

flags.DEFINE_bool("lock_workdir", True, "Keep other runs out of the workdir. --nolock_workdir: for file systems "
                  "without locks; two runs into one folder would then damage each other.")


def parse_flags(argv: list[str]) -> list[str]:
  """Parses flags, --config among them; what is wrong comes as one line with the remedy, not as a traceback."""
  try:
    flags.mark_flags_as_required(["config"])
    rest = flags.FLAGS(argv)
    flags.FLAGS["config"].value.keys()  # A config that could not be loaded is an error only when it is looked into.
  except (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError, SyntaxError, flags.Error) as error:
    sys.exit(f"Error: {_missing_config(argv) or error}\nconfigs/default.py lists every field; --help explains the "
             "options. Run it from the top folder of the checkout.")
  workdir.use_locks(flags.FLAGS.lock_workdir)
  return rest


def _missing_config(argv: list[str]) -> str:
  """A sentence where the file of --config is not there; "" otherwise."""
  for option, following in zip(argv[1:], [*argv[2:], ""]):
    name, _, value = option.lstrip("-").partition("=")
    path = (value or following).partition(":")[0]
    if option.startswith("-") and name == "config" and not pathlib.Path(path).is_file():
      return f"There is no config file {path} in {pathlib.Path.cwd()}."
  return ""


def load_config(path_and_mode: str) -> ml_collections.ConfigDict:
  """The config of a file, with what stands behind a colon as its mode, as with --config."""
  path, _, mode = path_and_mode.partition(":")
  return load_config_module(path).get_config(mode)


def load_config_module(path: str) -> types.ModuleType:
  """The Python module of a config file.

  Raises:
    FileNotFoundError: there is none.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"There is no config {path}. Run it from the top folder of the checkout.")
  spec = importlib.util.spec_from_file_location("config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
