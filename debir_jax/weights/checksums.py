"""SHA-256 of files beside them, as `sha256sum -c SHA256SUMS` reads them: weights are those that somebody measured."""

from collections.abc import Iterable
import hashlib
import pathlib

from debir_jax.runtime.files import write_text

CHECKSUMS_FILE = "SHA256SUMS"


def write_checksums(folder: pathlib.Path, names: Iterable[str]) -> None:
  """Writes SHA256SUMS about files of a folder."""
  lines = [f"{_sha256(folder / name)}  {name}\n" for name in sorted(names)]
  write_text(folder / CHECKSUMS_FILE, "".join(lines))


def check_checksum(path: pathlib.Path) -> None:
  """Raises a ValueError for a file that is not the one of which SHA256SUMS beside it tells; without one, or where it
  does not name the file, there is nothing to check."""
  sums = path.with_name(CHECKSUMS_FILE)
  if not sums.is_file() or not path.is_file():
    return
  told = dict(reversed(line.split(maxsplit=1)) for line in sums.read_text().splitlines() if len(line.split()) == 2)
  if path.name in told and told[path.name] != _sha256(path):
    raise ValueError(f"{path} is not the file that {sums} tells of: it is damaged, or was replaced. Get both again; "
                     f"if the change was meant, delete {CHECKSUMS_FILE}.")


def _sha256(path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
