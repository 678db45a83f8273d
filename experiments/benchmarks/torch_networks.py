"""The networks of this package as PyTorch modules: the yardstick of `networks.py`.

Same layers as the published modules and the same names of the weights, so that their state dicts load with
`strict=True`; written for speed as one would write PyTorch for speed:

- Burstormer wants `module.to(memory_format=torch.channels_last)`. Pixels then hold their channels side by side, as
  `F.layer_norm` reads them, and depthwise and pointwise convolutions are faster: a feed-forward network with 96
  channels on 4 frames of 128x128 by 1.6 to 2.8 times (2 CPU threads, torch 2.13, busy machine). Both layouts give the
  same results.
- LayerNorm is `F.layer_norm` on a permuted view, which then copies nothing; on these frames 2 to 8 ms, where the
  arithmetic of Restormer takes 70 ms and more.
- Bursts have a batch axis, and offsets are computed only for frames that they move, as in our Flax network.
- Deformable convolutions are torchvision's where it is installed, else one `grid_sample` of all points.
"""

import torch
from torch import nn
import torch.nn.functional as F

try:
  from torchvision.ops import deform_conv2d as _torchvision_deform_conv2d
except ImportError:
  _torchvision_deform_conv2d = None

_EXPANSION = 2.66
_DEFORM_GROUPS = 8
_DILATION = 2
_TAPS = 9


def _conv3x3(inputs, outputs, *, bias=True, stride=1):
  return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def _conv1x1(inputs, outputs):
  return nn.Conv2d(inputs, outputs, 1, bias=False)


def _depthwise3x3(channels):
  return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _channels_behind(x):
  """`[N, C, H, W]` as `[N, H, W, C]`, a view."""
  return x.permute(0, 2, 3, 1)


def _channels_first(x):
  """`[N, H, W, C]` as `[N, C, H, W]`, a view in the memory format `channels_last`."""
  return x.permute(0, 3, 1, 2)


class LayerNorm(nn.Module):
  """Normalises the channels of every pixel of `[N, C, H, W]`."""

  def __init__(self, channels):
    super().__init__()
    self.body = nn.LayerNorm(channels, eps=1e-5)

  def forward(self, x):
    return _channels_first(self.body(_channels_behind(x)))


class ChannelAttention(nn.Module):
  """MDTA: attention between the channels of each head, over all pixels of an image."""

  def __init__(self, channels, num_heads):
    super().__init__()
    self.num_heads = num_heads
    self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
    self.qk, self.qk_dwconv = _conv1x1(channels, 2 * channels), _depthwise3x3(2 * channels)
    self.v, self.v_dwconv = _conv1x1(channels, channels), _depthwise3x3(channels)
    self.project_out = _conv1x1(channels, channels)

  def forward(self, x):
    query, key = self._heads(self.qk_dwconv(self.qk(x))).chunk(2, -1)
    value = self._heads(self.v_dwconv(self.v(x)))
    if self.num_heads > 1:
      query, key, value = [_split_heads(part[:, 0], self.num_heads) for part in (query, key, value)]
    # Cosines: products divided by lengths, instead of normalised copies of queries and keys.
    lengths = [torch.linalg.vector_norm(part, dim=-2).clamp_min(1e-12) for part in (query, key)]
    cosines = query.transpose(-1, -2) @ key / (lengths[0][..., None] * lengths[1][..., None, :])
    attention = torch.softmax(cosines * self.temperature, -1)
    mixed = value @ attention.transpose(-1, -2)
    mixed = mixed.transpose(1, 2).reshape(x.shape[0], *x.shape[2:], x.shape[1])
    return self.project_out(_channels_first(mixed))

  def _heads(self, x):
    """`[N, 1, pixels, C]`."""
    return _channels_behind(x).flatten(1, 2)[:, None]


def _split_heads(x, num_heads):
  """`[N, pixels, C]` -> `[N, heads, pixels, C / heads]`."""
  return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


class GatedFeedForward(nn.Module):
  """GDFN: GELU of one half of the expanded features gates the other half."""

  def __init__(self, channels):
    super().__init__()
    hidden = int(channels * _EXPANSION)
    self.project_in, self.dwconv = _conv1x1(channels, 2 * hidden), _depthwise3x3(2 * hidden)
    self.project_out = _conv1x1(hidden, channels)

  def forward(self, x):
    gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
    return self.project_out(F.gelu(gate) * value)


