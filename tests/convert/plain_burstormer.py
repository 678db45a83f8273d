"""Burstormer for de-noising once more, in plain numpy and float64, from weights under their published names.

Slow and obvious: one tap of one kernel after the other, frame by frame. Images are `[channels, height, width]`, sides
multiples of 4; a burst is `[frames, channels, height, width]`.
"""

import functools

import numpy as np
from scipy.special import erf

_GROUPS, _TAPS, _DILATION = 8, 9, 2  # Of the deformable convolutions.


def published_shapes(num_frames=4, num_features=8, channels=4, blocks_per_level=1, fusion_blocks=1):
  """Names and shapes of the published state dict; it has 8 frames, 48 features and 2 blocks everywhere."""
  f, shapes = num_features, {}

  def attention(name, width, heads):
    hidden = int(2.66 * width)
    for norm in ("norm1", "norm2"):
      shapes.update({f"{name}.{norm}.body.{leaf}": (width,) for leaf in ("weight", "bias")})
    shapes[f"{name}.attn.temperature"] = (heads, 1, 1)
    for layer, shape in (("attn.qk", (2 * width, width, 1, 1)), ("attn.qk_dwconv", (2 * width, 1, 3, 3)),
                         ("attn.v", (width, width, 1, 1)), ("attn.v_dwconv", (width, 1, 3, 3)),
                         ("attn.project_out", (width, width, 1, 1)), ("ffn.project_in", (2 * hidden, width, 1, 1)),
                         ("ffn.dwconv", (2 * hidden, 1, 3, 3)), ("ffn.project_out", (width, hidden, 1, 1))):
      shapes[f"{name}.{layer}.weight"] = shape

  def conv(name, out_channels, in_channels, bias=True):
    shapes[f"{name}.weight"] = (out_channels, in_channels, 3, 3)
    if bias:
      shapes[f"{name}.bias"] = (out_channels,)

  def fusion(name):
    for index in range(fusion_blocks):
      attention(f"{name}.encoder1.{index}", 2 * f, 1)
    for layer, outputs, inputs in (("feat_fusion", f, 2 * f), ("feat_expand", 2 * f, f), ("diff_fusion", f, 2 * f)):
      conv(f"{name}.{layer}.0", outputs, inputs)

  conv("conv1.0", f, channels, bias=False)
  for level in (1, 2):
    for index in range(blocks_per_level):
      attention(f"align.encoder_level{level}.{index}", f, level)
  for layer in ("down1", "down2", "up1", "up2", "offset_up1", "offset_up2"):
    conv(f"align.{layer}", f, f)
  for name in ("alignment0", "alignment1", "alignment2", "cascade_alignment"):
    for layer in ("bottleneck.0", "bottleneck_o.0")[:1 if name == "alignment2" else 2]:
      conv(f"align.{name}.{layer}", f, 2 * f, bias=False)
    conv(f"align.{name}.offset_conv", 3 * _TAPS * _GROUPS, f, bias=False)
    conv(f"align.{name}.deform", f, f // _GROUPS)
    fusion(f"align.{name}.back_projection")
  for name in ("back_projection1", "back_projection2"):
    fusion(name)
  shapes["rec_conv1.0.weight"], shapes["rec_conv2.0.weight"] = (2 * f, num_frames * f, 1, 1), (f, 2 * f, 1, 1)
  conv("out_conv.0", channels, f, bias=False)
  return shapes


def random_weights(seed=0, **options):
  """Random weights for which every part matters: norms, biases, temperatures, offsets of px, masks of all sizes.

  They are multiples of 1/32 below 4, so that a file needs a byte for each.
  """
  rng, weights = np.random.default_rng(seed), {}
  for name, shape in published_shapes(**options).items():
    if name.endswith("temperature"):
      array = rng.uniform(1, 3, shape)
    elif ".norm" in name and name.endswith("weight"):
      array = rng.uniform(0.7, 1.3, shape)
    elif len(shape) == 1:
      array = rng.uniform(-0.3, 0.3, shape)
    else:
      array = rng.normal(size=shape) * (2 if "offset_conv" in name else 1) / np.sqrt(np.prod(shape[1:]))
    weights[name] = (np.clip(np.round(32 * array), -127, 127) / 32).astype(np.float32)
  return weights


def plain_burstormer(weights, burst):
  """The restored image of a burst."""
  weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
  frames = [_conv(frame, weights["conv1.0.weight"]) for frame in np.asarray(burst, np.float64)]
  frames = _align(functools.partial(_part, weights, "align"), frames)
  frames = [_fusion(_part(weights, "back_projection1"), pair, sign=-1) for pair in _cyclic_pairs(frames)]
  halves = np.split(_gelu(_conv(np.concatenate(frames), weights["rec_conv1.0.weight"])), 2)
  halves = [_fusion(_part(weights, "back_projection2"), pair, sign=-1) for pair in _cyclic_pairs(halves)]
  image = _gelu(_conv(np.concatenate(halves), weights["rec_conv2.0.weight"]))
  return _conv(image, weights["out_conv.0.weight"])


def _part(weights, *names):
  """The weights under a name, without it."""
  prefix = ".".join(names) + "."
  return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _align(part, frames):
  """Frames aligned to the first one, from a quarter of the size to the full size and there once more."""
  layer = lambda name, conv: lambda x: conv(x, part(name)["weight"], part(name)["bias"])
  up = lambda name: layer(name, _transposed_conv)
  full = _encoded(part("encoder_level1"), frames, heads=1)
  half = _encoded(part("encoder_level2"), map(layer("down1", _halving_conv), full), heads=2)
  quarter = list(map(layer("down2", _halving_conv), half))
  aligned, seen = _alignment(part("alignment2"), quarter)
  coarse = list(map(up("up2"), aligned))
  aligned, seen = _alignment(part("alignment1"), half, [2 * up("offset_up2")(x) for x in seen])
  coarse = [up("up1")(a + b) for a, b in zip(aligned, coarse)]
  aligned, seen = _alignment(part("alignment0"), full, [2 * up("offset_up1")(x) for x in seen])
  return _alignment(part("cascade_alignment"), [a + b for a, b in zip(aligned, coarse)], seen)[0]


def _encoded(weights, frames, heads):
  for index in sorted({name.split(".")[0] for name in weights}, key=int):
    frames = [_attention_block(_part(weights, index), frame, heads) for frame in frames]
  return list(frames)


def _alignment(weights, frames, coarse=None):
  """Frames moved towards the first one, each enriched by it; and the features that said whereto."""
  seen = [_gelu(_conv(np.concatenate([frames[0], frame]), weights["bottleneck.0.weight"])) for frame in frames]
  if coarse is not None:
    seen = [_gelu(_conv(np.concatenate(both), weights["bottleneck_o.0.weight"])) for both in zip(coarse, seen)]
  moved = [frames[0]] + [_deformed(weights, frame, features) for frame, features in zip(frames[1:], seen[1:])]
  fusion = _part(weights, "back_projection")
  return [_fusion(fusion, np.concatenate([moved[0], frame]), sign=1) for frame in moved], seen


def _deformed(weights, frame, features):
  """A 3x3 convolution whose taps read where the features say, as strongly as they say."""
  found = _conv(features, weights["offset_conv.weight"])
  offsets, mask = found[:2 * _TAPS * _GROUPS], 1 / (1 + np.exp(-found[2 * _TAPS * _GROUPS:]))
  rows, columns = np.mgrid[:frame.shape[1], :frame.shape[2]]
  outputs = []
  for group, (planes, kernel) in enumerate(zip(np.split(frame, _GROUPS), np.split(weights["deform.weight"], _GROUPS))):
    total = 0
    for tap in range(_TAPS):
      channel = 2 * (_TAPS * group + tap)
      y = rows + _DILATION * (tap // 3 - 1) + offsets[channel]
      x = columns + _DILATION * (tap % 3 - 1) + offsets[channel + 1]
      total = total + np.tensordot(kernel[:, :, tap // 3, tap % 3], mask[_TAPS * group + tap] * _read(planes, y, x), 1)
    outputs.append(total)
  return np.concatenate(outputs) + weights["deform.bias"][:, None, None]


def _read(planes, y, x):
  """Bilinear; pixels outside are 0."""
  total = np.zeros(planes.shape)
  for row in (np.floor(y), np.floor(y) + 1):
    for column in (np.floor(x), np.floor(x) + 1):
      inside = (row >= 0) & (row < planes.shape[1]) & (column >= 0) & (column < planes.shape[2])
      weight = np.where(inside, (1 - abs(y - row)) * (1 - abs(x - column)), 0)
      total += weight * planes[:, np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)]
  return total


def _cyclic_pairs(frames):
  """(0, 1), (2, 3), ..., then (n - 1, 0), (1, 2), ..."""
  starts = [*range(0, len(frames), 2), *range(-1, len(frames) - 1, 2)]
  return [np.concatenate([frames[start], frames[start + 1]]) for start in starts]


def _fusion(weights, pair, sign):
  """Back-projection of two frames to one."""
  conv = lambda name, x: _gelu(_conv(x, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]))
  (pair,) = _encoded(_part(weights, "encoder1"), [pair], heads=1)
  fused = conv("feat_fusion", pair)
  return fused + conv("diff_fusion", sign * (conv("feat_expand", fused) - pair))


def _attention_block(weights, x, heads):
  """Attention between channels, then a gated feed-forward network."""
  x = x + _attention(_part(weights, "attn"), _norm(_part(weights, "norm1.body"), x), heads)
  ffn, y = _part(weights, "ffn"), _norm(_part(weights, "norm2.body"), x)
  gate, value = np.split(_depthwise(_conv(y, ffn["project_in.weight"]), ffn["dwconv.weight"]), 2)
  return x + _conv(_gelu(gate) * value, ffn["project_out.weight"])


def _attention(weights, x, heads):
  query_key = _depthwise(_conv(x, weights["qk.weight"]), weights["qk_dwconv.weight"])
  value = _depthwise(_conv(x, weights["v.weight"]), weights["v_dwconv.weight"])
  outputs = []
  for head in range(heads):
    query, key, mixed = (np.split(part, heads)[head].reshape(len(x) // heads, -1)
                         for part in (*np.split(query_key, 2), value))
    query, key = (part / np.maximum(np.sqrt((part**2).sum(1, keepdims=True)), 1e-12) for part in (query, key))
    logits = query @ key.T * weights["temperature"][head, 0, 0]
    attention = np.exp(logits - logits.max(1, keepdims=True))
    outputs.append(attention / attention.sum(1, keepdims=True) @ mixed)
  return _conv(np.concatenate(outputs).reshape(x.shape), weights["project_out.weight"])


def _norm(weights, x):
  """Over the channels of every pixel."""
  normed = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
  return normed * weights["weight"][:, None, None] + weights["bias"][:, None, None]


def _gelu(x):
  return x * (1 + erf(x / np.sqrt(2))) / 2


def _conv(x, kernel, bias=None, stride=1):
  """Zeros around the image; one pixel of them for 3x3."""
  side, (height, width) = kernel.shape[2], np.array(x.shape[1:]) // stride
  x = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
  total = np.zeros((len(kernel), height, width))
  for i, j in np.ndindex(side, side):
    total += np.tensordot(kernel[:, :, i, j], x[:, i:i + stride * height:stride, j:j + stride * width:stride], 1)
  return total if bias is None else total + bias[:, None, None]


_halving_conv = functools.partial(_conv, stride=2)


def _depthwise(x, kernel):
  _, height, width = x.shape
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
  return sum(kernel[:, 0, i, j, None, None] * padded[:, i:i + height, j:j + width] for i, j in np.ndindex(3, 3))


def _transposed_conv(x, kernel, bias):
  """Every pixel adds its 3x3 of a twice as large image: kernel `[in, out, 3, 3]`, stride 2, one row and column cut."""
  _, height, width = x.shape
  total = np.zeros((kernel.shape[1], 2 * height + 1, 2 * width + 1))
  for i, j in np.ndindex(3, 3):
    total[:, i:i + 2 * height:2, j:j + 2 * width:2] += np.tensordot(kernel[:, :, i, j].T, x, 1)
  return total[:, 1:, 1:] + bias[:, None, None]
