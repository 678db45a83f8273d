"""The noise of every frame of a real burst, from whoever knows it; and whether the networks know such frames.

A frame's own NoiseProfile counts first, then a calibration of its camera, then what the frames show: the gain at which
the noise model of the networks' training has as much fine noise (`restoration/noise_level.py`).
"""

from collections.abc import Sequence

import jax
import numpy as np

from debir_jax.camera.noise_profile import FrameNoise, NoiseProfile
from debir_jax.camera.real_burst import RealBurst
from debir_jax.camera.tile_restoration import trained_black_level
from debir_jax.restoration.noise_level import estimated_gains
from debir_jax.simulator import IsoNoise
from debir_jax.weights.model import Debir

_PIECE, _PIECES_A_SIDE = 32, 3  # Packed px, and how many pieces of each frame are looked at.
_TOLERANCE = 1.5  # Noise may be so many times that of training, either way, without a word.
_BELOW_BLACK = 0.02  # Share of samples, that training which clips at black hardly has.
_BRIGHTNESS_TOLERANCE = 1.25  # Between metadata and frames.
_TIME_TOLERANCE = 1.05

_estimated_gains = jax.jit(estimated_gains)


def noise_of(burst: RealBurst, model: Debir) -> tuple[NoiseProfile, ...]:
  """The noise of every frame once it is scaled."""
  if all(burst.noise):
    return burst.noise
  noise_model = model.noise_model or IsoNoise()
  pieces = np.concatenate(list(_pieces(burst)), 1)
  gains = np.asarray(_estimated_gains(pieces, np.asarray(burst.exposure_times, np.float32), noise_model))
  return tuple(known or NoiseProfile.of_model(noise_model, gain) for known, gain in zip(burst.noise, gains))


def model_noise(profiles: Sequence[NoiseProfile], num_frames: int) -> FrameNoise:
  """For as many frames as the networks want; frames that were not taken have that of the first."""
  return FrameNoise.of_frames([*profiles, *[profiles[0]] * (num_frames - len(profiles))])


def doubts(burst: RealBurst, profiles: Sequence[NoiseProfile], model: Debir) -> list[str]:
  """What the networks were not trained for, or what does not fit together: a sentence each, with by how much."""
  return [*_noise_doubts(burst, profiles, model), *_black_doubts(burst, model), *_brightness_doubts(burst),
          *_time_doubts(burst, model)]


def _pieces(burst):
  """Squares `[n, side, side, 4]` of the same places of all frames."""
  sides = [min(_PIECE, side // 2 * 2) for side in burst.frames[0].size]
  places = [np.unique(np.linspace(0, whole - side, _PIECES_A_SIDE).astype(int)) // 2 * 2
            for whole, side in zip(burst.frames[0].size, sides)]
  side = min(sides)
  for top in places[0]:
    for left in places[1]:
      yield np.stack([np.float32(scale) * frame.packed(slice(top, top + side), slice(left, left + side))
                      for frame, scale in zip(burst.frames, burst.scales)])


def _noise_doubts(burst, profiles, model):
  trained = model.description.get("restorer", {}).get("trained_for", {})
  if model.noise_model is None or not {"min_preview_gain", "max_preview_gain"} <= set(trained):
    return
  timing, signal = model.timing, float(np.clip(np.mean([piece.mean() for piece in _pieces(burst)]), 0.005, 1))
  to_gain = lambda gain, time: gain * timing.preview_exposure_s / time
  ends = (to_gain(trained["min_preview_gain"], timing.max_exposure_s),
          to_gain(trained["max_preview_gain"], timing.min_exposure_s))
  least, most = (NoiseProfile.of_model(model.noise_model, gain).std_at(signal) for gain in ends)
  for frame, profile in zip(burst.frames, profiles):
    std = profile.std_at(signal)
    if std * _TOLERANCE < least:
      yield (f"{frame.source} has {least / std:.1f} times less noise than the least that the restorer was trained for "
             f"(a standard deviation of {std:.2g} at the signal {signal:.2g}).")
    elif std > most * _TOLERANCE:
      yield (f"{frame.source} has {std / most:.1f} times more noise than the most that the restorer was trained for "
             f"(a standard deviation of {std:.2g} at the signal {signal:.2g}).")


def _black_doubts(burst, model):
  below = float(np.mean([np.mean(piece < -trained_black_level(model)) for piece in _pieces(burst)]))
  if below > _BELOW_BLACK:
    yield (f"{100 * below:.0f} % of the samples lie further below black than in training, where they were clipped; "
           "they are clipped here too, which makes noisy dark parts brighter. Weights trained with a black_level keep "
           "them.")


def _brightness_doubts(burst):
  for frame, said, seen in zip(burst.frames, burst.scales, burst.measured_scales):
    ratio = seen / said
    if np.isfinite(ratio) and not 1 / _BRIGHTNESS_TOLERANCE < ratio < _BRIGHTNESS_TOLERANCE:
      yield (f"{frame.source} is {1 / ratio:.2f} times as bright as its exposure time and ISO say: other light, "
             "flicker, or values that are not those of the frame.")


def _time_doubts(burst, model):
  timing = model.timing
  total, longest = float(burst.exposure_times.sum()), float(burst.exposure_times.max())
  if total > timing.budget_s * _TIME_TOLERANCE or longest > timing.max_exposure_s * _TIME_TOLERANCE:
    yield (f"The exposures take {total:.3g} s in all and {longest:.3g} s at most; the restorer was trained for bursts "
           f"of up to {timing.budget_s:.3g} s with frames of up to {timing.max_exposure_s:.3g} s.")
