"""The noise of a camera over ISO, in a file that simulator, BAENet and restorer share.

  shot_noise(ISO) = shot_at_iso_0 + shot_per_iso * ISO        read_variance(ISO) = read_at_iso_0 + read_per_iso2 * ISO^2

Photons amplified, and what is read behind and before the amplifier. Relative to white = 1.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from debir_jax.camera.noise_fit import NoiseFit
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.runtime.files import local_path, read_json
from debir_jax.simulator import NoiseModel

SCHEMA = "debir_jax/noise-calibration"
VERSION = 1
_COEFFICIENTS = ("shot_at_iso_0", "shot_per_iso", "read_at_iso_0", "read_per_iso2")
_HUBER = 1.5  # Standard errors from where a point of one ISO counts less.
_ROUNDS = 10
_MOST_BYTES = 2**20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CalibratedNoise:
  """A `NoiseModel` of a camera: its noise at ISO = base_iso * gain."""

  shot_at_iso_0: float | jax.Array
  shot_per_iso: float | jax.Array
  read_at_iso_0: float | jax.Array
  read_per_iso2: float | jax.Array
  base_iso: float | jax.Array = 100.0

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """See `NoiseModel.variance`."""
    iso = self.base_iso * jnp.asarray(gain)
    shot_noise, read_variance = self.shot_at_iso_0 + self.shot_per_iso * iso, (
        self.read_at_iso_0 + self.read_per_iso2 * iso**2)
    return read_variance + shot_noise * jnp.maximum(signal, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseCalibration:
  """A camera's noise.

  Attributes:
    shot_at_iso_0, shot_per_iso, read_at_iso_0, read_per_iso2: see the module; none below 0.
    camera: make and model; "" for any.
    iso_range: (lowest, highest) that was measured.
  """

  shot_at_iso_0: float
  shot_per_iso: float
  read_at_iso_0: float
  read_per_iso2: float
  camera: str = ""
  iso_range: tuple[float, float] = (0.0, math.inf)

  def __post_init__(self):
    for name in _COEFFICIENTS:
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{name} of a noise calibration must be a number of 0 or more, got {value!r}.")
    if not self.shot_at_iso_0 + self.shot_per_iso + self.read_at_iso_0 + self.read_per_iso2 > 0:
      raise ValueError("A noise calibration without any noise says nothing.")

  def profile_at(self, iso: float) -> NoiseProfile:
    """The noise at an ISO."""
    return NoiseProfile(shot_noise=self.shot_at_iso_0 + self.shot_per_iso * iso,
                        read_variance=self.read_at_iso_0 + self.read_per_iso2 * iso**2)

  def noise_model(self, base_iso: float = 100.0) -> CalibratedNoise:
    """For the simulator: at gain 1 the noise of the base ISO."""
    return CalibratedNoise(*(getattr(self, name) for name in _COEFFICIENTS), base_iso)


def calibrate(fits: Mapping[float, NoiseFit], camera: str = "") -> NoiseCalibration:
  """The course over ISO of fits by ISO; of one ISO alone, by physics: in proportion to ISO and to its square.

  Raises:
    ValueError: there are none.
  """
  if not fits:
    raise ValueError("There is nothing to calibrate with.")
  isos = np.array(sorted(fits), float)
  column = lambda name: np.array([getattr(fits[iso], name) for iso in isos])
  errors = np.array([np.sqrt(np.diag(fits[iso].covariance)) for iso in isos]).T
  shot = _robust_line(isos, column("shot_noise"), errors[0])
  read = _robust_line(isos**2, column("read_variance"), errors[1])
  return NoiseCalibration(shot_at_iso_0=shot[0], shot_per_iso=shot[1], read_at_iso_0=read[0], read_per_iso2=read[1],
                          camera=camera, iso_range=(float(isos[0]), float(isos[-1])))


def equivalent_gain(profile: NoiseProfile, noise_model: NoiseModel, signal: float) -> float:
  """The gain at which a noise model is as noisy as a profile at a signal: what networks trained with it are told.

  Within 1/16 to 2^20; models whose noise falls with the gain have none.
  """
  excess = lambda log_gain: math.log(
      NoiseProfile.of_model(noise_model, math.exp(log_gain)).std_at(signal) / profile.std_at(signal))
  low, high = math.log(1 / 16), math.log(2.0**20)
  if excess(low) >= 0 or excess(high) <= 0:
    return math.exp(low if excess(low) >= 0 else high)
  return math.exp(optimize.brentq(excess, low, high, xtol=1e-4))


def calibration_json(calibration: NoiseCalibration, fits: Mapping[float, NoiseFit]) -> dict[str, Any]:
  """What a file holds: the calibration, and what it was fitted to."""
  points = [dict(iso=iso, shot_noise=fit.shot_noise, shot_interval=list(fit.shot_interval),
                 read_variance=fit.read_variance, read_interval=list(fit.read_interval))
            for iso, fit in sorted(fits.items())]
  return dict(schema=SCHEMA, version=VERSION) | dataclasses.asdict(calibration) | dict(points=points)


def read_calibration(path: str | os.PathLike) -> NoiseCalibration:
  """The calibration of a file.

  Raises:
    ValueError: it is none, damaged, or of a newer version.
  """
  path = local_path(path, "--noise")
  remedy = "Write it anew: python -m debir_jax.camera.calibrate FILES..."
  found = _json_of(path, remedy)
  if not isinstance(found, dict) or found.get("schema") != SCHEMA:
    raise ValueError(f"{path} is no noise calibration. {remedy}")
  if found.get("version") != VERSION:
    raise ValueError(f"{path} is of version {found.get('version')!r}, this package knows {VERSION}. Update it, or "
                     "write the file anew.")
  try:
    low, high = found["iso_range"]
    return NoiseCalibration(**{name: found[name] for name in _COEFFICIENTS}, camera=str(found["camera"]),
                            iso_range=(float(low), float(high)))
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{path} is damaged ({error}). {remedy}") from error


def _json_of(path: pathlib.Path, remedy: str) -> Any:
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"{path} is too large for a noise calibration. {remedy}")
  return read_json(path, remedy)


def _robust_line(places: Sequence[float], values: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
  """Value at 0 and slope, none below 0, of points of which some may be off; of a single one, the slope alone."""
  places, values, errors = (np.asarray(each, float) for each in (places, values, errors))
  design = np.stack([np.ones_like(places), places], 1)
  if len(places) == 1:
    return 0.0, float(max(values[0] / places[0], 0))
  scale, weights = 1 / np.max(places), 1 / np.maximum(errors, 1e-30)
  robust = np.ones_like(weights)
  for _ in range(_ROUNDS):
    weighted = np.sqrt(robust) * weights
    scaled = design * [1, scale] * weighted[:, None]
    line = optimize.nnls(scaled / np.max(weighted), values * weighted / np.max(weighted))[0] * [1, scale]
    deviation = np.abs(values - design @ line) * weights
    robust = np.minimum(1, _HUBER / np.maximum(deviation, 1e-9))
  return float(line[0]), float(line[1])
