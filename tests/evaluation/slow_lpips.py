"""LPIPS in numpy, straight from a state dict of the published module; slow and obvious."""

import numpy as np

from debir_jax.evaluation.lpips import NETWORKS, SCALE, SHIFT

_POOLS = dict(alex=(None, (3, 2), (3, 2), None, None), vgg=(None, *((2, 2),) * 4))


def state_dict(network):
  """Random weights under the names and in the shapes of the published module."""
  rng, found, inputs = np.random.default_rng(0), {}, 3
  for depth, convs in enumerate(NETWORKS[network][0]):
    for conv in convs:
      shape = (conv.channels, inputs, conv.size, conv.size)
      name = f"net.slice{depth + 1}.{conv.index}"
      found[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32) * (2 / np.prod(shape[1:])) ** 0.5
      found[f"{name}.bias"] = rng.normal(size=conv.channels).astype(np.float32) / 10
      inputs = conv.channels
    found[f"lin{depth}.model.1.weight"] = rng.uniform(size=(1, inputs, 1, 1)).astype(np.float32)
    found[f"lins.{depth}.model.1.weight"] = found[f"lin{depth}.model.1.weight"]
  return found | {"scaling_layer.shift": np.reshape(SHIFT, (1, 3, 1, 1)).astype(np.float32),
                  "scaling_layer.scale": np.reshape(SCALE, (1, 3, 1, 1)).astype(np.float32)}


def slow_lpips(weights, network, image, reference, *, unit_range=True):
  """Sums over windows in float64; images `[h, w, 3]` in [0, 1], brought to [-1, 1] or not."""
  def windows(x, size, stride):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))[::stride, ::stride]

  def features(x):
    x, found = ((2 * x - 1 if unit_range else x) - SHIFT) / SCALE, []
    for depth, (convs, pool) in enumerate(zip(NETWORKS[network][0], _POOLS[network])):
      if pool:
        x = windows(x, *pool).max((-1, -2))
      for conv in convs:
        name = f"net.slice{depth + 1}.{conv.index}"
        padded = np.pad(x, ((conv.padding,) * 2, (conv.padding,) * 2, (0, 0)))
        x = np.einsum("hwcij,ocij->hwo", windows(padded, conv.size, conv.stride), weights[f"{name}.weight"])
        x = np.maximum(x + weights[f"{name}.bias"], 0)
      found.append(x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10))
    return found

  pairs = zip(features(np.asarray(image, np.float64)), features(np.asarray(reference, np.float64)))
  return sum((weights[f"lin{depth}.model.1.weight"][0, :, 0, 0] * (a - b)**2).sum(-1).mean()
             for depth, (a, b) in enumerate(pairs))
