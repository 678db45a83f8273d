"""Weight files: round trip, and clear errors for what is no such file."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from debir_jax.weights.weight_file import load_weights, save_weights

VARIABLES = {"params": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T, "bias": np.zeros(3)}},
             "batch_stats": {"norm": {"mean": np.ones(2, np.float32)}}}
DESCRIPTION = dict(architecture=dict(width=1.0), trained_for=dict(noise="iso"))


def test_round_trip(tmp_path):
  """Arrays come back with value, type and shape, also those that are not contiguous; so does the description."""
  path = tmp_path / "net.safetensors"
  save_weights(path, VARIABLES, DESCRIPTION)
  variables, description = load_weights(path)
  jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)
  assert jax.tree.map(lambda a: a.dtype, variables) == jax.tree.map(lambda a: a.dtype, VARIABLES)
  assert description == DESCRIPTION
  assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_what_is_no_weight_file_is_refused(tmp_path):
  path = tmp_path / "net.safetensors"
  with pytest.raises(FileNotFoundError, match="no weights at .*net.safetensors"):
    load_weights(path)
  save_weights(path, VARIABLES, {})
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(ValueError, match="net.safetensors is damaged"):
    load_weights(path)
  safetensors.numpy.save_file({"a": np.zeros(2)}, path)
  with pytest.raises(ValueError, match="not written by debir_jax"):
    load_weights(path)


@pytest.mark.parametrize("found, remedy", (
    (None, r"format 1 .*reads format 2. Make it again with `python -m debir_jax.convert`"),
    (1, r"format 1 .*reads format 2. Make it again with `python -m debir_jax.convert`"),
    (3, "format 3 .*reads format 2. Update the package.")))
def test_files_of_another_format_are_refused_with_what_to_do(tmp_path, found, remedy):
  """Older ones, which bear no number, are made again; newer ones want a newer package."""
  path = tmp_path / "net.safetensors"
  header = DESCRIPTION if found is None else DESCRIPTION | dict(format=found)
  safetensors.numpy.save_file({"params/a": np.zeros(2)}, path, {"debir_jax": json.dumps(header)})
  with pytest.raises(ValueError, match=remedy):
    load_weights(path)


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"), (b"<!DOCTYPE html><html>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "is a pointer of Git LFS")])
def test_what_a_download_left_in_place_of_a_file_is_named(tmp_path, content, message):
  path = tmp_path / "net.safetensors"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"net.safetensors {message}"):
    load_weights(path)


@pytest.mark.parametrize("header", ["{", "[]", "3"])
def test_a_damaged_description_is_named(tmp_path, header):
  """With its file, in one line."""
  path = tmp_path / "net.safetensors"
  safetensors.numpy.save_file({"params/a": np.zeros(2)}, path, {"debir_jax": header})
  with pytest.raises(ValueError, match="net.safetensors is damaged: its description is"):
    load_weights(path)
