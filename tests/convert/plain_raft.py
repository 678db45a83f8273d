"""RAFT once more, in plain numpy and float64, from published weights under princeton's names: slow and obvious.

Images are `[3, H, W]` in 0..255, everything else `[channels, height, width]`; sides must be multiples of 8.
"""

import functools

import numpy as np

_ENCODERS = dict(small=((32, 32, 64, 96), 3), large=((64, 64, 96, 128), 2))  # Widths and convolutions per block.


def princeton_shapes(size):
  """Names (without "module.") and shapes of the published checkpoints."""
  small = size == "small"
  shapes = {}

  def conv(name, out_channels, in_channels, *kernel_size):
    shapes[f"{name}.weight"] = (out_channels, in_channels, *kernel_size)
    shapes[f"{name}.bias"] = (out_channels,)

  def norm(name, channels):
    shapes.update({f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")})
    shapes[f"{name}.num_batches_tracked"] = ()

  def encoder(name, out_channels, has_norm):
    (previous, *widths), num_convs = _ENCODERS[size]
    conv(f"{name}.conv1", previous, 3, 7, 7)
    if has_norm:
      norm(f"{name}.norm1", previous)
    for layer, width in enumerate(widths, start=1):
      for block in (0, 1):
        prefix = f"{name}.layer{layer}.{block}"
        inner = ((width // 4, previous, 1), (width // 4, width // 4, 3), (width, width // 4, 1)) if small else (
            (width, previous, 3), (width, width, 3))
        for index, (out, into, side) in enumerate(inner, start=1):
          conv(f"{prefix}.conv{index}", out, into, side, side)
        shortcut = layer > 1 and block == 0
        for index in range(1, num_convs + shortcut + 1) if has_norm else ():
          norm(f"{prefix}.norm{index}", width)
        if shortcut:
          conv(f"{prefix}.downsample.0", width, previous, 1, 1)
        if shortcut and has_norm:
          norm(f"{prefix}.downsample.1", width)
        previous = width
    conv(f"{name}.conv2", out_channels, previous, 1, 1)

  encoder("fnet", 128 if small else 256, False)
  encoder("cnet", 160 if small else 256, not small)
  prefix, hidden, gru_inputs = "update_block", (96 if small else 128), (242 if small else 384)
  conv(f"{prefix}.encoder.convc1", *((96, 196) if small else (256, 324)), 1, 1)
  if not small:
    conv(f"{prefix}.encoder.convc2", 192, 256, 3, 3)
  conv(f"{prefix}.encoder.convf1", 64 if small else 128, 2, 7, 7)
  conv(f"{prefix}.encoder.convf2", *((32, 64) if small else (64, 128)), 3, 3)
  conv(f"{prefix}.encoder.conv", *((80, 128) if small else (126, 256)), 3, 3)
  for gate in "zrq":
    for digit, kernel_size in ((("", (3, 3)),) if small else (("1", (1, 5)), ("2", (5, 1)))):
      conv(f"{prefix}.gru.conv{gate}{digit}", hidden, gru_inputs, *kernel_size)
  conv(f"{prefix}.flow_head.conv1", 128 if small else 256, hidden, 3, 3)
  conv(f"{prefix}.flow_head.conv2", 2, 128 if small else 256, 3, 3)
  if not small:
    conv(f"{prefix}.mask.0", 256, 128, 3, 3)
    conv(f"{prefix}.mask.2", 576, 256, 1, 1)
  return shapes


def random_state_dict(size, seed=0):
  """Random weights that keep activations near 1 and move the flow by several px; the same norm under both names."""
  rng = np.random.default_rng(seed)
  weights = {}
  for name, shape in princeton_shapes(size).items():
    twin = name.replace("downsample.1", "norm3")
    if twin != name:
      weights[name] = weights[twin]
    elif name.endswith("num_batches_tracked"):
      weights[name] = np.array(100)
    elif len(shape) == 4:
      weights[name] = (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    else:
      offset = 1.0 if ".norm" in name and name.endswith(("weight", "running_var")) else 0.0
      weights[name] = (offset + 0.3 * rng.uniform(-1, 1, shape)).astype(np.float32)
  return weights


def plain_raft(weights, image1, image2, num_updates):
  """Flow `[2, H, W]`."""
  weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
  small = "update_block.gru.convz.weight" in weights
  conv = functools.partial(_conv, weights)
  image1, image2 = (2 * image.astype(np.float64) / 255 - 1 for image in (image1, image2))
  features1, features2 = (_encoder(weights, "fnet", image, _instance_norm) for image in (image1, image2))
  context = _encoder(weights, "cnet", image1, (lambda x, _: x) if small else functools.partial(_batch_norm, weights))
  hidden, context = np.split(context, [96 if small else 128])
  hidden, context = np.tanh(hidden), np.maximum(context, 0)
  flow = np.zeros((2, *hidden.shape[1:]))
  volume = np.einsum("cij,ckl->ijkl", features1, features2) / np.sqrt(len(features1))
  for _ in range(num_updates):
    correlation = look_up(volume, flow, 3 if small else 4)
    correlation = _relu(conv("update_block.encoder.convc1", correlation))
    if not small:
      correlation = _relu(conv("update_block.encoder.convc2", correlation))
    seen_flow = _relu(conv("update_block.encoder.convf2", _relu(conv("update_block.encoder.convf1", flow))))
    motion = _relu(conv("update_block.encoder.conv", np.concatenate([correlation, seen_flow])))
    inputs = np.concatenate([context, motion, flow])
    for digit in [""] if small else ["1", "2"]:
      gate = lambda name, hidden: conv(f"update_block.gru.conv{name}{digit}", np.concatenate([hidden, inputs]))
      z, r = _sigmoid(gate("z", hidden)), _sigmoid(gate("r", hidden))
      hidden = (1 - z) * hidden + z * np.tanh(gate("q", r * hidden))
    flow = flow + conv("update_block.flow_head.conv2", _relu(conv("update_block.flow_head.conv1", hidden)))
  if small:
    return linear_upsampling(flow)
  return convex_upsampling(flow, 0.25 * conv("update_block.mask.2", _relu(conv("update_block.mask.0", hidden))))


def look_up(volume, flow, radius):
  """Correlations `[4 * (2 radius + 1)^2, h, w]` of every pixel around where its flow points: scale, then x, then y."""
  rows, columns = np.mgrid[:flow.shape[1], :flow.shape[2]]
  found = []
  for scale in (1, 2, 4, 8):
    for dx in range(-radius, radius + 1):
      for dy in range(-radius, radius + 1):
        found.append(_read(volume, (columns + flow[0]) / scale + dx, (rows + flow[1]) / scale + dy))
    height, width = volume.shape[2] // 2, volume.shape[3] // 2
    volume = volume[:, :, :2 * height, :2 * width].reshape(*volume.shape[:2], height, 2, width, 2).mean((3, 5))
  return np.stack(found)


def _read(volume, x, y):
  """Bilinear, 0 outside: the plane of every pixel at its own position."""
  rows, columns = np.mgrid[:x.shape[0], :x.shape[1]]
  total = np.zeros(x.shape)
  for row in (np.floor(y), np.floor(y) + 1):
    for column in (np.floor(x), np.floor(x) + 1):
      inside = (row >= 0) & (row < volume.shape[2]) & (column >= 0) & (column < volume.shape[3])
      place = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
      total += np.where(inside, (1 - abs(x - column)) * (1 - abs(y - row)) * volume[(rows, columns, *place)], 0)
  return total


def linear_upsampling(flow):
  """Eight times the size, corners on corners."""
  _, height, width = flow.shape
  at_rows, at_columns = np.linspace(0, height - 1, 8 * height), np.linspace(0, width - 1, 8 * width)
  tall = [[np.interp(at_rows, np.arange(height), column) for column in plane.T] for plane in flow]
  wide = [[np.interp(at_columns, np.arange(width), row) for row in np.transpose(plane)] for plane in tall]
  return 8 * np.array(wide)


def convex_upsampling(flow, logits):
  """Eight times the size; the logits of a pixel are `[3 * 3 neighbours, 8, 8]`."""
  _, height, width = flow.shape
  padded = np.pad(flow, ((0, 0), (1, 1), (1, 1)))
  upsampled = np.zeros((2, 8 * height, 8 * width))
  for i, j in np.ndindex(height, width):
    weights = np.exp(logits[:, i, j].reshape(9, 8, 8))
    weights /= weights.sum(axis=0)
    neighbours = padded[:, i:i + 3, j:j + 3].reshape(2, 9)
    upsampled[:, 8 * i:8 * i + 8, 8 * j:8 * j + 8] = 8 * np.einsum("ck,kab->cab", neighbours, weights)
  return upsampled


def _encoder(weights, name, image, norm):
  conv = functools.partial(_conv, weights)
  x = _relu(norm(conv(f"{name}.conv1", image, 2), f"{name}.norm1"))
  for layer in (1, 2, 3):
    for block in (0, 1):
      prefix = f"{name}.layer{layer}.{block}"
      stride = 2 if layer > 1 and block == 0 else 1
      y = x
      num_convs = 3 if f"{prefix}.conv3.weight" in weights else 2
      for index in range(1, num_convs + 1):  # The stride is in the first 3x3 convolution.
        own_stride = stride if index == num_convs - 1 else 1
        y = _relu(norm(conv(f"{prefix}.conv{index}", y, own_stride), f"{prefix}.norm{index}"))
      if stride == 2:
        x = norm(conv(f"{prefix}.downsample.0", x, 2), f"{prefix}.downsample.1")
      x = _relu(x + y)
  return conv(f"{name}.conv2", x)


def _conv(weights, name, x, stride=1):
  kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
  tall, wide = kernel.shape[2:]
  height, width = x.shape[1] // stride, x.shape[2] // stride
  x = np.pad(x, ((0, 0), (tall // 2,) * 2, (wide // 2,) * 2))
  total = np.zeros((len(bias), height, width)) + bias[:, None, None]
  for i, j in np.ndindex(tall, wide):
    shifted = x[:, i:i + stride * height:stride, j:j + stride * width:stride]
    total += np.tensordot(kernel[:, :, i, j], shifted, 1)
  return total


def _instance_norm(x, _):
  return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def _batch_norm(weights, x, name):
  leaf = lambda leaf: weights[f"{name}.{leaf}"][:, None, None]
  return (x - leaf("running_mean")) / np.sqrt(leaf("running_var") + 1e-5) * leaf("weight") + leaf("bias")


def _relu(x):
  return np.maximum(x, 0)


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))
