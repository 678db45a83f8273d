"""Converted weights give the numbers that are kept in `references/`, in float64 to ten digits, without any download.

Whatever is wrong in a network or in how its weights are turned shows here: offsets, masks, paddings, the order of
frames, pairs, taps and channels, the form of an activation.
"""

import functools

import jax
import kept
import numpy as np
from plain_burstormer import plain_burstormer, published_shapes
import pytest

from debir_jax.convert import baenet_params, burstormer_config, burstormer_params, raft_params
from debir_jax.motion import Raft
from debir_jax.policies import BAENet
from debir_jax.restoration import Burstormer

_load = functools.cache(kept.load)


def _nhwc(array):
  return np.moveaxis(array, -3, -1)


def _wide(variables):
  return jax.tree.map(lambda array: np.asarray(array, np.float64), variables)


def _assert_same(found, expected):
  """To ten digits of the largest number."""
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in kept.REFERENCES if name != "release_chain"])  # It has its own test.
def test_the_numbers_kept_are_those_of_the_slow_networks(name):
  """Of plain numpy; where the sum of the weights differs, NumPy draws others: `python tests/convert/kept.py`."""
  made = kept.REFERENCES[name]()
  kept.check(name, made)


def test_all_kept_numbers_take_little_space():
  """They are part of every checkout."""
  assert sum(path.stat().st_size for path in kept._FOLDER.iterdir()) < 400_000


@pytest.mark.parametrize("pair", [False, True])
def test_burstormer_restores_as_the_slow_network_does(x64, pair):
  """Of four frames, and of two."""
  del x64
  reference = _load("burstormer")
  weights, burst, expected = reference["weights"], reference["burst"], reference["restored"]
  if pair:
    weights, burst, expected = kept.weights_for_pairs(weights), burst[:2], reference["restored_pair"]
  model = Burstormer(**burstormer_config(weights))
  assert model == Burstormer(num_features=8, blocks_per_level=2, fusion_blocks=1)
  restored = jax.jit(model.apply)(_wide(burstormer_params(weights)), _nhwc(burst.astype(np.float64)))
  assert np.std(expected) > 0.1
  _assert_same(restored, _nhwc(expected))


def test_baenet_predicts_as_the_slow_network_does(x64):
  """Statistics of BatchNorm included."""
  del x64
  reference, weights = _load("baenet"), kept.baenet_state_dict("", width=0.25)
  apply = jax.jit(lambda variables, planes: BAENet(width=0.25).apply(variables, planes, train=False))
  logits = apply(_wide(baenet_params(weights)), reference["planes"].astype(np.float64))
  assert np.ptp(reference["logits"], axis=0).min() > 1e-3  # The images matter.
  _assert_same(logits, reference["logits"])


def test_raft_measures_as_the_slow_network_does(x64):
  """After one update and three, with flows that leave the image."""
  del x64
  reference, variables = _load("raft_small"), _wide(raft_params(kept.random_state_dict("small")))
  images = _nhwc(reference["images"] / 255)
  for num_updates, expected in zip((1, 3), reference["flows"]):
    flow = jax.jit(Raft("small", num_updates=num_updates).apply)(variables, *images)
    assert np.abs(expected).max() > 5
    _assert_same(flow[3::8, 3::8], _nhwc(expected))


def test_the_slow_burstormer_is_the_published_one(shared_dir):
  """With its weights' names and shapes, to thirteen digits of what its own code computed."""
  prefix = "official_color_f16_n8/"
  with np.load(shared_dir / "golden" / "burstormer.npz") as file:
    reference = {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}
  weights = {name.removeprefix("state_dict/"): array for name, array in reference.items() if "state_dict" in name}
  shapes = published_shapes(num_frames=8, num_features=16, channels=6, blocks_per_level=2, fusion_blocks=2)
  assert {name: array.shape for name, array in weights.items()} == shapes | {"out_conv.0.weight": (3, 16, 3, 3)}
  restored = plain_burstormer(weights, reference["input"][0])
  np.testing.assert_allclose(restored, reference["output_f64"][0], rtol=0, atol=1e-12)
