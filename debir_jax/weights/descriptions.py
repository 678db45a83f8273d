"""What a weight file says of its network: the *architecture*, from which it is built again, and what it was *trained
for*: timing, noise and gains, and the estimator behind the motion magnitude.

Options of training alone (dropout, first weights, rematerialisation, the type to compute in) are no part of it. A field
that is missing in a file has the default of this version; a field that this version does not know is an error.
"""

import dataclasses
from typing import Any

import jax

from debir_jax.motion import LucasKanade, MotionEstimator, Raft
from debir_jax.policies import (
  BLOCKS,
  LIGHT_BLOCKS,
  ActiveSL,
  BaeInputs,
  BAENet,
  BurstPenalty,
  BurstSizeBAENet,
  DigitalGimbal,
  ExposurePredictor,
)
from debir_jax.restoration import AlignedUNet, Burstormer, Restorer, RestorerInputs
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.simulator import CaptureSetup, IsoNoise, NoiseModel, PaperNoise, PoissonGaussianNoise
from debir_jax.types import BurstTiming

# Fields of networks that say how they are trained or computed, or where they stand in a larger module.
_NOT_ARCHITECTURE = ("identity_alignment", "dtype", "remat", "dropout_rate", "classifier_scale", "axis_name", "parent",
                     "name")
# Names in weight files and in configs.
_RESTORERS = {"burstormer": Burstormer, "aligned_unet": AlignedUNet}
_PREDICTORS = {"baenet": BAENet, "digital_gimbal": DigitalGimbal, "burst_size": BurstSizeBAENet, "active_sl": ActiveSL}
BAE_BLOCKS = {"mobilenet_v2": BLOCKS, "light": LIGHT_BLOCKS}
NOISE_MODELS = dict(iso=IsoNoise, paper=PaperNoise, poisson_gaussian=PoissonGaussianNoise)
FLOW_ESTIMATORS = dict(lucas_kanade=LucasKanade(), raft_small=Raft("small"), raft_large=Raft("large"))

TRAINED_FOR_DEFAULTS = dict(black_level=0.0)  # Of fields that descriptions of earlier versions lack.

Description = dict[str, Any]


def describe_restorer(restorer: Restorer, inputs: RestorerInputs) -> Description:
  """Architecture of a restorer, JSON."""
  return _described(restorer, _RESTORERS) | dict(inputs=dataclasses.asdict(inputs))


def build_restorer(architecture: Description) -> tuple[Restorer, RestorerInputs]:
  """The inverse of `describe_restorer`.

  Raises:
    ValueError: the restorer is none of this package, or of a newer version of it.
  """
  fields = {name: value for name, value in architecture.items() if name != "inputs"}
  return _built(_class_of(fields, _RESTORERS, "restorer"), fields), build_restorer_inputs(architecture)


def build_restorer_inputs(architecture: Description) -> RestorerInputs:
  """What the restorer of an architecture sees, also of one that is none of this package."""
  return _built(RestorerInputs, architecture.get("inputs", {}))


def describe_predictor(module: ExposurePredictor, inputs: BaeInputs) -> Description:
  """Architecture of BAENet, or of what takes its place, JSON."""
  described = _described(module, _PREDICTORS)
  if "blocks" in described:
    names = [name for name, blocks in BAE_BLOCKS.items() if blocks == module.blocks]
    described["blocks"] = names[0] if names else [list(block) for block in module.blocks]
  seen = dataclasses.asdict(inputs)
  seen.pop("min_preview_gain")  # Of what it was trained for.
  return described | dict(inputs=seen)


def build_predictor(architecture: Description, min_preview_gain: float) -> tuple[ExposurePredictor, BaeInputs]:
  """The inverse of `describe_predictor`; see `build_restorer`."""
  fields = dict(architecture)
  inputs = _built(BaeInputs, dict(min_preview_gain=min_preview_gain, **fields.pop("inputs", {})))
  if "blocks" in fields:
    blocks = fields["blocks"]
    fields["blocks"] = BAE_BLOCKS[blocks] if isinstance(blocks, str) else tuple(map(tuple, blocks))
  if "penalties" in fields:
    fields["penalties"] = _built(BurstPenalty, fields["penalties"])
  return _built(_class_of(fields, _PREDICTORS, "network in BAENet's place"), fields), inputs


