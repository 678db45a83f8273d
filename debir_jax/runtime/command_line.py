"""What the commands of this package share: flags and config files."""

import importlib.util
import pathlib
import sys
import types

from absl import flags
import ml_collections

flags.DEFINE_bool("huge_pages", True, "Put arrays on huge pages where Linux gives them on request (faster on CPUs); "
                  "the program starts once more for it. --nohuge_pages: do not.")


def parse_flags(argv: list[str]) -> list[str]:
  """Parses flags, --config among them; what is wrong comes as one line with the remedy, not as a traceback."""
  try:
    flags.mark_flags_as_required(["config"])
    return flags.FLAGS(argv)
  except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError, ImportError, flags.Error) as error:
    sys.exit(f"Error: {error}\nconfigs/default.py lists every field; --help explains the options. Run it from the top "
             "folder of the checkout.")


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
