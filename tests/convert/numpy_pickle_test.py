"""Pickled dictionaries of arrays are read as data: right, or refused; nothing that they say is run."""

import os
import pickle
import random

import numpy as np
import pytest

from debir_jax.convert import read_state_dict
from debir_jax.convert.numpy_pickle import is_plain_pickle, read_arrays
from debir_jax.convert.pickle_machine import NamesOtherObjectsError

_CONTENT = {"AlexNet_0": {"Conv_0": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
                                     "bias": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))}},
            "step": np.array(7, np.int64), "shared": np.arange(3, dtype=np.uint8)}
_CONTENT["again"] = _CONTENT["shared"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_come_back(tmp_path, protocol):
  """Of all orders and types, under their path; from the suffix of a checkpoint too, in float32 there."""
  path = tmp_path / "weights.ckpt"
  path.write_bytes(pickle.dumps(_CONTENT, protocol))
  if protocol == 2:  # Bytes are written as a call of `codecs.encode`, which is not known.
    with pytest.raises(NamesOtherObjectsError, match="encode"):
      read_arrays(path)
    return
  found = read_arrays(path)
  assert list(found) == ["AlexNet_0/Conv_0/kernel", "AlexNet_0/Conv_0/bias", "step", "shared", "again"]
  for name, expected in (("AlexNet_0/Conv_0/kernel", _CONTENT["AlexNet_0"]["Conv_0"]["kernel"]),
                         ("AlexNet_0/Conv_0/bias", _CONTENT["AlexNet_0"]["Conv_0"]["bias"]), ("step", np.array(7))):
    np.testing.assert_array_equal(found[name], expected)
  assert found["again"].dtype == np.uint8 and is_plain_pickle(path)
  assert read_state_dict(path)["AlexNet_0/Conv_0/bias"].dtype == np.float32


class _Hostile:
  def __reduce__(self):
    return os.system, ("touch hacked",)


@pytest.mark.parametrize("content, message", [
    ({"a": _Hostile()}, "system"), ({"a": np.array(["text"])}, "numbers of the type"), ([np.ones(2)], "no array"),
    ({"a": {1: np.ones(2)}}, "no array"), ({"a": np.array([print], object)}, "print|numbers of the type"),
    ({"a": np.ones(3, ">f4")}, "big-endian"), ({"a": 3.0}, "a is no array but a float")])
def test_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, content, message):
  """By name, through the converter's reader too."""
  monkeypatch.chdir(tmp_path)
  path = tmp_path / "weights.pkl"
  path.write_bytes(pickle.dumps(content, 4))
  with pytest.raises(ValueError, match=message):
    read_arrays(path)
  with pytest.raises(ValueError, match="weights.pkl"):
    read_state_dict(path)
  assert not (tmp_path / "hacked").exists()


def test_damaged_files_are_arrays_or_refused(tmp_path):
  """Bytes changed, cut or doubled: no other error, no hang, and no array that is larger than the file."""
  whole, path = pickle.dumps(_CONTENT, 4), tmp_path / "weights.pkl"
  for seed in range(2000):
    rng = random.Random(seed)
    data = bytearray(whole)
    for _ in range(rng.choice((1, 2, 8))):
      data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data[:rng.randrange(1, len(data) + 1)] if rng.random() < 0.2 else data))
    try:
      arrays = read_arrays(path)
    except ValueError:
      continue
    assert all(array.nbytes <= len(whole) for array in arrays.values())


def test_a_dictionary_within_itself_is_refused(tmp_path):
  content = {}
  content["a"] = content
  (tmp_path / "weights.pkl").write_bytes(pickle.dumps(content, 4))
  with pytest.raises(ValueError, match="RecursionError"):
    read_arrays(tmp_path / "weights.pkl")
