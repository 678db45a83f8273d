"""Random weights under the names and in the shapes of the authors' release, and its networks once more, slowly."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.restoration import Burstormer

# Expansion, channels, repeats, stride: Table 2 of the MobileNetV2 paper.
_TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def baenet_blocks(num_planes=5, width=1.0):
  """Convolutions of torchvision's `mobilenet_v2`, block by block: (name, shape of the weight, stride, groups)."""
  scaled = lambda channels: max(8, int(channels * width + 4) // 8 * 8)
  inputs, index = scaled(32), 1
  blocks = [[("features.0.0", (inputs, num_planes, 3, 3), 2, 1)]]
  for expansion, channels, repeats, first_stride in _TABLE:
    for repeat in range(repeats):
      hidden, outputs = expansion * inputs, scaled(channels)
      stride = first_stride if repeat == 0 else 1
      rows = [((hidden, inputs, 1, 1), 1, 1), ((hidden, 1, 3, 3), stride, hidden), ((outputs, hidden, 1, 1), 1, 1)]
      places = ("0.0", "1.0", "2") if expansion > 1 else ("0.0", "1")
      blocks.append([(f"features.{index}.conv.{place}", *row) for place, row in zip(places, rows[-len(places):])])
      inputs, index = outputs, index + 1
  return blocks + [[(f"features.{index}.0", (1280, inputs, 1, 1), 1, 1)]]


def norm_of(layer):
  """`features.3.conv.2` -> `features.3.conv.3`: the BatchNorm that stands behind a convolution."""
  *start, last = layer.split(".")
  return ".".join([*start, str(int(last) + 1)])


def baenet_state_dict(prefix="baenet.mobilenet.", num_planes=5, num_frames=4, width=1.0, seed=0):
  """Random weights whose activations keep their size, statistics included."""
  rng, weights = np.random.default_rng(seed), {}
  for name, shape, _, _ in sum(baenet_blocks(num_planes, width), []):
    weights[f"{name}.weight"] = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
    for leaf, low, high in (("weight", 0.7, 1.3), ("bias", -0.3, 0.3), ("running_mean", -0.2, 0.2),
                            ("running_var", 0.5, 1.5)):
      weights[f"{norm_of(name)}.{leaf}"] = rng.uniform(low, high, shape[0])
    weights[f"{norm_of(name)}.num_batches_tracked"] = np.array(7)
  weights["classifier.1.weight"] = rng.normal(size=(num_frames + 1, 1280)) / 20
  weights["classifier.1.bias"] = rng.normal(size=num_frames + 1) / 20
  return {prefix + name: array.astype(np.float32) if array.ndim else array for name, array in weights.items()}


def burstormer_state_dict(num_frames=4, seed=0, **options):
  """Random weights of the published Burstormer; `options` as for ours."""
  shape = jax.ShapeDtypeStruct((num_frames, 8, 8, 4), jnp.float32)
  variables = jax.eval_shape(Burstormer(**options).init, jax.random.key(0), shape)
  rng, weights = np.random.default_rng(seed), {}
  for path, leaf in traverse_util.flatten_dict(variables["params"], sep="/").items():
    scale = 1.0 if path.endswith("scale") else 0.0 if path.endswith("bias") else np.sqrt(1 / np.prod(leaf.shape[:-1]))
    array = (scale * rng.normal(size=leaf.shape)).astype(np.float32)
    weights[published_name(path)] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
  return weights


def published_name(path):
  """Our path as the published Burstormer would name it (the inverse of `burstormer_path`)."""
  parts = path.replace("deform_kernel", "deform/kernel").replace("deform_bias", "deform/bias").split("/")
  parts[-1] = {"kernel": "weight", "scale": "weight"}.get(parts[-1], parts[-1])
  name = ".".join(parts)
  for old, new in (("encoder_level1_", "encoder_level1."), ("encoder_level2_", "encoder_level2."),
                   ("encoder1_", "encoder1."), ("norm1.", "norm1.body."), ("norm2.", "norm2.body.")):
    name = name.replace(old, new)
  sequential = ("conv1", "rec_conv2", "out_conv", "rec_conv1", "bottleneck", "bottleneck_o", "feat_fusion",
                "feat_expand", "diff_fusion")
  return ".".join(part + ".0" if part in sequential else part for part in name.split("."))


def slow_baenet(weights, planes):
  """Logits `[n + 1]` of planes `[H, W, c]` in float64, one tap of one kernel after the other."""
  num_planes, width = weights["features.0.0.weight"].shape[1], weights["features.18.0.weight"].shape[1] / 320
  x = np.asarray(planes, np.float64).transpose(2, 0, 1)
  for block in baenet_blocks(num_planes, width):
    before = x
    for index, (name, _, stride, groups) in enumerate(block, start=1):
      x = _convolved(x, weights[f"{name}.weight"], stride, groups)
      gain, bias, mean, var = (weights[f"{norm_of(name)}.{leaf}"].astype(np.float64)[:, None, None]
                               for leaf in ("weight", "bias", "running_mean", "running_var"))
      x = gain * (x - mean) / np.sqrt(var + 1e-5) + bias
      if index < len(block) or len(block) == 1:
        x = np.clip(x, 0, 6)
    x = x + before if x.shape == before.shape and len(block) > 1 else x
  return weights["classifier.1.weight"] @ x.mean(axis=(1, 2)) + weights["classifier.1.bias"]


def _convolved(x, kernel, stride, groups):
  pad = kernel.shape[2] // 2
  x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
  height, width = ((side - kernel.shape[2]) // stride + 1 for side in x.shape[1:])
  result = np.zeros((kernel.shape[0], height, width))
  for i in range(kernel.shape[2]):
    for j in range(kernel.shape[3]):
      taps = x[:, i:i + stride * height:stride, j:j + stride * width:stride][:, :height, :width]
      tap = kernel[:, :, i, j].astype(np.float64)
      result += tap[:, 0, None, None] * taps if groups > 1 else np.tensordot(tap, taps, 1)
  return result
