"""Checkpoints come back bit for bit, know what they are for, and are refused with a reason."""

import copy
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import COMPATIBILITY, toy_state

from debir_jax.training import checkpoint
from debir_jax.training.checkpoint import CheckpointError, Checkpoints, check_compatible


def _assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _saved(directory, *steps, compatibility=COMPATIBILITY):
  checkpoints = Checkpoints(directory, compatibility)
  for step in steps:
    checkpoints.save(toy_state(step).replace(step=jnp.int32(step)), psnr=-step)
  checkpoints.close()


def test_a_state_comes_back_bit_for_bit(tmp_path):
  """Save and load is the identity, step and all three optimizer states included."""
  _saved(tmp_path, 7)
  loaded = Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state())
  _assert_same(loaded, toy_state(7).replace(step=jnp.int32(7)))


def test_newest_two_and_best_are_kept(tmp_path):
  """With PSNR falling from step to step the first checkpoint is the best one and stays."""
  _saved(tmp_path, 1, 2, 3, 4)
  assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [1, 3, 4]


def test_parts_load_on_their_own(tmp_path):
  """Loading the restoration part leaves BAENet as it was."""
  _saved(tmp_path, 7)
  loaded = Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state(), parts=("restoration",))
  _assert_same(loaded.restoration_params, toy_state(7).restoration_params)
  _assert_same(loaded.bae_params, toy_state().bae_params)
  assert int(loaded.step) == 0


def test_another_use_is_refused_with_the_field_that_differs(tmp_path):
  """The message names field, value there and value here."""
  _saved(tmp_path, 7)
  other = copy.deepcopy(COMPATIBILITY)
  other["bae"]["trained_for"]["motion"]["estimator"] = "raft"
  with pytest.raises(ValueError, match=r"trained_for\.motion\.estimator: lk there, raft here"):
    Checkpoints(tmp_path, other).load_latest(toy_state())
  # The restoration part was made for the same use.
  Checkpoints(tmp_path, other).load_latest(toy_state(), parts=("restoration",))


def test_other_shapes_are_refused(tmp_path):
  """A state of another shape never loads silently."""
  _saved(tmp_path, 7)
  larger = toy_state().replace(bae_params={"kernel": jnp.zeros((3, 3))})
  with pytest.raises(ValueError, match="cannot be read"):
    Checkpoints(tmp_path, COMPATIBILITY).load_latest(larger)


def test_a_damaged_checkpoint_is_named(tmp_path):
  """With its data gone, the message says which folder to delete."""
  _saved(tmp_path, 7)
  for file in (tmp_path / "7" / "bae").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")
  with pytest.raises(ValueError, match="7 cannot be read"):
    Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state())


def test_no_checkpoint_is_said_so(tmp_path):
  """An empty folder gives a FileNotFoundError, not a random state."""
  with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
    Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state())


def test_a_checkpoint_without_a_use_is_refused():
  """What does not say what it is for is not used."""
  with pytest.raises(ValueError, match="does not say what it was trained for"):
    check_compatible({}, COMPATIBILITY, "checkpoint x")


def test_a_damaged_checkpoint_is_named_with_the_older_one_to_choose(tmp_path):
  """The older one is not taken silently; asked for, it loads, and the damaged one is set aside."""
  directory = tmp_path / "stage1" / "checkpoints"
  _saved(directory, 3, 6)
  for file in (directory / "6" / "bae").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")
  with pytest.raises(ValueError, match="--config.resume_from=stage1/3"):
    Checkpoints(directory, COMPATIBILITY).resume(toy_state())
  _assert_same(Checkpoints(directory, COMPATIBILITY).resume(toy_state(), 3), toy_state(3).replace(step=jnp.int32(3)))
  assert (tmp_path / "stage1" / "checkpoints_set_aside" / "6").is_dir()


# What networks were for, as the format before this one put it.
_FORMAT_2 = dict(restoration=dict(network=dict(num_features=8), conditions=dict(noise="iso")),
                 bae=dict(network=dict(width=1.0), conditions=dict(noise="iso"), motion=dict(name="lk")))


@pytest.mark.parametrize("written, compatibility, remedy", [
    (99, COMPATIBILITY, "Update the package"), (2, _FORMAT_2, "Go on with that version")])
def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch, written, compatibility, remedy):
  """With the version that wrote it, not with fields that are called otherwise there."""
  reads = checkpoint.FORMAT
  monkeypatch.setattr(checkpoint, "FORMAT", written)
  _saved(tmp_path, 7, compatibility=compatibility)
  monkeypatch.setattr(checkpoint, "FORMAT", reads)
  with pytest.raises(ValueError, match=rf"has format {written} and was written by .* reads format {reads}. {remedy}"):
    Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state())


def test_a_checkpoint_from_before_there_were_formats_is_refused(tmp_path, monkeypatch):
  """As another version's, not as one that was made for something else."""
  monkeypatch.setattr(checkpoint, "_ABOUT", "something else")  # In its place stood nothing.
  _saved(tmp_path, 7, compatibility=_FORMAT_2)
  monkeypatch.undo()
  with pytest.raises(ValueError, match="has format 1 and was written by another version of debir_jax"):
    Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state())


def test_checkpoints_can_be_kept_at_multiples(tmp_path):
  """Beside the newest two and the best one."""
  checkpoints = Checkpoints(tmp_path, COMPATIBILITY, keep_every_steps=2)
  for step in range(1, 8):
    checkpoints.save(toy_state(step).replace(step=jnp.int32(step)), psnr=step)
  checkpoints.close()
  assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [2, 4, 6, 7]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
  """A limit on the size of files stands for the full disk: the error names the good step, which loads."""
  _saved(tmp_path, 3)
  checkpoints, limits = Checkpoints(tmp_path, COMPATIBILITY), resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
  try:
    with pytest.raises(CheckpointError, match="The last good one is of step 3"):
      checkpoints.save(toy_state(6).replace(step=jnp.int32(6)), psnr=1.0)
      checkpoints.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  _assert_same(Checkpoints(tmp_path, COMPATIBILITY).load_latest(toy_state()), toy_state(3).replace(step=jnp.int32(3)))
