"""The folder of a run is had by one run at a time, or the reason is told before anything is computed."""

import errno
import fcntl
import os

import pytest

from debir_jax.runtime import workdir
from debir_jax.runtime.workdir import WorkdirError, locked


def test_a_workdir_in_use_is_refused(tmp_path):
  """Only one run at a time; the folder is free again afterwards."""
  with locked(str(tmp_path)):
    with pytest.raises(WorkdirError, match="in use"):
      with locked(str(tmp_path)):
        pass
  with locked(str(tmp_path)):
    pass


@pytest.mark.parametrize("below, message", (("", "is a file"), ("/run", "cannot be written to")))
def test_a_file_in_place_of_a_folder_is_refused(tmp_path, below, message):
  """The message says that a folder is wanted."""
  (tmp_path / "file").write_text("")
  with pytest.raises(WorkdirError, match=message):
    with locked(f"{tmp_path}/file{below}"):
      pass


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
  """With the reason of the file system."""
  def read_only(self, mode=0o777, parents=False, exist_ok=False):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

  monkeypatch.setattr("pathlib.Path.mkdir", read_only)
  with pytest.raises(WorkdirError, match=r"cannot be written to \(Read-only file system: .*run\). Choose a folder"):
    with locked(tmp_path / "run"):
      pass


@pytest.mark.parametrize("name", ("x [lr=1e-3]", "a*", "what?"))
def test_names_that_checkpoints_are_not_found_under_are_refused(tmp_path, name):
  """Orbax looks for them by patterns. Nothing is created."""
  with pytest.raises(WorkdirError, match="could be written but not found again"):
    with locked(tmp_path / name):
      pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ("s3://bucket/run", "gs://bucket/run"))
def test_addresses_are_refused(address, tmp_path, monkeypatch):
  """They would become a folder below the current one."""
  monkeypatch.chdir(tmp_path)
  with pytest.raises(WorkdirError, match=f"--workdir={address} is an address"):
    with locked(address):
      pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP))
def test_a_file_system_without_locks_is_called_that(tmp_path, monkeypatch, code):
  """It is no other run that is in the way, and a flag goes on without the lock."""
  def no_locks(*_):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(fcntl, "flock", no_locks)
  with pytest.raises(WorkdirError, match="has no locks .* add --nolock_workdir"):
    with locked(tmp_path):
      pass
  workdir.use_locks(False)
  try:
    with locked(tmp_path) as path:
      assert path == tmp_path
  finally:
    workdir.use_locks(True)
