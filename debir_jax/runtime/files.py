"""Files that are never half written, and paths and names for them."""

import contextlib
import json
import math
import os
import pathlib
import re
import secrets
from typing import Any

# How files begin that a download left in the place of others, and what to do about each.
_STAND_INS = (
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|!--)", re.IGNORECASE),
     "a web page, not the file that its name promises: its download failed, or wanted a login or a click. Download it "
     "again, in a browser if need be."),
    (re.compile(rb"version https://git-lfs\."),
     "a pointer of Git LFS, not the file itself. Run `git lfs pull` where it was cloned, or download the file itself."))
_LONGEST_BEGINNING = 512  # Bytes.


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file in one go: a reader sees the old text or the new one, never half of it."""
  write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """`write_text` for bytes: on the disk when it returns, under a name of its own until it is complete.

  Several writers, of several machines too, do not get into each other's way: the last one to end wins.
  """
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
  try:
    with open(temporary, "xb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
  """The new name outlives a crash; some file systems cannot promise that."""
  with contextlib.suppress(OSError):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)


def write_json(path: pathlib.Path, value: Any) -> None:
  """`write_text` of JSON that every reader takes: null stands for numbers that are not finite, which JSON has not."""
  write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value):
  if isinstance(value, dict):
    return {name: _finite(of_name) for name, of_name in value.items()}
  if isinstance(value, (list, tuple)):
    return list(map(_finite, value))
  return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: pathlib.Path, remedy: str) -> Any:
  """What `json.loads` makes of a file.

  Args:
    path: of the file.
    remedy: what to do about a damaged one, a sentence.

  Raises:
    ValueError: it is empty or no JSON.
  """
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"{path} is damaged ({error}), as a crash of the machine may leave it. {remedy}") from error


def local_path(path: str | os.PathLike, what: str) -> pathlib.Path:
  """A path on this machine, with `~` expanded.

  Args:
    path: as a person gave it.
    what: gave it, for the message, e.g. "--workdir".

  Raises:
    ValueError: it is the address of a cloud, or in the home of nobody.
  """
  if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text := os.fspath(path)) and os.name != "nt":
    raise ValueError(f"{what}={text} is an address, but files are read and written on file systems only. Copy "
                     "the files here, or mount it (with gcsfuse, s3fs or rclone).")
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:  # A user who is not there.
    raise ValueError(f"{what}={text}: {error}") from error


def check_downloaded(path: pathlib.Path) -> None:
  """Raises a ValueError for a file that came without its content: empty, a web page, or a pointer of Git LFS."""
  with open(path, "rb") as file:
    beginning = file.read(_LONGEST_BEGINNING)
  if not beginning:
    raise ValueError(f"{path} is empty. Download it again.")
  for pattern, found in _STAND_INS:
    if pattern.match(beginning):
      raise ValueError(f"{path} is {found}")


def folder_name(text: str) -> str:
  """A name made of letters, digits and single underscores."""
  return "_".join("".join(c if c.isalnum() else " " for c in text).split())
