"""NIQE's and BRISQUE's features from their definitions, slow and plain: float64, SciPy's convolution, loops, a grid."""

import math

import numpy as np
from scipy import ndimage

_SHAPES = [0.2 + 0.001 * i for i in range(9801)]
_GAMMA = {order: np.array([math.gamma(order / shape) for shape in _SHAPES]) for order in (1, 2, 3)}


def grey_of(image):
  """Whole grey levels of an image in [0, 1]."""
  to_rgb = np.linalg.inv([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])  # From YIQ.
  return np.round(np.round(255 * np.asarray(image, np.float64)) @ to_rgb[0])


def mscn(grey, mode):
  """Coefficients and deviations; `mode` of SciPy: "nearest" or "constant"."""
  window = np.array([[math.exp(-(x * x + y * y) / (2 * (7 / 6)**2)) for x in range(-3, 4)] for y in range(-3, 4)])
  window /= window.sum()
  mean = ndimage.correlate(grey, window, mode=mode)
  variance = ndimage.correlate(grey * grey, window, mode=mode) - mean**2
  deviation = np.sqrt(np.abs(variance))
  return (grey - mean) / (deviation + 1), deviation


def ggd(samples):
  """Shape and variance."""
  variance, magnitude = np.mean(samples**2), np.mean(np.abs(samples))
  place = np.argmin(np.abs(variance / magnitude**2 - _GAMMA[1] * _GAMMA[3] / _GAMMA[2]**2))
  return _SHAPES[place], variance


def aggd(samples):
  """Shape and both deviations."""
  left = math.sqrt(np.mean(samples[samples < 0]**2))
  right = math.sqrt(np.mean(samples[samples > 0]**2))
  g = left / right
  ratio = np.mean(np.abs(samples))**2 / np.mean(samples**2) * (g**3 + 1) * (g + 1) / (g**2 + 1)**2
  place = np.argmin((_GAMMA[2]**2 / (_GAMMA[1] * _GAMMA[3]) - ratio)**2)
  return _SHAPES[place], left, right


def products(coefficients):
  """With the neighbours to the left, above, above to the left and above to the right; planes go round."""
  height, width = coefficients.shape
  found = []
  for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
    shifted = np.array([[coefficients[(row - down) % height, (column - across) % width] for column in range(width)]
                        for row in range(height)])
    found.append((coefficients * shifted).ravel())
  return found


def half(grey):
  """Antialiased bicubic, a pixel at a time; beyond the edges the image is mirrored."""
  def cubic(x):
    x = abs(x)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0

  def half_line(line):
    length = len(line)
    new = []
    for place in range(1, math.ceil(length / 2) + 1):  # Counted from 1, as in MATLAB.
      centre = 2 * place - 0.5
      taps = range(math.floor(centre - 4), math.floor(centre - 4) + 10)
      weights = [cubic((centre - tap) / 2) for tap in taps]
      mirrored = [list(range(1, length + 1)) + list(range(length, 0, -1))][0]
      values = [line[mirrored[(tap - 1) % (2 * length)] - 1] for tap in taps]
      new.append(np.dot(weights, values) / sum(weights))
    return new

  rows = np.array([half_line(line) for line in grey])
  return np.array([half_line(line) for line in rows.T]).T


def niqe_features(grey):
  """Features `[blocks, 36]` of the whole 96x96 blocks, and their sharpness."""
  rows, columns = grey.shape[0] // 96, grey.shape[1] // 96
  grey, of_blocks, sharpness = grey[:96 * rows, :96 * columns], [[] for _ in range(rows * columns)], []
  for side in (96, 48):
    coefficients, deviation = mscn(grey, "nearest")
    for block in range(rows * columns):
      top, left = side * (block // columns), side * (block % columns)
      inside = (slice(top, top + side), slice(left, left + side))
      shape, below, above = aggd(coefficients[inside].ravel())
      scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
      of_blocks[block] += [shape, scale * (below + above) / 2]
      for pairs in products(coefficients[inside]):
        shape, below, above = aggd(pairs)
        scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
        mean = (above - below) * scale * math.gamma(2 / shape) / math.gamma(1 / shape)
        of_blocks[block] += [shape, mean, scale * below, scale * above]
      if side == 96:
        sharpness.append(deviation[inside].mean())
    grey = half(grey)
  return np.array(of_blocks), np.array(sharpness)


def niqe_distance(grey, pristine_mean, pristine_covariance):
  """The metric of an image; blocks without contrast, whose features are not numbers, are left out."""
  features, _ = niqe_features(grey)
  features = features[np.isfinite(features).all(1)]
  covariance = np.cov(features.T) if len(features) > 1 else np.zeros((36, 36))
  offset = pristine_mean - features.mean(0)
  return math.sqrt(offset @ np.linalg.pinv((pristine_covariance + covariance) / 2) @ offset)


def brisque_features(grey):
  """The 36 features of the whole image."""
  found = []
  for _ in range(2):
    coefficients, _ = mscn(grey, "constant")
    found += ggd(coefficients.ravel())
    for pairs in products(coefficients):
      shape, below, above = aggd(pairs)
      mean = (above - below) * math.gamma(2 / shape) / math.sqrt(math.gamma(1 / shape) * math.gamma(3 / shape))
      found += [shape, mean, below**2, above**2]
    grey = half(grey)
  return np.array(found)
