"""Published RAFT weights arrive whole under either naming and compute what the published network computes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from plain_raft import plain_raft, random_state_dict
import pytest

from debir_jax.convert import raft_params, raft_size
from debir_jax.convert.raft import raft_path
from debir_jax.motion import Raft

_SIZES = ("small", "large")
_NUM_ENTRIES = dict(small=106, large=179)  # Of princeton's state dicts.


@functools.cache
def state_dict(size):
  """Random weights under princeton's names."""
  return random_state_dict(size)


def torchvision_name(name):
  """princeton's name as torchvision has it; None for what it has under another name too."""
  name = name.replace("fnet.", "feature_encoder.").replace("cnet.", "context_encoder.")
  parts = name.split(".")
  if parts[0].endswith("encoder"):
    if parts[-2] == "norm3":
      return None
    if parts[1] == "conv2":
      parts[1] = "conv"
    elif parts[1] in ("conv1", "norm1"):
      parts[1:2] = ["convnormrelu", "01"["cn".index(parts[1][0])]]
    elif parts[3][:4] in ("conv", "norm"):
      parts[3:4] = [f"convnormrelu{parts[3][4]}", "01"["cn".index(parts[3][0])]]
  elif parts[1] == "encoder":
    long = dict(convc1="convcorr1", convc2="convcorr2", convf1="convflow1", convf2="convflow2", conv="conv")
    parts[1:3] = ["motion_encoder", long[parts[2]], "0"]
  elif parts[1] == "gru":
    parts[1:3] = ["recurrent_block", f"convgru{parts[2][5:] or 1}", parts[2][:5]]
  elif parts[1] == "mask":
    parts[:3] = ["mask_predictor", *dict(zip("02", (("convrelu", "0"), ("conv",))))[parts[2]]]
  return ".".join(parts)


@pytest.mark.parametrize("name, path", [
    ("module.fnet.layer1.0.conv2.weight", "params/feature_encoder/layer1_0/conv2/kernel"),
    ("feature_encoder.layer1.0.convnormrelu2.0.weight", "params/feature_encoder/layer1_0/conv2/kernel"),
    ("cnet.layer2.0.norm3.running_var", "batch_stats/context_encoder/layer2_0/downsample_norm/var"),
    ("context_encoder.layer2.0.downsample.1.running_var",
     "batch_stats/context_encoder/layer2_0/downsample_norm/var"),
    ("update_block.gru.convq2.bias", "params/update/gru2/q_bias"),
    ("update_block.recurrent_block.convgru2.convq.bias", "params/update/gru2/q_bias"),
    ("mask_predictor.conv.weight", "params/upsampling/conv2/kernel")])
def test_names_of_the_published_networks(name, path):
  """One of each kind, in both namings."""
  assert raft_path(name) == path


@pytest.mark.parametrize("size", _SIZES)
def test_both_namings_give_the_same_variables(size):
  """princeton with and without "module.", and torchvision, which has no second name for the norms of shortcuts."""
  weights = state_dict(size)
  assert len(weights) == _NUM_ENTRIES[size] and raft_size(weights) == size
  expected = raft_params(weights)
  prefixed = {f"module.{name}": array for name, array in weights.items()}
  torchvision = {torchvision_name(name): array for name, array in weights.items() if torchvision_name(name)}
  assert "mask_predictor.conv.weight" in torchvision or size == "small"
  for other in (prefixed, torchvision):
    jax.tree.map(np.testing.assert_array_equal, raft_params(other), expected)


@pytest.mark.parametrize("size", _SIZES)
def test_the_flow_is_that_of_a_plain_implementation(size):
  """Random weights and statistics: numpy in float64 and ours in float32 agree, with flows that leave the image."""
  images = np.random.default_rng(1).uniform(0, 255, (2, 3, 128, 144))
  images[:, :, 40:90, 40:90] *= 0.3
  expected = np.moveaxis(plain_raft(state_dict(size), *images, num_updates=2), 0, -1)
  apply = jax.jit(Raft(size, num_updates=2).apply)
  flow = apply(raft_params(state_dict(size)), *jnp.asarray(np.moveaxis(images, 1, -1) / 255, jnp.float32))
  assert abs(expected).max() > 10
  np.testing.assert_allclose(flow, expected, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("num_updates", (1, 12, 20))
def test_the_flow_is_that_of_the_published_network(shared_dir, num_updates):
  """RAFT-small with its published weights on two crops of a photo, after 1, 12 and 20 updates, within 1e-4 px."""
  with np.load(shared_dir / "golden" / "raft_small.npz") as file:
    weights = {name.removeprefix("state_dict/"): file[name] for name in file if name.startswith("state_dict/")}
    images = [jnp.asarray(file[name], jnp.float32) / 255 for name in ("image1", "image2")]
    expected = file[f"flow_{num_updates}_updates"]
  flow = jax.jit(Raft("small", num_updates).apply)(raft_params(weights), *images)
  np.testing.assert_allclose(flow, expected, atol=1e-4)


def test_missing_unknown_and_misshapen_weights_are_listed_by_name():
  broken = dict(state_dict("large"))
  del broken["update_block.gru.convz2.bias"], broken["cnet.norm1.running_mean"]
  broken["fnet.norm1.weight"] = np.zeros(64)
  broken["update_block.mask.2.weight"] = np.zeros((576, 128, 1, 1))
  with pytest.raises(ValueError) as error:
    raft_params(broken)
  message = str(error.value)
  assert "missing: batch_stats/context_encoder/norm1/mean, params/update/gru2/z_bias" in message
  assert "unknown: fnet.norm1.weight" in message
  assert "update_block.mask.2.weight: (1, 1, 128, 576) instead of (1, 1, 256, 576)" in message


def test_two_different_arrays_for_one_place_are_refused():
  """princeton holds the norm of a shortcut twice; they must agree."""
  broken = state_dict("large") | {"cnet.layer2.0.downsample.1.bias": np.zeros(96, np.float32)}
  with pytest.raises(ValueError, match="cnet.layer2.0.norm3.bias and cnet.layer2.0.downsample.1.bias are one array"):
    raft_params(broken)


@pytest.mark.parametrize("weights", ({}, {"conv1.weight": np.zeros((8, 4, 3, 3))},
                                     {"fnet.conv1.weight": np.zeros((48, 3, 7, 7))}))
def test_something_else_is_refused(weights):
  """What cannot be told to be small or large is no RAFT."""
  with pytest.raises(ValueError, match="no state dict of RAFT"):
    raft_size(weights)
