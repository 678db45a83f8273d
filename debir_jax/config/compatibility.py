"""What a network was made for, and whether it may be used for something else: it may not.

Networks that are used under other conditions than they were trained for give wrong results without any other sign.
"""

import dataclasses
import json
from typing import Any

import ml_collections

from debir_jax.config.capture import burst_sizes_of, timing_of


def purposes_of(config: ml_collections.ConfigDict, flow_estimator: str | None = None) -> dict[str, Any]:
  """What each part of a checkpoint is trained for; JSON. A part is used under the same purpose only.

  Args:
    config: of the run.
    flow_estimator: name of the one that measures the motion, where it may differ from `config.motion.estimator`, as
      `flow_of` says.
  """
  timing = dataclasses.asdict(timing_of(config))
  capture = {name: config.capture[name] for name in ("noise", "min_preview_gain", "max_preview_gain")}
  conditions = dict(timing=timing, **capture)
  if sizes := burst_sizes_of(config):
    conditions["burst_sizes"] = list(sizes)
  motion = dict(estimator=flow_estimator or config.motion.estimator,
                full_scale_px_per_s=config.motion.full_scale_px_per_s)
  network = dict(**config.restorer, inputs=config.restorer_inputs.to_dict())
  return dict(restoration=dict(conditions=conditions, network=network),
              bae=dict(conditions=conditions, network=config.bae.to_dict(), motion=motion))


def check_purpose(found: dict[str, Any] | None, wanted: dict[str, Any], where: str) -> None:
  """Raises a ValueError that lists every field in which the purposes differ."""
  if not found:
    raise ValueError(f"The {where} does not say what it was trained for; it was not written by debir_jax.")
  found, wanted = dict(flatten(found)), dict(flatten(json.loads(json.dumps(wanted))))
  missing = object()
  different = [name for name in sorted(found | wanted) if found.get(name, missing) != wanted.get(name, missing)]
  if different:
    lines = [f"  {name}: {found.get(name, 'absent')} there, {wanted.get(name, 'absent')} here" for name in different]
    raise ValueError("\n".join([f"The {where} was made for something else:", *lines,
                                "Use the settings it was made with, or another --workdir or --config.init_from."]))


def flatten(tree: dict[str, Any], prefix: str = ""):
  """Yields (dotted name, value) for every leaf of a nested dictionary."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value
