"""How noisy a camera is, fitted to what it took: shot noise and read variance of frames, and their course over ISO.

Noise is read from detail that the scene has least of: the difference of two frames that show the same, or in a single
frame the finest diagonal detail of each plane, (a - b - c + d) / 2 of four neighbours. Neither depends on the mean that
it is sorted by, so that sorting selects nothing. By signal, medians stand against what is no noise (edges, what moved);
a line through them is the fit, weighted by how much each is worth, with intervals from the same weights.

Signals are relative to white = 1 after black level.
"""

from collections.abc import Iterator, Sequence
import dataclasses

import numpy as np
from scipy import stats

from debir_jax.camera.noise_profile import NoiseProfile

_BLOCK = 8  # Samples of one plane, a side: their mean is the signal of all of them, nearly without noise.
_NUM_BINS = 32
_LEAST_SAMPLES = 200  # Of a bin.
_CLIPPED = 0.95  # Signals from here on may be clipped in spite of all.
_ROOM_STD = 3.0  # Signals so close to where samples are clipped, in their standard deviations, are left out.
_FLAT_SHARE = 0.5  # Of the blocks of a single frame: those that vary least on a larger scale.
_MEDIAN_OF_SQUARE = stats.chi2.ppf(0.5, 1)  # Of a squared standard normal number.
# Variance of the median of n squared normal numbers, relative to its square: (1/4) / (n f(m)^2 m^2).
_MEDIAN_VARIANCE = 0.25 / (stats.chi2.pdf(_MEDIAN_OF_SQUARE, 1) * _MEDIAN_OF_SQUARE)**2
_ROUNDS = 6
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSamples:
  """Noise beside signal.

  Attributes:
    signals: `[m]`, means of blocks.
    details: `[m, k]`, samples whose variance is that of one sample of a frame.
    floor: the lowest value of a frame's sample: what a sensor counts as 0.
  """

  signals: np.ndarray
  details: np.ndarray
  floor: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseFit:
  """Noise at one ISO with its 95 % intervals.

  Attributes:
    shot_noise, read_variance: variance per unit signal; at signal 0.
    shot_interval, read_interval: (low, high).
    covariance: `[2, 2]` of both, in their order.
    signals, variances: `[bins]`, what the line goes through.
  """

  shot_noise: float
  read_variance: float
  shot_interval: tuple[float, float]
  read_interval: tuple[float, float]
  covariance: np.ndarray
  signals: np.ndarray
  variances: np.ndarray

  @property
  def profile(self) -> NoiseProfile:
    """Both numbers, none below 0."""
    return NoiseProfile(shot_noise=max(self.shot_noise, 1e-12), read_variance=max(self.read_variance, 0.0))


def samples_of_frame(planes: np.ndarray, floor: float) -> NoiseSamples:
  """Noise of a single frame `[h, w, 4]`: of its finest detail, where that is noise."""
  blocks = np.concatenate([_blocks(plane) for plane in _planes(planes)])
  a, b, c, d = (blocks[:, y::2, x::2] for y in (0, 1) for x in (0, 1))
  return _flat_samples(blocks, (a - b - c + d) / 2, floor)


def samples_of_pair(first: np.ndarray, second: np.ndarray, floor: float) -> NoiseSamples:
  """Noise of two frames `[h, w, 4]` of one ISO and exposure time that show the same."""
  if first.shape != second.shape:
    raise ValueError(f"Frames of a pair must be of one size, got {first.shape} and {second.shape}.")
  one, other = (np.concatenate([_blocks(plane) for plane in _planes(planes)]) for planes in (first, second))
  return _flat_samples((one + other) / 2, (one - other) / np.sqrt(2), floor)


def joined(samples: Sequence[NoiseSamples]) -> NoiseSamples:
  """Those of several frames of one ISO."""
  return NoiseSamples(signals=np.concatenate([each.signals for each in samples]),
                      details=np.concatenate([each.details for each in samples]),
                      floor=max(each.floor for each in samples))