class BurstFeatureAttention(nn.Module):
  """BFA: the block of Restormer."""

  def __init__(self, channels, num_heads=1):
    super().__init__()
    self.norm1, self.attn = LayerNorm(channels), ChannelAttention(channels, num_heads)
    self.norm2, self.ffn = LayerNorm(channels), GatedFeedForward(channels)

  def forward(self, x):
    x = x + self.attn(self.norm1(x))
    return x + self.ffn(self.norm2(x))


class BurstFeatureFusion(nn.Module):
  """BFF: pairs of frames `[N, 2 f, H, W]` -> `[N, f, H, W]`."""

  def __init__(self, features, sign):
    super().__init__()
    self.sign = sign
    self.encoder1 = nn.Sequential(*[BurstFeatureAttention(2 * features) for _ in range(2)])
    self.feat_fusion = nn.Sequential(_conv3x3(2 * features, features), nn.GELU())
    self.feat_expand = nn.Sequential(_conv3x3(features, 2 * features), nn.GELU())
    self.diff_fusion = nn.Sequential(_conv3x3(2 * features, features), nn.GELU())

  def forward(self, pairs):
    pairs = self.encoder1(pairs)
    fused = self.feat_fusion(pairs)
    expanded = self.feat_expand(fused)
    return fused + self.diff_fusion(expanded - pairs if self.sign > 0 else pairs - expanded)


def _by_burst(frames, num_frames):
  """`[B * n, C, H, W]` -> `[B, n, H, W, C]`, a view."""
  return _channels_behind(frames).unflatten(0, (-1, num_frames))


def _all_frames(bursts):
  """`[B, n, H, W, C]` -> `[B * n, C, H, W]`."""
  return _channels_first(bursts.flatten(0, 1))


def _reference_pairs(bursts):
  """`[B, n, H, W, f]` -> every frame behind the reference frame, `[B, n, H, W, 2 f]`."""
  return torch.cat([bursts[:, :1].expand_as(bursts), bursts], -1)


def _cyclic_pairs(bursts):
  """`[B, n, H, W, f]` -> pairs (0,1), (2,3), ..., then (n-1,0), (1,2), ..., `[B, n, H, W, 2 f]`."""
  even, odd = bursts[:, ::2], bursts[:, 1::2]
  first = torch.cat([even, odd.roll(1, 1)], 1)
  return torch.cat([first, torch.cat([odd, even], 1)], -1)


