"""Checkpoints come back bit for bit, know their purpose, and are refused with a reason."""

import copy
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import PURPOSES, toy_state

from debir_jax.training import checkpoint
from debir_jax.training.checkpoint import CheckpointError, Checkpoints, check_purpose


def _assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _saved(directory, *steps, purposes=PURPOSES):
  checkpoints = Checkpoints(directory, purposes)
  for step in steps:
    checkpoints.save(toy_state(step).replace(step=jnp.int32(step)), psnr=-step)
  checkpoints.close()


def test_a_state_comes_back_bit_for_bit(tmp_path):
  """Save and load is the identity, step and all three optimizer states included."""
  _saved(tmp_path, 7)
  loaded = Checkpoints(tmp_path, PURPOSES).load_latest(toy_state())
  _assert_same(loaded, toy_state(7).replace(step=jnp.int32(7)))


def test_newest_two_and_best_are_kept(tmp_path):
  """With PSNR falling from step to step the first checkpoint is the best one and stays."""
  _saved(tmp_path, 1, 2, 3, 4)
  assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [1, 3, 4]


def test_parts_load_on_their_own(tmp_path):
  """Loading the restoration part leaves BAENet as it was."""
  _saved(tmp_path, 7)
  loaded = Checkpoints(tmp_path, PURPOSES).load_latest(toy_state(), parts=("restoration",))
  _assert_same(loaded.restoration_params, toy_state(7).restoration_params)
  _assert_same(loaded.bae_params, toy_state().bae_params)
  assert int(loaded.step) == 0


def test_another_purpose_is_refused_with_the_field_that_differs(tmp_path):
  """The message names field, value there and value here."""
  _saved(tmp_path, 7)
  other = copy.deepcopy(PURPOSES)
  other["bae"]["motion"]["name"] = "raft"
  with pytest.raises(ValueError, match=r"motion\.name: lk there, raft here"):
    Checkpoints(tmp_path, other).load_latest(toy_state())
  # The restoration part was made for the same purpose.
  Checkpoints(tmp_path, other).load_latest(toy_state(), parts=("restoration",))


def test_other_shapes_are_refused(tmp_path):
  """A state of another shape never loads silently."""
  _saved(tmp_path, 7)
  larger = toy_state().replace(bae_params={"kernel": jnp.zeros((3, 3))})
  with pytest.raises(ValueError, match="cannot be read"):
    Checkpoints(tmp_path, PURPOSES).load_latest(larger)


def test_a_damaged_checkpoint_is_named(tmp_path):
  """With its data gone, the message says which folder to delete."""
  _saved(tmp_path, 7)
  for file in (tmp_path / "7" / "bae").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")
  with pytest.raises(ValueError, match="7 cannot be read"):
    Checkpoints(tmp_path, PURPOSES).load_latest(toy_state())


def test_no_checkpoint_is_said_so(tmp_path):
  """An empty folder gives a FileNotFoundError, not a random state."""
  with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
    Checkpoints(tmp_path, PURPOSES).load_latest(toy_state())


def test_a_checkpoint_without_purpose_is_refused():
  """What does not say what it is for is not used."""
  with pytest.raises(ValueError, match="does not say what it was trained for"):
    check_purpose({}, PURPOSES, "checkpoint x")


def test_a_damaged_checkpoint_is_named_with_the_older_one_to_choose(tmp_path):
  """The older one is not taken silently; asked for, it loads, and the damaged one is set aside."""
  directory = tmp_path / "stage1" / "checkpoints"
  _saved(directory, 3, 6)
  for file in (directory / "6" / "bae").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")
  with pytest.raises(ValueError, match="--config.resume_from=stage1/3"):
    Checkpoints(directory, PURPOSES).resume(toy_state())
  _assert_same(Checkpoints(directory, PURPOSES).resume(toy_state(), 3), toy_state(3).replace(step=jnp.int32(3)))
  assert (tmp_path / "stage1" / "checkpoints_set_aside" / "6").is_dir()


@pytest.mark.parametrize("written, remedy", [(99, "Update the package"), (1, "Go on with that version")])
def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch, written, remedy):
  """With the version that wrote it."""
  reads = checkpoint.FORMAT
  monkeypatch.setattr(checkpoint, "FORMAT", written)
  _saved(tmp_path, 7)
  monkeypatch.setattr(checkpoint, "FORMAT", reads)
  with pytest.raises(ValueError, match=rf"has format {written} and was written by .* reads format {reads}. {remedy}"):
    Checkpoints(tmp_path, PURPOSES).load_latest(toy_state())


def test_checkpoints_can_be_kept_at_multiples(tmp_path):
  """Beside the newest two and the best one."""
  checkpoints = Checkpoints(tmp_path, PURPOSES, keep_every_steps=2)
  for step in range(1, 8):
    checkpoints.save(toy_state(step).replace(step=jnp.int32(step)), psnr=step)
  checkpoints.close()
  assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [2, 4, 6, 7]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
  """A limit on the size of files stands for the full disk: the error names the good step, which loads."""
  _saved(tmp_path, 3)
  checkpoints, limits = Checkpoints(tmp_path, PURPOSES), resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
  try:
    with pytest.raises(CheckpointError, match="The last good one is of step 3"):
      checkpoints.save(toy_state(6).replace(step=jnp.int32(6)), psnr=1.0)
      checkpoints.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  _assert_same(Checkpoints(tmp_path, PURPOSES).load_latest(toy_state()), toy_state(3).replace(step=jnp.int32(3)))
