"""The folder of a run: locked while in use, so that two runs never write into each other."""

import contextlib
import fcntl
import pathlib
from typing import Iterator


class WorkdirError(RuntimeError):
  """The folder of a run cannot be used."""


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[pathlib.Path]:
  """Creates the folder and holds its lock; the lock is released when the process ends, however it ends.

  Raises:
    WorkdirError: another process uses the folder, or there is a file in its place.
  """
  path = pathlib.Path(workdir).expanduser().absolute()
  if path.exists() and not path.is_dir():
    raise WorkdirError(f"--workdir={workdir} is a file; give a folder.")
  path.mkdir(parents=True, exist_ok=True)
  with open(path / ".lock", "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise WorkdirError(f"--workdir={workdir} is in use by another run. Wait for it, stop it, or give another "
                         "folder.") from error
    yield path
