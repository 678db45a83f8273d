"""Weights are the files that were measured, and say so."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import debir_jax
from debir_jax.weights import shipped
from debir_jax.weights.checksums import CHECKSUMS_FILE, check_checksum, write_checksums
from debir_jax.weights.weight_file import load_weights, save_weights


def test_sums_are_those_of_sha256sum(tmp_path):
  """The tool of every system agrees."""
  (tmp_path / "one").write_bytes(b"weights")
  (tmp_path / "with space").write_bytes(b"")
  write_checksums(tmp_path, ["with space", "one"])
  if shutil.which("sha256sum"):
    subprocess.run(["sha256sum", "-c", CHECKSUMS_FILE], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
  for name in ("one", "with space"):
    check_checksum(tmp_path / name)


def test_another_file_under_the_same_name_is_refused(tmp_path):
  """A whole weight file, but of other numbers; files that nobody summed are not looked at."""
  path = tmp_path / "restorer.safetensors"
  save_weights(path, {"params": {"a": np.zeros(3, np.float32)}}, dict(architecture={}))
  load_weights(path)
  write_checksums(tmp_path, [path.name])
  load_weights(path)
  save_weights(path, {"params": {"a": np.ones(3, np.float32)}}, dict(architecture={}))
  with pytest.raises(ValueError, match="is not the file that .*SHA256SUMS tells of"):
    load_weights(path)
  save_weights(tmp_path / "other.safetensors", {"params": {"a": np.ones(3, np.float32)}}, dict(architecture={}))
  load_weights(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", debir_jax.list_weights())
def test_shipped_weights_are_summed_have_a_card_and_load(name):
  """Each file is named, and the card has the numbers of parameters that are in the files."""
  model = debir_jax.load(name)
  files = shipped.shipped_files(name)
  folder, = {path.parent for path in files}
  told = (folder / CHECKSUMS_FILE).read_text()
  card = (folder / "MODEL_CARD.md").read_text()
  for path in files:
    assert path.name in told
    variables, description = load_weights(path)
    count = sum(leaf.size for leaf in _leaves(variables["params"]))
    assert f"{description['architecture']['name']}, {count:,} parameters" in card
  gains = f"{model.description['baenet']['trained_for']['min_preview_gain']:g} to"
  assert gains in card and ("licen" in card.lower() or "public domain" in card)


def test_weights_inside_the_package_are_small():
  """30 MB at most."""
  folder = pathlib.Path(shipped.__file__).parent
  assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 30e6


def _leaves(tree):
  return [leaf for value in tree.values() for leaf in (_leaves(value) if isinstance(value, dict) else [value])]
