"""Which photos are copies of each other by what they show: under another name, smaller, recompressed.

A fingerprint is a thumbnail in grey; photos are compared by the steps between its neighbouring pixels, in which natural
photos differ most. High steps count little more than middle ones, and what rises evenly over the photo does not count:
the same horizon, vignette or evening sky makes no copies. Measured on 230 photos: copies reduced to a quarter of their
sides, with JPEG quality 75 or 50, are alike by 0.94 or more (by 0.84 without averaging of what is left out), different
photos by 0.43 or less.
"""

from collections.abc import Hashable, Sequence

import numpy as np

LEAST_SIDE = 128  # Pixels per side that give the fingerprint of the whole photo.

_SIDE = 16  # Of the thumbnail.
_LIKENESS = 0.75  # Of copies: correlation of the steps.
_HIGH_STEP = 8  # Levels of 255.
_NOISE = 0.06  # Of a step in units of _HIGH_STEP: what is flatter has nothing to compare.
_BLOCK = 1024  # Photos that are compared with all others at once.


def fingerprint(pixels: np.ndarray) -> bytes:
  """Of sRGB `[H, W, 3]`, uint8."""
  import cv2  # pylint: disable=g-import-not-at-top
  grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
  return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).tobytes()


def same_content(fingerprints: Sequence[bytes]) -> np.ndarray:
  """A number for each photo, equal for copies and for copies of copies; without a fingerprint, there are none."""
  labels = np.arange(len(fingerprints))
  known = np.array([place for place, given in enumerate(fingerprints) if given], int)
  if not known.size:
    return labels
  steps = _steps(np.stack([np.frombuffer(fingerprints[place], np.uint8) for place in known]))
  for start in range(0, len(known), _BLOCK):
    first, second = np.nonzero(steps[start:start + _BLOCK] @ steps.T > _LIKENESS)
    labels = _joined(labels, labels[known[start + first]], labels[known[second]])
  return labels


def joined_groups(first: Sequence[Hashable], second: Sequence[Hashable]) -> np.ndarray:
  """A number for each item, equal for items that share their entry of the first or of the second, in chains as well."""
  (_, first), (_, second) = (np.unique(np.asarray(labels), return_inverse=True) for labels in (first, second))
  count = len(first)
  return _joined(np.arange(2 * count), first, count + second)[first]


def _joined(labels, first, second):
  """The labels after those that are linked were made one."""
  from scipy import sparse  # pylint: disable=g-import-not-at-top
  links = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(len(labels),) * 2)
  return sparse.csgraph.connected_components(links, directed=False)[1][labels]


def _steps(thumbnails):
  """Unit vectors `[num_photos, num_steps]`, shorter for flat photos."""
  images = thumbnails.reshape(-1, _SIDE, _SIDE).astype(np.float32)
  steps = np.concatenate([_without_plane(steps / (_HIGH_STEP + np.abs(steps)))
                          for steps in (np.diff(images, axis=1), np.diff(images, axis=2))], axis=1)
  return steps / np.sqrt((steps**2).sum(1, keepdims=True) + _NOISE**2 * steps.shape[1])


def _without_plane(fields):
  """`[num, height * width]`: fields `[num, height, width]` without their best constant plus slopes."""
  y, x = np.indices(fields.shape[1:], np.float32)
  plane, _ = np.linalg.qr(np.stack([np.ones_like(y), y, x], -1).reshape(-1, 3))
  flat = fields.reshape(len(fields), -1)
  return flat - (flat @ plane) @ plane.T
