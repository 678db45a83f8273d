"""Weights find their network by name, whatever training put in front of the names."""

import numpy as np
from plain_raft import princeton_shapes
import pytest
from released import baenet_state_dict, burstormer_state_dict

from debir_jax.convert import (
  baenet_params,
  burstormer_params,
  lpips_network,
  lpips_params,
  plain_names,
  raft_params,
  raft_size,
  split_parts,
)
from debir_jax.evaluation.lpips import NETWORKS

_FRONTS = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "network.", "ema.",
           "model.module.", "module.model.", "model._orig_mod.net.", "burstormer.", "trainer.model.", "module.debir.")


def _lpips(rng):
  """Of the published module with AlexNet, "lins" beside "lin" as it saves them."""
  weights, inputs = {}, 3
  for depth, (conv,) in enumerate(NETWORKS["alex"][0]):
    layer = f"net.slice{depth + 1}.{conv.index}"
    weights[f"{layer}.weight"] = rng.normal(size=(conv.channels, inputs, conv.size, conv.size))
    weights[f"{layer}.bias"] = rng.normal(size=conv.channels)
    weights[f"lin{depth}.model.1.weight"] = weights[f"lins.{depth}.model.1.weight"] = (
        rng.normal(size=(1, conv.channels, 1, 1)))
    inputs = conv.channels
  return weights


@pytest.fixture(scope="module")
def networks():
  """State dicts by part, as published."""
  rng = np.random.default_rng(0)
  raft = {name: rng.normal(size=shape).astype(np.float32) for name, shape in princeton_shapes("small").items()}
  return dict(restorer=burstormer_state_dict(num_features=8, blocks_per_level=0, fusion_blocks=0), raft=raft,
              baenet=baenet_state_dict("mobilenet.", width=0.25), lpips=_lpips(rng))


@pytest.fixture(scope="module")
def release(networks):
  """A final checkpoint: Burstormer at the top, BAENet and its RAFT below."""
  below = {f"baenet.{name}": array for name, array in networks["baenet"].items()}
  return networks["restorer"] | below | {f"baenet.raft.{name}": array for name, array in networks["raft"].items()}


def _same(found, expected):
  assert list(found) == list(expected)
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("front", _FRONTS)
def test_what_is_in_front_of_all_names_does_not_matter(release, networks, front):
  """Of a whole checkpoint and of each network alone; LPIPS, whose own names begin with "net.", too."""
  for weights in (release, *networks.values()):
    found, expected = split_parts({front + name: array for name, array in weights.items()}), split_parts(weights)
    assert list(found) == list(expected)
    for part in expected:
      _same(found[part], expected[part])


@pytest.mark.parametrize("inside, changed", [
    ("baenet.mobilenet.", "baenet._orig_mod.mobilenet."), ("baenet.", "baenet.module."), ("align.", "align._orig_mod."),
    ("baenet.raft.", "baenet.raft.module."), ("baenet.", "model.baenet."), ("conv1.", "net.conv1.")])
def test_wrappers_of_single_parts_do_not_matter(release, inside, changed):
  """As where one network alone was compiled or spread over devices."""
  renamed = {changed + name.removeprefix(inside) if name.startswith(inside) else name: array
             for name, array in release.items()}
  assert renamed.keys() != release.keys()
  found, expected = split_parts(renamed), split_parts(release)
  for part in expected:
    _same(found[part], expected[part])


@pytest.mark.parametrize("front", ["module.", "_orig_mod.module.", "model.", "module.net."])
def test_each_importer_understands_the_names_too(networks, front):
  """Without `split_parts`, from a state dict that somebody made."""
  wrapped = {part: {front + name: array for name, array in weights.items()} for part, weights in networks.items()}
  importers = dict(restorer=burstormer_params, baenet=baenet_params, raft=raft_params, lpips=lpips_params)
  for part, importer in importers.items():
    found, expected = importer(wrapped[part]), importer(networks[part])
    np.testing.assert_equal(found, expected)
  assert raft_size(wrapped["raft"]) == "small" and lpips_network(wrapped["lpips"]) == "alex"


def test_plain_names_stay():
  """Names of LPIPS begin like an owner's, and one of RAFT's ends like a wrapper."""
  names = ["net.slice1.0.weight", "lin0.model.1.weight", "fnet.conv1.weight", "conv1.0.weight"]
  assert list(plain_names([*names, "net.features.0.0.weight"]).values()) == [*names, "features.0.0.weight"]
  assert plain_names(["submodule.conv1.weight"]) == {"submodule.conv1.weight": "conv1.weight"}
  assert plain_names(["submodule.weight", "conv1.weight"]) == {
      "submodule.weight": "submodule.weight", "conv1.weight": "conv1.weight"}


def test_two_networks_of_one_kind_are_refused_unless_they_are_one(networks):
  """A network and its average, both with all names; one of them is ignored, or both are the same arrays."""
  one, other = networks["raft"], {name: array + 1 for name, array in networks["raft"].items()}
  fronts = lambda front, weights: {f"{front}.{name}": array for name, array in weights.items()}
  both = fronts("model", one) | fronts("ema", other)
  with pytest.raises(ValueError, match="model.fnet.conv1.weight and ema.fnet.conv1.weight .*--ignore ema. "):
    split_parts(both)
  _same(split_parts(both, ignored=["ema."])["raft"], one)
  _same(split_parts(both, ignored=["model."])["raft"], other)
  _same(split_parts(fronts("model._orig_mod", one) | one)["raft"], one)


def test_the_counter_of_averaged_models_is_left_out(networks):
  """`torch.optim.swa_utils.AveragedModel` keeps how many it averaged beside its weights."""
  weights = {"n_averaged": np.array(7)} | {f"module.{name}": array for name, array in networks["raft"].items()}
  _same(split_parts(weights)["raft"], networks["raft"])


def test_strangers_are_listed_as_the_file_names_them(networks):
  """They can be ignored under that name or under the plain one."""
  weights = {f"module.{name}": array for name, array in networks["raft"].items()} | {"module.loss.weight": np.zeros(2)}
  with pytest.raises(ValueError, match="none of the networks: module.loss.weight. .*--ignore"):
    split_parts(weights)
  for ignored in ("module.loss.", "loss."):
    assert list(split_parts(weights, ignored=[ignored])) == ["raft"]