def describe_conditions(setup: CaptureSetup, burst_sizes: tuple[int, ...] = ()) -> Description:
  """What bursts a network is for, JSON."""
  names = {kind: name for name, kind in NOISE_MODELS.items()}
  kind = type(setup.noise_model)
  return dict(timing=dataclasses.asdict(setup.timing), noise=names.get(kind, kind.__name__),
              min_preview_gain=setup.min_preview_gain, max_preview_gain=setup.max_preview_gain,
              black_level=setup.black_level,
              burst_sizes=list(burst_sizes))


def build_conditions(conditions: Description) -> tuple[BurstTiming, NoiseModel | None]:
  """Timing and noise model of `describe_conditions`; None for a noise that is none of this package."""
  noise = NOISE_MODELS.get(conditions["noise"])
  return _built(BurstTiming, dict(conditions["timing"])), None if noise is None else noise()


def describe_motion(motion: MotionEstimator) -> Description:
  """Where the motion magnitude comes from, JSON; of the estimator's weights, where it has any, a fingerprint."""
  weights = dict(weights=fingerprint(jax.device_get(motion.variables))) if jax.tree.leaves(motion.variables) else {}
  return dict(estimator=motion.estimator.name, full_scale_px_per_s=motion.full_scale_px_per_s, **weights)


def build_motion(described: Description, variables: Any) -> MotionEstimator:
  """The inverse of `describe_motion`, with the weights of the estimator.

  Raises:
    ValueError: there is no such estimator, or the weights are others than those of the description.
  """
  estimator = FLOW_ESTIMATORS.get(described["estimator"])
  if estimator is None:
    raise ValueError(f"The motion was measured by {described['estimator']!r}, which this version of debir_jax does not "
                     f"have; it has {', '.join(FLOW_ESTIMATORS)}.")
  motion = MotionEstimator(estimator=estimator, variables=variables,
                           full_scale_px_per_s=described["full_scale_px_per_s"])
  if described.get("weights") and jax.tree.leaves(variables) and describe_motion(motion) != described:
    raise ValueError(f"The weights of {estimator.name} are others than those that the network was trained with "
                     f"({describe_motion(motion)['weights']} instead of {described['weights']}).")
  return motion


def with_defaults(part: str, description: Description) -> Description:
  """The description of a "restoration" or "bae" network with the defaults of fields that came later than its file."""
  architecture, trained_for = description["architecture"], description["trained_for"]
  if part == "restoration" and architecture.get("name") in _RESTORERS:
    architecture = describe_restorer(*build_restorer(architecture))
  if part == "bae" and architecture.get("name") in _PREDICTORS:
    architecture = describe_predictor(*build_predictor(architecture, trained_for["min_preview_gain"]))
  return description | dict(architecture=architecture)


def _described(module, known):
  """Name and fields of a network; those of another class than the known ones as far as they are JSON."""
  names = {kind: name for name, kind in known.items()}
  described = dict(name=names.get(type(module), type(module).__name__))
  for field in dataclasses.fields(module) if dataclasses.is_dataclass(module) else ():
    value = getattr(module, field.name)
    if field.name not in _NOT_ARCHITECTURE:
      described[field.name] = _json_of(value)
  return described


def _json_of(value):
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return dataclasses.asdict(value)
  if isinstance(value, (tuple, list)):
    return [_json_of(item) for item in value]
  return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)


def _class_of(fields, known, what):
  name = fields.pop("name", next(iter(known)))
  if name not in known:
    raise ValueError(f"The {what} {name!r} of these weights is none of this version of debir_jax ({', '.join(known)}). "
                     "Update the package, or pass the network: debir_jax.load(..., restorer=...).")
  return known[name]


def _built(kind, fields):
  """An object of these fields; lists become tuples, as networks must be hashable."""
  unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
  if unknown:
    raise ValueError(f"These weights describe their {kind.__name__} by {', '.join(unknown)}, which this version of "
                     "debir_jax does not know. Update the package.")
  return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