class DeformConv(nn.Module):
  """Modulated deformable 3x3 convolution in 8 groups: `[N, f, H, W]`, offsets `[N, 144, H, W]`, mask `[N, 72, ...]`."""

  def __init__(self, features):
    super().__init__()
    bound = (features // _DEFORM_GROUPS * _TAPS) ** -0.5
    self.weight = nn.Parameter(torch.empty(features, features // _DEFORM_GROUPS, 3, 3).uniform_(-bound, bound))
    self.bias = nn.Parameter(torch.empty(features).uniform_(-bound, bound))

  def forward(self, x, offsets, mask):
    if _torchvision_deform_conv2d is not None:
      return _torchvision_deform_conv2d(x, offsets, self.weight, self.bias, padding=_DILATION, dilation=_DILATION,
                                        mask=mask)
    samples = _sample(x, offsets, mask)
    weight = self.weight.reshape(_DEFORM_GROUPS, -1, samples.shape[2])
    return (weight @ samples).reshape(x.shape) + self.bias[:, None, None]


def _sample(x, offsets, mask):
  """The masked points that the kernel sees: `[N, groups, f / groups * 9, pixels]`."""
  images, _, height, width = x.shape
  steps = _DILATION * torch.arange(-1, 2, device=x.device)
  rows = steps[:, None, None, None] + torch.arange(height, device=x.device)[:, None]
  columns = steps[:, None, None] + torch.arange(width, device=x.device)
  moves = offsets.unflatten(1, (_DEFORM_GROUPS, 3, 3, 2))
  # grid_sample's -1 and 1 are the outer edges of the image.
  down = (moves[:, :, :, :, 0] + rows) * (2 / height) + (1 / height - 1)
  right = (moves[:, :, :, :, 1] + columns) * (2 / width) + (1 / width - 1)
  grid = torch.stack([right, down], -1).reshape(-1, _TAPS * height, width, 2)
  groups = x.reshape(images * _DEFORM_GROUPS, -1, height, width)
  samples = F.grid_sample(groups, grid, padding_mode="zeros", align_corners=False)
  samples = samples.reshape(images, _DEFORM_GROUPS, -1, _TAPS, height * width)
  return (samples * mask.reshape(images, _DEFORM_GROUPS, 1, _TAPS, -1)).flatten(2, 3)


class Alignment(nn.Module):
  """Aligns the frames of one scale: (aligned frames, offset features of frames 1 to n - 1)."""

  def __init__(self, features, num_frames, memory):
    super().__init__()
    self.num_frames = num_frames
    self.bottleneck = nn.Sequential(_conv3x3(2 * features, features, bias=False), nn.GELU())
    if memory:
      self.bottleneck_o = nn.Sequential(_conv3x3(2 * features, features, bias=False), nn.GELU())
    self.offset_conv = _conv3x3(features, 3 * _TAPS * _DEFORM_GROUPS, bias=False)
    self.deform = DeformConv(features)
    self.back_projection = BurstFeatureFusion(features, sign=1)

  def forward(self, frames, coarse_offset_features=None):
    bursts = _by_burst(frames, self.num_frames)
    offset_features = self.bottleneck(_all_frames(_reference_pairs(bursts)[:, 1:]))
    if coarse_offset_features is not None:
      offset_features = self.bottleneck_o(torch.cat([coarse_offset_features, offset_features], 1))
    moves = self.offset_conv(offset_features)
    num_offsets = 2 * _TAPS * _DEFORM_GROUPS
    moved = self.deform(_all_frames(bursts[:, 1:]), moves[:, :num_offsets], torch.sigmoid(moves[:, num_offsets:]))
    aligned = torch.cat([bursts[:, :1], _by_burst(moved, self.num_frames - 1)], 1)
    return self.back_projection(_all_frames(_reference_pairs(aligned))), offset_features


class BurstAlignment(nn.Module):
  """EDA: aligns features from coarse to fine, at three scales and once more at the finest."""

  def __init__(self, features, num_frames):
    super().__init__()
    self.encoder_level1 = nn.Sequential(*[BurstFeatureAttention(features) for _ in range(2)])
    self.encoder_level2 = nn.Sequential(*[BurstFeatureAttention(features, num_heads=2) for _ in range(2)])
    self.down1, self.down2 = [_conv3x3(features, features, stride=2) for _ in range(2)]
    for name in ("up1", "up2", "offset_up1", "offset_up2"):
      self.add_module(name, nn.ConvTranspose2d(features, features, 3, stride=2, padding=1, output_padding=1))
    for name in ("alignment0", "alignment1", "alignment2", "cascade_alignment"):
      self.add_module(name, Alignment(features, num_frames, memory=name != "alignment2"))

  def forward(self, frames):
    full = self.encoder_level1(frames)
    half = self.encoder_level2(self.down1(full))
    aligned, offset_features = self.alignment2(self.down2(half))
    coarse = self.up2(aligned)
    aligned, offset_features = self.alignment1(half, 2 * self.offset_up2(offset_features))
    coarse = self.up1(coarse + aligned)
    aligned, offset_features = self.alignment0(full, 2 * self.offset_up1(offset_features))
    return self.cascade_alignment(coarse + aligned, offset_features)[0]


class Burstormer(nn.Module):
  """Burstormer for de-noising: bursts `[B, n, C, H, W]`, n even -> images `[B, out_channels, H, W]`."""

  def __init__(self, num_features=48, num_frames=4, in_channels=4, out_channels=4):
    super().__init__()
    self.num_frames = num_frames
    self.conv1 = nn.Sequential(_conv3x3(in_channels, num_features, bias=False))
    self.align = BurstAlignment(num_features, num_frames)
    self.back_projection1 = BurstFeatureFusion(num_features, sign=-1)
    self.rec_conv1 = nn.Sequential(_conv1x1(num_frames * num_features, 2 * num_features), nn.GELU())
    self.back_projection2 = BurstFeatureFusion(num_features, sign=-1)
    self.rec_conv2 = nn.Sequential(_conv1x1(2 * num_features, num_features), nn.GELU())
    self.out_conv = nn.Sequential(_conv3x3(num_features, out_channels, bias=False))

  def forward(self, bursts):
    frames = self.align(self.conv1(bursts.flatten(0, 1)))
    frames = self.back_projection1(_all_frames(_cyclic_pairs(_by_burst(frames, self.num_frames))))
    both = self.rec_conv1(self._frames_to_channels(frames, self.num_frames))
    pair = _channels_behind(both).unflatten(-1, (2, -1)).movedim(3, 1)
    frames = self.back_projection2(_all_frames(_cyclic_pairs(pair)))
    return self.out_conv(self.rec_conv2(self._frames_to_channels(frames, 2)))

  def _frames_to_channels(self, frames, num_frames):
    """`[B * n, f, H, W]` -> `[B, n * f, H, W]`."""
    return _channels_first(_by_burst(frames, num_frames).movedim(1, 3).flatten(3))


# (expansion, channels, blocks, stride of the first): Table 2 of MobileNetV2.
_MOBILENET_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                   (6, 320, 1, 1))


def _conv_norm(inputs, outputs, size, *, stride=1, groups=1, activation=True):
  layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
  return layers + [nn.ReLU6(inplace=True)] if activation else layers


class _InvertedResidual(nn.Module):

  def __init__(self, inputs, outputs, expansion, stride):
    super().__init__()
    hidden = inputs * expansion
    layers = [nn.Sequential(*_conv_norm(inputs, hidden, 1))] if expansion > 1 else []
    layers.append(nn.Sequential(*_conv_norm(hidden, hidden, 3, stride=stride, groups=hidden)))
    self.conv = nn.Sequential(*layers, *_conv_norm(hidden, outputs, 1, activation=False))
    self.keeps_shape = stride == 1 and inputs == outputs

  def forward(self, x):
    return x + self.conv(x) if self.keeps_shape else self.conv(x)


class BAENet(nn.Module):
  """MobileNetV2, planes `[B, in_channels, H, W]` -> `[B, num_outputs]`; names and layout of torchvision's."""

  def __init__(self, in_channels=6, num_outputs=5):
    super().__init__()
    layers = [nn.Sequential(*_conv_norm(in_channels, 32, 3, stride=2))]
    channels = 32
    for expansion, outputs, num_blocks, stride in _MOBILENET_ROWS:
      for index in range(num_blocks):
        layers.append(_InvertedResidual(channels, outputs, expansion, 1 if index else stride))
        channels = outputs
    self.features = nn.Sequential(*layers, nn.Sequential(*_conv_norm(channels, 1280, 1)))
    self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_outputs))

  def forward(self, planes):
    return self.classifier(self.features(planes).mean((2, 3)))


