"""The authors' release from a scene to the restored image, in plain numpy and float64, without noise.

As `release_chain_test.py` tells it: two previews, their motion by RAFT, BAENet, exposure times, the burst, Burstormer.
Images are `[height, width, channels]` but inside the networks.
"""

import numpy as np
from plain_burstormer import plain_burstormer
from plain_raft import plain_raft
from released import slow_baenet
from scipy import ndimage

CORNER = (slice(0, 48), slice(0, 32))  # Of the frames, is restored: the whole would take as long as all the rest.
PREFIXES = dict(raft="baenet.raft.", baenet="baenet.mobilenet.")  # In the checkpoint of the release.


def plain_chain(state_dict, radiance, white_balance, ccm, iso_at_1_240_s):
  """All that comes about on the way: previews, motion, planes, times_s, raw, restored."""
  radiance = np.asarray(radiance, np.float64)
  previews = np.stack([radiance[0:9].mean(0), radiance[41:50].mean(0)])
  developed = [linear_srgb(preview, white_balance, ccm) for preview in previews]
  seen = [255 * halved(srgb(image)).transpose(2, 0, 1) for image in developed]
  flow = plain_raft(_part(state_dict, "raft"), *seen, 20)
  motion = min(np.sqrt((flow**2).sum(0)).mean(), 10) / 10
  planes = with_planes(developed[1], motion, iso_at_1_240_s)
  times_s = exposure_times_s(slow_baenet(_part(state_dict, "baenet"), planes))
  raw = burst(radiance, 1920 * times_s)
  restorer = {name: array for name, array in state_dict.items() if not name.startswith("baenet.")}
  restored = plain_burstormer(restorer, raw[:, *CORNER].transpose(0, 3, 1, 2)).transpose(1, 2, 0)
  return dict(previews=previews, motion=motion, planes=planes, times_s=times_s, raw=raw, restored=restored)


def _part(state_dict, part):
  prefix = PREFIXES[part]
  return {name.removeprefix(prefix): array for name, array in state_dict.items() if name.startswith(prefix)}


def linear_srgb(packed, white_balance, ccm):
  """The release's development: Malvar, white balance, clip, matrix, clip."""
  height, width = packed.shape[:2]
  mosaic = np.zeros((2 * height, 2 * width))
  mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = np.moveaxis(packed, -1, 0)
  balanced = np.clip(malvar(mosaic) * np.asarray(white_balance, np.float64), 0, 1)
  return np.clip(balanced @ np.asarray(ccm, np.float64).T, 0, 1)


def malvar(mosaic):
  """Fig. 2 of Malvar, He and Cutler (2004), as 5x5 filters of the whole mosaic."""
  green = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
  row = np.array([[0, 0, .5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, .5, 0, 0]]) / 8
  diagonal = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0],
                       [0, 0, -1.5, 0, 0]]) / 8
  at = lambda kernel: ndimage.correlate(mosaic, kernel, mode="mirror")
  y, x = np.indices(mosaic.shape) % 2
  is_red, is_blue, is_gr = (y == 0) & (x == 0), (y == 1) & (x == 1), (y == 0) & (x == 1)
  is_green = ~(is_red | is_blue)
  red = np.where(is_red, mosaic, np.where(is_blue, at(diagonal), np.where(is_gr, at(row), at(row.T))))
  blue = np.where(is_blue, mosaic, np.where(is_red, at(diagonal), np.where(is_gr, at(row.T), at(row))))
  return np.stack([red, np.where(is_green, mosaic, at(green)), blue], axis=-1)


def srgb(linear):
  """For the screen."""
  return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)


def halved(image):
  """Means of 2x2 px."""
  height, width = image.shape[:2]
  return image.reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3))


def with_planes(developed, motion, iso_at_1_240_s):
  """What BAENet sees: the later preview, the motion, and ISO / 102,400 - 1 of the ISO at 1/240 s."""
  planes = [np.full((*developed.shape[:2], 1), value) for value in (motion, iso_at_1_240_s / 102_400 - 1)]
  return np.concatenate([developed, *planes], axis=-1)


def exposure_times_s(logits):
  """t = (7 + 100 share) / 1920 s, share = (1 - 4/100) softmax + 1/100 of the first four logits."""
  softmax = np.exp(logits) / np.exp(logits).sum()
  return (7 + 100 * ((1 - 4 / 100) * softmax[:4] + 1 / 100)) / 1920


def burst(radiance, subframes):
  """From entry 57 on: a frame of k/1920 s is the mean of k - 7 entries; the next one starts k entries later."""
  start, frames = 57.0, []
  for exposure in subframes:
    end = start + exposure - 7
    weights = np.array([max(0.0, min(end, k + 1) - max(start, k)) for k in range(len(radiance))])
    frames.append(np.einsum("k,khwc->hwc", weights / (exposure - 7), radiance))
    start += exposure
  return np.clip(frames, 0, 1)
