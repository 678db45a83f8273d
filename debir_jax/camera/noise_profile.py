"""The noise of real frames: two numbers a frame, as DNG files state them, and models of noise made of them.

The variance of a sample's noise is shot_noise * signal + read_variance, relative to white = 1 after black level: DNG's
NoiseProfile (tag 51041; Adobe, "Digital Negative Specification", version 1.4), and what the simulator's models give at
one gain.
"""

from collections.abc import Sequence
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.simulator import NoiseModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseProfile:
  """Noise of one frame.

  Attributes:
    shot_noise: variance per unit signal.
    read_variance: variance at signal 0.
  """

  shot_noise: float
  read_variance: float

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value < math.inf:
        raise ValueError(f"{name} of a noise profile must be finite and not negative, got {value}.")
    if not self.shot_noise + self.read_variance > 0:
      raise ValueError("A noise profile without any noise says nothing; leave it out.")

  @classmethod
  def of_model(cls, noise_model: NoiseModel, gain: float) -> "NoiseProfile":
    """What a noise model, affine in the signal, gives at a linear gain."""
    dark, white = (float(noise_model.variance(jnp.float32(signal), jnp.float32(gain))) for signal in (0, 1))
    return cls(shot_noise=white - dark, read_variance=dark)

  def scaled(self, factor: float) -> "NoiseProfile":
    """Of the same frame once its signal is multiplied by a factor."""
    return NoiseProfile(shot_noise=self.shot_noise * factor, read_variance=self.read_variance * factor**2)

  def std_at(self, signal: float) -> float:
    """Standard deviation at a signal."""
    return math.sqrt(self.read_variance + self.shot_noise * max(signal, 0.0))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FrameNoise:
  """A `NoiseModel` of frames whose noise is known one by one, whatever their gains.

  Attributes:
    shot_noise, read_variance: `[n, 1, 1, 1]`.
  """

  shot_noise: jax.Array
  read_variance: jax.Array

  @classmethod
  def of_frames(cls, profiles: Sequence[NoiseProfile]) -> "FrameNoise":
    """A model of frames with these profiles, in their order."""
    column = lambda values: jnp.asarray(list(values), jnp.float32)[:, None, None, None]
    return cls(column(each.shot_noise for each in profiles), column(each.read_variance for each in profiles))

  def variance(self, signal: jax.Array, gain: jax.Array) -> jax.Array:
    """See `NoiseModel.variance`; `signal` broadcasts against `[n, h, w, 4]`."""
    del gain  # The profiles were measured at it.
    return self.read_variance + self.shot_noise * jnp.maximum(signal, 0)


def mean_profile(pairs: np.ndarray) -> NoiseProfile:
  """One profile for all planes, of pairs `[planes, 2]` (shot noise, read variance) as DNG files state them."""
  shot_noise, read_variance = np.asarray(pairs, np.float64).reshape(-1, 2).mean(0)
  return NoiseProfile(shot_noise=float(shot_noise), read_variance=float(read_variance))
