"""Weight files stand in for checkpoints: same values, same refusal of another purpose."""

import copy

import jax
import numpy as np
import pytest
from toy import COMPATIBILITY, toy_state

from debir_jax.training.weight_files import is_weight_folder, load_weight_files
from debir_jax.weights.weight_file import BAENET_FILE, RESTORER_FILE, save_weights

_BOTH = ("restoration", "bae")


def _folder(path, state, compatibility=COMPATIBILITY):
  save_weights(path / RESTORER_FILE, state.restoration_variables, compatibility["restoration"])
  save_weights(path / BAENET_FILE, state.bae_variables, compatibility["bae"])
  return path


def _with_stats(state, value):
  stats = {"batch_stats": {"mean": np.full(3, value, np.float32)}}
  return state.replace(restoration_stats=stats, bae_stats=stats)


def test_networks_arrive_and_the_rest_stays(tmp_path):
  """Parameters and statistics of both networks are those of the files; optimizer states stay."""
  saved, state = _with_stats(toy_state(7), 0.25), _with_stats(toy_state(), 0.0)
  loaded = load_weight_files(state, _folder(tmp_path, saved), COMPATIBILITY, _BOTH)
  for name in ("restoration_params", "restoration_stats", "bae_params", "bae_stats"):
    jax.tree.map(np.testing.assert_array_equal, getattr(loaded, name), getattr(saved, name))
  jax.tree.map(np.testing.assert_array_equal, loaded.optimizer_states, state.optimizer_states)


def test_networks_load_on_their_own(tmp_path):
  """Stage 2 from a folder with a restorer only: BAENet stays as it was; asked for, it is missed."""
  _folder(tmp_path, toy_state(7))
  (tmp_path / BAENET_FILE).unlink()
  assert is_weight_folder(tmp_path) and not is_weight_folder(tmp_path / "stage1")
  loaded = load_weight_files(toy_state(), tmp_path, COMPATIBILITY, ("restoration",))
  jax.tree.map(np.testing.assert_array_equal, loaded.bae_params, toy_state().bae_params)
  with pytest.raises(FileNotFoundError, match="baenet.safetensors.*debir_jax.convert --help"):
    load_weight_files(toy_state(), tmp_path, COMPATIBILITY, _BOTH)


def test_another_purpose_is_refused_with_the_field_that_differs(tmp_path):
  """As with checkpoints: the message names file, field, value there and value here."""
  other = copy.deepcopy(COMPATIBILITY)
  other["bae"]["trained_for"]["motion"]["estimator"] = "raft"
  with pytest.raises(ValueError, match=r"baenet.safetensors was made for something else(.|\n)*lk there, raft here"):
    load_weight_files(toy_state(), _folder(tmp_path, toy_state()), other, _BOTH)


def test_other_shapes_are_refused(tmp_path):
  """A file whose arrays are not those of its description."""
  wrong = toy_state().replace(bae_params={"kernel": np.zeros((3, 3))})
  with pytest.raises(ValueError, match="baenet.safetensors does not hold the network that it describes"):
    load_weight_files(toy_state(), _folder(tmp_path, wrong), COMPATIBILITY, _BOTH)
