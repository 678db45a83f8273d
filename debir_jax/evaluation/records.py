"""What was measured, one record per method, scene and draw, and its JSON-lines file."""

from collections.abc import Iterable, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any

from debir_jax.runtime.files import write_text

_PREFIX = "records_"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """One restored burst.

  Attributes:
    method: its name.
    scene_id, draw: which capture; methods with the same numbers saw the same gain, previews and noise draws.
    psnr: dB.
    ssim: at most 1.
    l1: mean absolute error, neither clamped nor cropped: the loss of Eq. 11 and 13.
    exposure_times: s, one per frame.
    preview_gain: linear.
    motion_magnitude: in [0, 1].
    lpips: by its rule, see `MetricRules`; None where its weights were not given.
    view_psnr, view_ssim: of the viewing images; None in records of earlier versions.
    patch_psnr, patch_ssim: of the same capture restored in patches, packed RAW; None where that was not asked for.
    group: which photo or clip the scene shows; None where nobody said.
    training_seed: of the networks; None where nobody said.
  """

  method: str
  scene_id: int
  draw: int
  psnr: float
  ssim: float
  l1: float
  exposure_times: tuple[float, ...]
  preview_gain: float
  motion_magnitude: float
  lpips: float | None = None
  view_psnr: float | None = None
  view_ssim: float | None = None
  patch_psnr: float | None = None
  patch_ssim: float | None = None
  group: str | None = None
  training_seed: int | None = None


def write_records(path: str | os.PathLike, records: Iterable[Record]) -> None:
  """Writes one JSON object per line; the file appears complete or not at all, also where an older one stood."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  lines = [json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n" for record in records]
  write_text(path, "".join(lines))


def records_path(folder: pathlib.Path, column: str) -> pathlib.Path:
  """The file in a folder of results with the records of a column of its table."""
  return folder / f"{_PREFIX}{column.replace(' ', '_')}.jsonl"


def records_paths(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """All such files there, by column."""
  return {path.stem.removeprefix(_PREFIX).replace("_", " "): path for path in sorted(folder.glob(f"{_PREFIX}*.jsonl"))}


def read_records(path: str | os.PathLike) -> list[Record]:
  """Reads what `write_records` wrote.

  Raises:
    ValueError: a line is not a record.
  """
  with open(path) as file:
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(file, start=1)]


def record_of(fields: dict[str, Any]) -> Record:
  """The record of which `dataclasses.asdict` gave these fields, also where JSON has made lists of tuples."""
  return Record(**{**fields, "exposure_times": tuple(fields["exposure_times"])})


def by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
  """Records of each method in order of seed, scene and draw; methods in the order in which they first appear.

  Raises:
    ValueError: there are none, a capture was measured twice, or methods were measured on different captures.
  """
  if not records:
    raise ValueError("There are no records; evaluate at least one method on at least one scene.")
  groups = {}
  for record in sorted(records, key=_capture_of):
    groups.setdefault(record.method, []).append(record)
  groups = {record.method: groups[record.method] for record in records}  # Back to the order of appearance.
  first, *others = groups
  _check_unique(groups[first])
  for other in others:
    _check_unique(groups[other])
    _check_same_captures(groups[first], groups[other])
  return groups


def _capture_of(record):
  return record.training_seed or 0, record.scene_id, record.draw


def _check_unique(records):
  for record, following in zip(records, records[1:]):
    if _capture_of(record) == _capture_of(following):
      raise ValueError(f"Method {record.method!r} has two records for scene {record.scene_id}, draw {record.draw}. "
                       "Give every method its own name and do not mix the records of several runs.")


def _check_same_captures(records, others):
  different = {_capture_of(record) for record in records} ^ {_capture_of(record) for record in others}
  if different:
    raise ValueError(f"Methods {records[0].method!r} and {others[0].method!r} were measured on different sets: "
                     f"{len(different)} captures (seed, scene, draw) are in one only, such as {min(different)}. "
                     "Evaluate them on the same scenes and draws.")


def _parse(line, where):
  try:
    return record_of(json.loads(line))
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(f"{where} is not a record of an evaluation ({error}): {line.strip()[:80]!r}") from error
