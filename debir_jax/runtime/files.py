"""Files that are never half written, and names for them."""

import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file in one go: a reader sees the old text or the new one, never half of it."""
  write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """`write_text` for bytes."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_bytes(content)
  os.replace(temporary, path)


def folder_name(text: str) -> str:
  """A name made of letters, digits and single underscores."""
  return "_".join("".join(c if c.isalnum() else " " for c in text).split())