_RADIUS, _NUM_LEVELS = 3, 4
_HIDDEN, _CONTEXT = 96, 64


class _Bottleneck(nn.Module):

  def __init__(self, inputs, outputs, stride, norm):
    super().__init__()
    inner = outputs // 4
    self.conv1, self.conv2 = nn.Conv2d(inputs, inner, 1), nn.Conv2d(inner, inner, 3, stride, 1)
    self.conv3, self.norm = nn.Conv2d(inner, outputs, 1), norm
    self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

  def forward(self, x):
    y = x
    for conv in (self.conv1, self.conv2, self.conv3):
      y = F.relu(self.norm(conv(y)))
    if self.downsample is not None:
      x = self.norm(self.downsample(x))
    return F.relu(x + y)


class _Encoder(nn.Module):
  """`[B, 3, H, W]` -> `[B, outputs, H / 8, W / 8]`."""

  def __init__(self, outputs, norm):
    super().__init__()
    self.conv1, self.norm = nn.Conv2d(3, 32, 7, 2, 3), norm
    widths = (32, 32, 64, 96)
    for index, (inputs, width) in enumerate(zip(widths, widths[1:]), start=1):
      first = _Bottleneck(inputs, width, 1 if index == 1 else 2, norm)
      self.add_module(f"layer{index}", nn.Sequential(first, _Bottleneck(width, width, 1, norm)))
    self.conv2 = nn.Conv2d(96, outputs, 1)

  def forward(self, x):
    x = F.relu(self.norm(self.conv1(x)))
    return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class _MotionEncoder(nn.Module):

  def __init__(self):
    super().__init__()
    self.convc1 = nn.Conv2d(_NUM_LEVELS * (2 * _RADIUS + 1)**2, 96, 1)
    self.convf1, self.convf2 = nn.Conv2d(2, 64, 7, padding=3), nn.Conv2d(64, 32, 3, padding=1)
    self.conv = nn.Conv2d(128, 80, 3, padding=1)

  def forward(self, correlation, flow):
    both = [F.relu(self.convc1(correlation)), F.relu(self.convf2(F.relu(self.convf1(flow))))]
    return torch.cat([F.relu(self.conv(torch.cat(both, 1))), flow], 1)


