"""IFNet of RIFE 4.2x once more, in plain numpy and float64, from weights under their published names: slow and obvious.

Everything is `[channels, height, width]`; sides must be multiples of 64.
"""

import functools

import numpy as np

_WIDTHS, _SCALES = (192, 128, 96, 64, 32), (16, 8, 4, 2, 1)


def ifnet_shapes():
  """Names and shapes of the published state dict, without what only its training used."""
  shapes = {}

  def conv(name, *shape, transposed=False):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[1] if transposed else shape[0],)

  for block, width in enumerate(_WIDTHS):
    prefix = f"block{block}"
    conv(f"{prefix}.conv0.0.0", width // 2, 28 if block else 15, 3, 3)
    conv(f"{prefix}.conv0.1.0", width, width // 2, 3, 3)
    for index in range(8):
      shapes[f"{prefix}.convblock.{index}.beta"] = (1, width, 1, 1)
      conv(f"{prefix}.convblock.{index}.conv", width, width, 3, 3)
    conv(f"{prefix}.lastconv.0", width, 52, 4, 4, transposed=True)
  for index, channels in enumerate((3, 16, 16)):
    conv(f"encode.cnn{index}", 16, channels, 3, 3)
  conv("encode.cnn3", 16, 4, 4, 4, transposed=True)
  return shapes


def random_ifnet(seed=0):
  """Random weights that keep activations near 1 and move frames by several px."""
  rng, weights = np.random.default_rng(seed), {}
  for name, shape in ifnet_shapes().items():
    if len(shape) == 4 and "beta" not in name:
      inputs = np.prod(shape) / (shape[1] if "lastconv" in name or "cnn3" in name else shape[0])
      scale = 0.1 if "lastconv" in name else np.sqrt(2)
      weights[name] = (scale / np.sqrt(inputs) * rng.normal(size=shape)).astype(np.float32)
    else:
      weights[name] = 0.3 * rng.uniform(-1, 1, shape).astype(np.float32)
  return weights


def plain_ifnet(weights, first, second, time):
  """The frame `[3, H, W]` between two, and the flows `[4, H, W]` to both that the last block leaves."""
  weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
  first, second = (np.asarray(frame, np.float64) for frame in (first, second))
  features = [_encoder(weights, frame) for frame in (first, second)]
  times = np.full_like(first[:1], time)
  flow = mask = left = None
  for block, scale in enumerate(_SCALES):
    run = functools.partial(_block, weights, f"block{block}", scale=scale)
    if flow is None:
      flow, mask, left = run(np.concatenate([first, second, *features, times]), None)
    else:
      moved = [read_at(image, its_flow) for image, its_flow in
               ((first, flow[:2]), (second, flow[2:]), (features[0], flow[:2]), (features[1], flow[2:]))]
      correction, mask, left = run(np.concatenate([*moved, times, mask, left]), flow)
      flow = flow + correction
  share = 1 / (1 + np.exp(-mask))
  return share * read_at(first, flow[:2]) + (1 - share) * read_at(second, flow[2:]), flow


def read_at(image, flow):
  """Bilinear at p + flow (x, y), at the edge beyond it; pixel by pixel."""
  _, height, width = image.shape
  y, x = np.mgrid[:height, :width].astype(np.float64)
  x, y = np.clip(x + flow[0], 0, width - 1), np.clip(y + flow[1], 0, height - 1)
  left, top = np.floor(x).astype(int), np.floor(y).astype(int)
  right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
  x, y = x - left, y - top
  return ((1 - y) * ((1 - x) * image[:, top, left] + x * image[:, top, right]) +
          y * ((1 - x) * image[:, bottom, left] + x * image[:, bottom, right]))


def _encoder(weights, frame):
  features = _leaky(_conv(weights, "encode.cnn0", frame, stride=2))
  features = _leaky(_conv(weights, "encode.cnn1", features))
  features = _leaky(_conv(weights, "encode.cnn2", features))
  return _transposed_conv(weights, "encode.cnn3", features)


def _block(weights, name, seen, flow, *, scale):
  seen = resized(seen, 1 / scale)
  if flow is not None:
    seen = np.concatenate([seen, resized(flow, 1 / scale) / scale])
  seen = _leaky(_conv(weights, f"{name}.conv0.0.0", seen, stride=2))
  seen = _leaky(_conv(weights, f"{name}.conv0.1.0", seen, stride=2))
  for index in range(8):
    inner = f"{name}.convblock.{index}"
    seen = _leaky(_conv(weights, f"{inner}.conv", seen) * weights[f"{inner}.beta"][0] + seen)
  outputs = _transposed_conv(weights, f"{name}.lastconv.0", seen)
  channels, height, width = outputs.shape
  shuffled = np.zeros((channels // 4, 2 * height, 2 * width))
  for row in range(2):
    for column in range(2):
      shuffled[:, row::2, column::2] = outputs[2 * row + column::4]
  outputs = resized(shuffled, scale)
  return scale * outputs[:4], outputs[4:5], outputs[5:]


def resized(image, factor):
  """Bilinear, pixels as squares (align_corners=False), the edge beyond the edge, no smoothing before."""
  for axis in (1, 2):
    length = image.shape[axis]
    places = np.clip((np.arange(round(length * factor)) + 0.5) / factor - 0.5, 0, length - 1)
    low = np.floor(places).astype(int)
    share = (places - low).reshape([-1 if each == axis else 1 for each in range(3)])
    image = (1 - share) * image.take(low, axis) + share * image.take(np.minimum(low + 1, length - 1), axis)
  return image


def _leaky(x):
  return np.where(x > 0, x, 0.2 * x)


def _conv(weights, name, image, stride=1):
  """3x3, a pixel of zeros around."""
  kernel = weights[f"{name}.weight"]
  _, height, width = image.shape
  padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
  result = weights[f"{name}.bias"][:, None, None]
  for row in range(3):
    for column in range(3):
      seen = padded[:, row:row + height:stride, column:column + width:stride]
      result = result + np.einsum("oi,ihw->ohw", kernel[:, :, row, column], seen, optimize=True)
  return result


def _transposed_conv(weights, name, image):
  """4x4 with stride 2: every pixel adds a multiple of the kernel to the result, which loses a pixel on all sides."""
  kernel = weights[f"{name}.weight"]
  _, height, width = image.shape
  result = np.zeros((kernel.shape[1], 2 * height + 2, 2 * width + 2))
  for row in range(4):
    for column in range(4):
      result[:, row:row + 2 * height:2, column:column + 2 * width:2] += np.einsum(
          "io,ihw->ohw", kernel[:, :, row, column], image, optimize=True)
  return result[:, 1:-1, 1:-1] + weights[f"{name}.bias"][:, None, None]
