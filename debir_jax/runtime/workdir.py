"""The folder of a run: locked while in use, so that two runs never write into each other."""

import contextlib
import errno
import fcntl
import os
import pathlib
from typing import Iterator

from debir_jax.runtime.files import local_path

_IN_USE = (errno.EWOULDBLOCK, errno.EACCES)
_locks = True  # Of this process: which file systems it works on.
_PATTERN_LETTERS = "[]*?"  # Checkpoints are looked for by patterns, in which these letters have a meaning.


class WorkdirError(RuntimeError):
  """The folder of a run cannot be used."""


def use_locks(on: bool) -> None:
  """Switches locks of folders on or off, for all of this process: for file systems without them.

  Two runs into one folder would then damage each other.
  """
  global _locks
  _locks = on


def workdir_path(workdir: str | os.PathLike) -> pathlib.Path:
  """The absolute path of a workdir; nothing is created.

  Raises:
    WorkdirError: it is an address of a cloud, or its name would make checkpoints that cannot be read back.
  """
  try:
    path = local_path(workdir, "--workdir").absolute()
  except ValueError as error:
    raise WorkdirError(str(error)) from error
  if found := sorted(set(str(path)) & set(_PATTERN_LETTERS)):
    raise WorkdirError(f"--workdir={workdir} lies at {path}, with {' '.join(found)} in its name, where checkpoints "
                       "could be written but not found again. Choose a folder without them.")
  return path


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Creates the folder and holds its lock; the lock is released when the process ends, however it ends.

  Raises:
    WorkdirError: another process uses the folder, it cannot be written to, or its file system has no locks.
  """
  path = workdir_path(workdir)
  if path.exists() and not path.is_dir():
    raise WorkdirError(f"--workdir={workdir} is a file; give a folder.")
  try:
    path.mkdir(parents=True, exist_ok=True)
    file = open(path / ".lock", "w")
  except OSError as error:
    raise WorkdirError(f"--workdir={workdir} cannot be written to ({error.strerror}: {error.filename}). Choose a "
                       "folder that you may write to.") from error
  with file:
    if _locks:
      _lock(file, workdir)
    yield path


def _lock(file, workdir):
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _IN_USE:
      raise WorkdirError(f"--workdir={workdir} is in use by another run. Wait for it, stop it, or give another "
                         "folder.") from error
    raise WorkdirError(
        f"The file system of --workdir={workdir} has no locks ({error.strerror}), which keep two runs from writing "
        "into one folder. Give a folder on another file system; or, where no other run can use it, add "
        "--nolock_workdir.") from error