class _ConvGru(nn.Module):

  def __init__(self):
    super().__init__()
    for name in ("convz", "convr", "convq"):
      self.add_module(name, nn.Conv2d(_HIDDEN + _CONTEXT + 82, _HIDDEN, 3, padding=1))

  def forward(self, hidden, inputs):
    both = torch.cat([hidden, inputs], 1)
    update, reset = torch.sigmoid(self.convz(both)), torch.sigmoid(self.convr(both))
    return torch.lerp(hidden, torch.tanh(self.convq(torch.cat([reset * hidden, inputs], 1))), update)


class _FlowHead(nn.Module):

  def __init__(self):
    super().__init__()
    self.conv1, self.conv2 = nn.Conv2d(_HIDDEN, 128, 3, padding=1), nn.Conv2d(128, 2, 3, padding=1)

  def forward(self, hidden):
    return self.conv2(F.relu(self.conv1(hidden)))


class _UpdateBlock(nn.Module):

  def __init__(self):
    super().__init__()
    self.encoder, self.gru, self.flow_head = _MotionEncoder(), _ConvGru(), _FlowHead()

  def forward(self, hidden, context, correlation, flow):
    hidden = self.gru(hidden, torch.cat([context, self.encoder(correlation, flow)], 1))
    return hidden, flow + self.flow_head(hidden)


class RaftSmall(nn.Module):
  """RAFT-small: sRGB images `[B, 3, H, W]` in [0, 1], sides multiples of 8 -> flow `[B, 2, H, W]`, (x, y) in px."""

  def __init__(self):
    super().__init__()
    self.fnet = _Encoder(128, F.instance_norm)
    self.cnet = _Encoder(_HIDDEN + _CONTEXT, lambda x: x)
    self.update_block = _UpdateBlock()

  def forward(self, image1, image2, num_updates=20):
    images = 2 * torch.cat([image1, image2]) - 1
    pyramid = _correlation_pyramid(*self.fnet(images).chunk(2))
    hidden, context = self.cnet(images[:len(image1)]).split([_HIDDEN, _CONTEXT], 1)
    hidden, context = torch.tanh(hidden), F.relu(context)
    grid = _pixel_grid(hidden)
    flow = torch.zeros_like(hidden[:, :2])
    for _ in range(num_updates):
      flow = flow.detach()
      hidden, flow = self.update_block(hidden, context, _look_up(pyramid, grid + flow), flow)
    return 8 * F.interpolate(flow, scale_factor=8, mode="bilinear", align_corners=True)


def _pixel_grid(x):
  """(x, y) of every pixel, `[1, 2, H, W]`."""
  rows, columns = [torch.arange(size, dtype=x.dtype, device=x.device) for size in x.shape[2:]]
  return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]


def _correlation_pyramid(features1, features2):
  """Every pixel of the first with every one of the second, at four scales: `[B * H * W, 1, h, w]` and (w, h)."""
  batch, channels, height, width = features1.shape
  products = features1.flatten(2).transpose(1, 2) @ features2.flatten(2) / channels**0.5
  levels = [products.reshape(-1, 1, height, width)]
  for _ in range(_NUM_LEVELS - 1):
    levels.append(F.avg_pool2d(levels[-1], 2))
  return [(level, level.new_tensor(level.shape[:1:-1])) for level in levels]


def _look_up(pyramid, positions):
  """Correlations `[B, 4 * 49, H, W]` around `positions [B, 2, H, W]`: scale, then x, then y."""
  batch, _, height, width = positions.shape
  window = torch.arange(-_RADIUS, _RADIUS + 1, dtype=positions.dtype, device=positions.device)
  window = torch.stack(torch.meshgrid(window, window, indexing="ij"), -1)
  centres = positions.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
  read = []
  for level, (correlations, size) in enumerate(pyramid):
    grid = (2 * (centres / 2**level + window) + 1) / size - 1
    samples = F.grid_sample(correlations, grid, padding_mode="zeros", align_corners=False)
    read.append(samples.reshape(batch, height, width, -1))
  return torch.cat(read, -1).permute(0, 3, 1, 2)
