"""LPIPS against a slow version straight from the published state dict; its weights by name; and in an evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.convert import __main__ as convert_main
from debir_jax.convert import lpips_params
from debir_jax.evaluation.lpips import NETWORKS, SCALE, SHIFT, Lpips, load_lpips

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


def slow_lpips(weights, network, image, reference):
  """Sums over windows in float64; images `[h, w, 3]` in [0, 1]."""
  def windows(x, size, stride):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))[::stride, ::stride]

  def features(x):
    x, found = (2 * x - 1 - SHIFT) / SCALE, []
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


def images(side=37):
  return jax.random.uniform(jax.random.key(0), (2, side, side, 3))


@pytest.mark.parametrize("network, side", [("alex", 37), ("vgg", 18)])
def test_it_is_the_published_distance(network, side):
  """Odd sides, all five depths; equal images are 0 apart, and order does not matter."""
  weights = state_dict(network)
  metric = Lpips(network, lpips_params(weights)["params"])
  image, reference = images(side)
  np.testing.assert_allclose(metric(image, reference), slow_lpips(weights, network, image, reference), rtol=1e-4)
  np.testing.assert_allclose(metric(reference, image), metric(image, reference), rtol=1e-6)
  assert metric(image, image) == 0


def test_border_range_and_clamping():
  metric = Lpips("alex", lpips_params(state_dict("alex"))["params"])
  image, reference = images(41)
  inner = slice(2, -2)
  cut = metric(image[inner, inner], reference[inner, inner])
  assert metric(image, reference, border=2) == pytest.approx(float(cut))
  assert metric(image + 2, reference) == pytest.approx(float(metric(jnp.ones_like(image), reference)))
  doubled = (image + 1) / 2, (reference + 1) / 2  # What [0, 1] becomes without being brought to [-1, 1].
  assert metric(*doubled) == pytest.approx(float(metric(image, reference, unit_range=False)), rel=1e-5)
  gradient = jax.grad(lambda image: metric(image, reference))(image)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("side, border, message", [(30, 0, "smaller than the 31"), (40, 5, "smaller than the 31")])
def test_images_below_the_network_are_refused(side, border, message):
  metric = Lpips("alex", lpips_params(state_dict("alex"))["params"])
  with pytest.raises(ValueError, match=message):
    metric(*images(side), border=border)


def test_weights_are_converted_by_name_and_refused_by_name(tmp_path):
  """From a file to a metric; what is missing, unknown or of another version stops it."""
  weights = state_dict("alex")
  np.savez(tmp_path / "lpips.npz", **weights)
  convert_main.main(["--from", str(tmp_path / "lpips.npz"), "--to", str(tmp_path / "weights")])
  metric = load_lpips(tmp_path / "weights" / "lpips.safetensors")
  assert metric.network == "alex"
  assert metric(*images()) == Lpips("alex", lpips_params(weights)["params"])(*images())
  del weights["net.slice3.6.bias"]
  with pytest.raises(ValueError, match="missing: conv6/bias"):
    lpips_params(weights)
  with pytest.raises(ValueError, match="another version"):
    lpips_params(state_dict("alex") | {"scaling_layer.shift": np.zeros((1, 3, 1, 1), np.float32)})
  with pytest.raises(ValueError, match="no state dict of LPIPS"):
    lpips_params({"lin0.model.1.weight": np.ones((1, 64, 1, 1))})