def fit_noise(samples: NoiseSamples) -> NoiseFit:
  """The line of variance over signal.

  Raises:
    ValueError: too little that is neither clipped nor at the floor.
  """
  line = np.array([1e-3, 1e-4])  # Shot noise, read variance; what it begins with hardly matters.
  for _ in range(_ROUNDS):
    signals, variances, errors = _bins(samples, line)
    line, covariance = _weighted_line(signals, variances, errors)
  deviation = (variances - line @ np.stack([signals, np.ones_like(signals)])) / errors
  degrees = len(signals) - 2
  covariance = covariance * max(1.0, float(np.sum(deviation**2)) / degrees)  # What is no line widens the interval.
  half = stats.t.ppf((1 + _LEVEL) / 2, degrees) * np.sqrt(np.diag(covariance))
  intervals = [(float(value - width), float(value + width)) for value, width in zip(line, half)]
  return NoiseFit(shot_noise=float(line[0]), read_variance=float(line[1]), shot_interval=intervals[0],
                  read_interval=intervals[1], covariance=covariance, signals=signals, variances=variances)


def _planes(frame) -> Iterator[np.ndarray]:
  """Planes cut to whole blocks."""
  height, width = (side // _BLOCK * _BLOCK for side in frame.shape[:2])
  if not height or not width:
    raise ValueError(f"Frames of {frame.shape[0]}x{frame.shape[1]} packed px are too small to measure noise in; "
                     f"{_BLOCK} px a side at least.")
  return (np.asarray(frame[:height, :width, plane], np.float64) for plane in range(frame.shape[2]))


def _blocks(plane) -> np.ndarray:
  """`[m, _BLOCK, _BLOCK]`."""
  height, width = plane.shape
  cells = plane.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
  return cells.swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)


def _flat_samples(blocks, details, floor) -> NoiseSamples:
  """Of the flatter half of blocks `[m, _BLOCK, _BLOCK]`: where they have edges, one signal does not stand for all."""
  quarters = blocks.reshape(len(blocks), 2, _BLOCK // 2, 2, _BLOCK // 2).mean((2, 4))
  signals = quarters.mean((1, 2))
  flat = _flatter_half(signals, np.ptp(quarters, (1, 2)))
  return NoiseSamples(signals=signals[flat], details=details[flat].reshape(np.sum(flat), -1), floor=floor)


def _flatter_half(signals, unevenness) -> np.ndarray:
  """Which blocks vary least among those of about their signal: noise alone makes brighter ones vary more."""
  order = np.argsort(signals)
  flat = np.zeros(len(signals), bool)
  for group in np.array_split(order, max(1, min(_NUM_BINS, len(order) // 8))):
    flat[group[np.argsort(unevenness[group])[:max(1, int(_FLAT_SHARE * len(group)))]]] = True
  return flat


def _bins(samples, line):
  """Mean signal, variance, and its standard error of groups of blocks of about one signal `[bins]`.

  Within a group every detail is measured against the line so far, so that groups may be wide.
  """
  expected = np.maximum(line[0] * np.maximum(samples.signals, 0) + line[1], 1e-12)
  room = _ROOM_STD * np.sqrt(expected)
  usable = (samples.signals > samples.floor + room) & (samples.signals < np.minimum(_CLIPPED, 1 - room))
  order = np.flatnonzero(usable)
  order = order[np.argsort(samples.signals[order])]
  per_block = samples.details.shape[1] if samples.details.size else 1
  num_bins = min(_NUM_BINS, len(order) * per_block // _LEAST_SAMPLES)
  if num_bins < 4:
    raise ValueError("The frames hold too little to measure noise in: nearly all is clipped, or at black. Take frames "
                     "with all shades between, larger or more of them.")
  rows = []
  for group in np.array_split(order, num_bins):
    squares = samples.details[group]**2 / expected[group, None]
    ratio = np.median(squares) / _MEDIAN_OF_SQUARE
    mean_expected = float(np.mean(expected[group]))
    rows.append((np.mean(samples.signals[group]), ratio * mean_expected,
                 mean_expected * np.sqrt(_MEDIAN_VARIANCE / squares.size)))
  return np.array(rows).T


def _weighted_line(signals, variances, errors):
  """Slope and intercept with their covariance."""
  design = np.stack([signals, np.ones_like(signals)], 1) / errors[:, None]
  information = design.T @ design
  if np.linalg.cond(information / np.outer(*[np.sqrt(np.diag(information))] * 2)) > 1e10:
    raise ValueError("All of the frames has one brightness: shot noise and read noise cannot be told apart. Take "
                     "frames with shadows and lights.")
  covariance = np.linalg.inv(information)
  return covariance @ (design.T @ (variances / errors)), covariance
