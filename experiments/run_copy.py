"""A small copy of a run, to go on with it on another machine, bit for bit.

  python -m experiments.run_copy pack runs/pretrain_small pretrain_small.tar
  python -m experiments.run_copy unpack pretrain_small.tar runs/pretrain_small

Holds configs, logs and the newest checkpoint of the stage that is being trained: weights, Adam's moments and the step,
from which the position of the data and every random number follow. With --all it holds the newest checkpoint of every
stage, which the comparison at the end wants. A run that goes on must be given the same config and photos; the run says
what differs. Packing beside a run that is training is safe: checkpoints appear whole.
"""

import argparse
import io
import pathlib
import shutil
import sys
import tarfile
import tempfile

from debir_jax.runtime.files import write_bytes
from debir_jax.training.stages import STAGES

_CHECKPOINTS = "checkpoints"
_RECORDS = ("config.json", "log.jsonl", "events.jsonl", "labels.json", "summary.txt")


def pack(workdir: pathlib.Path, target: pathlib.Path, *, all_stages: bool = False) -> list[str]:
  """Writes the copy, in the place of an older one; returns the checkpoints in it, such as "stage1/4000".

  Raises:
    FileNotFoundError: there is no finished checkpoint.
  """
  newest = {name: step for name in STAGES if (step := _newest_step(workdir / name / _CHECKPOINTS)) is not None}
  if not newest:
    raise FileNotFoundError(f"{workdir} holds no finished checkpoint of any stage ({', '.join(STAGES)}).")
  kept = newest if all_stages else dict([list(newest.items())[-1]])
  files = [workdir / name for name in _RECORDS]
  for name, step in kept.items():
    files += [workdir / name / record for record in _RECORDS]
    files += sorted(path for path in (workdir / name / _CHECKPOINTS / str(step)).rglob("*") if path.is_file())
  content = io.BytesIO()
  with tarfile.open(fileobj=content, mode="w") as archive:
    for file in files:
      if file.is_file():
        archive.add(file, file.relative_to(workdir))
  target.parent.mkdir(parents=True, exist_ok=True)
  write_bytes(target, content.getvalue())
  return [f"{name}/{step}" for name, step in kept.items()]


def unpack(source: pathlib.Path, workdir: pathlib.Path) -> None:
  """Makes a workdir of a copy; all of it, or nothing.

  Raises:
    FileExistsError: the workdir is there already; what is in it would be lost.
    ValueError: the file is damaged, or no copy of a run.
  """
  if workdir.exists():
    raise FileExistsError(f"{workdir} is there already. Unpack into another folder, or move it away.")
  workdir.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(dir=workdir.parent))
  try:
    with tarfile.open(source, "r:") as archive:
      archive.extractall(temporary, filter="data")  # Plain files below the folder, nothing else.
    if not any((temporary / name / _CHECKPOINTS).is_dir() for name in STAGES):
      raise ValueError(f"{source} holds no checkpoint of a stage; it is no copy of a run.")
    temporary.rename(workdir)
  except (tarfile.TarError, EOFError) as error:
    raise ValueError(f"{source} is damaged, or no copy of a run: {error}") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _newest_step(folder: pathlib.Path) -> int | None:
  """Of the finished checkpoints; unfinished ones have other names."""
  return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=None)


def main(argv: list[str]) -> None:
  """See the module."""
  parser = argparse.ArgumentParser(prog="python -m experiments.run_copy", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(dest="command", required=True)
  packing = commands.add_parser("pack", help="workdir to file")
  packing.add_argument("workdir", type=pathlib.Path)
  packing.add_argument("file", type=pathlib.Path)
  packing.add_argument("--all", action="store_true", help="the newest checkpoint of every stage")
  unpacking = commands.add_parser("unpack", help="file to workdir")
  unpacking.add_argument("file", type=pathlib.Path)
  unpacking.add_argument("workdir", type=pathlib.Path)
  args = parser.parse_args(argv)
  workdir, file = args.workdir.expanduser(), args.file.expanduser()
  try:
    if args.command == "pack":
      packed = pack(workdir, file, all_stages=args.all)
      print(f"{file}: {', '.join(packed)}, {file.stat().st_size / 1e6:.1f} MB")
    else:
      unpack(file, workdir)
      print(f"{workdir}: start the run with the same config and --workdir to go on.")
  except (OSError, ValueError) as error:
    sys.exit(f"Error: {error}")


if __name__ == "__main__":
  main(sys.argv[1:])
