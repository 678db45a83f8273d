"""What a network was made for, and whether it may be used for something else: it may not.

Networks that are used under other conditions than they were trained for give wrong results without any other sign.
"""

from collections.abc import Mapping
import json
import types
from typing import Any, Iterator

import ml_collections

from debir_jax.config.capture import capture_setup_of
from debir_jax.config.networks import Models
from debir_jax.weights.descriptions import (
  TRAINED_FOR_DEFAULTS,
  describe_conditions,
  describe_motion,
  describe_predictor,
  describe_restorer,
)

# What a network is told anew in every use, and may be: its weights mean the same under any penalty.
_CHOSEN_IN_USE = ("architecture.penalties.",)
# In what networks for bursts of different lengths differ; see `Experiment.load_restorer_of_other_bursts`.
OF_BURST_LENGTH = ("trained_for.timing.num_frames", "trained_for.timing.budget_s", "trained_for.burst_sizes")
# What a network may not know of itself, where it was converted alone.
_MAY_BE_UNKNOWN = "trained_for.motion.weights"
_LATER_CONDITIONS = {f"trained_for.{name}": value for name, value in TRAINED_FOR_DEFAULTS.items()}


def compatibility_of(config: ml_collections.ConfigDict, models: Models) -> dict[str, Any]:
  """By part of a checkpoint, the architecture of its network and what it is trained for; JSON.

  Args:
    config: of the run.
    models: its networks.
  """
  trained_for = describe_conditions(capture_setup_of(config, training=True), models.burst_sizes)
  return dict(
      restoration=dict(architecture=describe_restorer(models.restorer, models.restorer_inputs),
                       trained_for=trained_for),
      bae=dict(architecture=describe_predictor(models.bae, models.bae_inputs),
               trained_for=trained_for | dict(motion=describe_motion(models.motion))))


def check_compatible(found: dict[str, Any] | None, wanted: dict[str, Any], where: str, *,
                     later: Mapping[str, Any] = types.MappingProxyType(_LATER_CONDITIONS),
                     except_for: tuple[str, ...] = ()) -> None:
  """Raises a ValueError that lists every field in which two descriptions differ.

  Args:
    found, wanted: nested dictionaries, JSON.
    where: what was found, for the message.
    later: fields, dotted, that came later, with what held before there were any.
    except_for: fields, dotted, that may differ.
  """
  if not found:
    raise ValueError(f"The {where} does not say what it was trained for; it was not written by debir_jax.")
  found, wanted = dict(later) | dict(flatten(found)), dict(later) | dict(flatten(json.loads(json.dumps(wanted))))
  missing = object()
  different = [name for name in sorted(found | wanted) if not name.startswith(_CHOSEN_IN_USE + except_for)
               and found.get(name, missing) != wanted.get(name, missing)
               and not (name == _MAY_BE_UNKNOWN and name not in found)]
  if different:
    lines = [f"  {name}: {found.get(name, 'absent')} there, {wanted.get(name, 'absent')} here" for name in different]
    raise ValueError("\n".join([f"The {where} was made for something else:", *lines,
                                "Use the settings it was made with, or another --workdir or --config.init_from."]))


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields (dotted name, value) for every leaf of a nested dictionary."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value
