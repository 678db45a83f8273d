"""Laws of the records and their file."""

import dataclasses
import json

import pytest

from debir_jax.evaluation import Record, read_records, write_records
from debir_jax.evaluation.records import by_method, records_path, records_paths


def _record(method="DEBIR", scene_id=1, draw=0, **values):
  fields = dict(psnr=30.1, ssim=0.91, l1=0.02, exposure_times=(8 / 1920, 1 / 3), preview_gain=512.3,
                motion_magnitude=0.1)
  return Record(method=method, scene_id=scene_id, draw=draw, **{**fields, **values})


def test_records_survive_the_round_trip_exactly(tmp_path):
  """Written and read back they are equal, to the last bit, in a folder that did not exist."""
  records = [_record(), _record("bracket {8,24}", 7, 3, psnr=1 / 3)]
  path = tmp_path / "evaluation" / "records.jsonl"
  write_records(path, records)
  assert read_records(path) == records
  assert [json.loads(line)["scene_id"] for line in path.read_text().splitlines()] == [1, 7]


def test_columns_of_a_table_have_files_by_which_they_are_found(tmp_path):
  """By their names, blanks included; other files of the folder are none."""
  columns = ["fine-tuned restorers", "plain", "stage 1 restorer"]
  paths = {column: records_path(tmp_path, column) for column in columns}
  for path in (*paths.values(), tmp_path / "table.json"):
    path.write_text("")
  assert records_paths(tmp_path) == paths and not any(" " in path.name for path in paths.values())


def test_records_of_an_earlier_version_are_read(tmp_path):
  """Without what is measured since, and without LPIPS."""
  path = tmp_path / "records.jsonl"
  write_records(path, [_record()])
  fields = {name: value for name, value in json.loads(path.read_text()).items() if value is not None}
  assert not fields.keys() & {"lpips", "view_psnr", "view_ssim", "patch_psnr", "patch_ssim"}
  path.write_text(json.dumps(fields) + "\n")
  assert read_records(path) == [_record()]


def test_interrupted_writing_leaves_the_older_file(tmp_path):
  """Records appear complete or not at all."""
  path = tmp_path / "records.jsonl"
  write_records(path, [_record()])

  def interrupted():
    yield _record(scene_id=2)
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_records(path, interrupted())
  with pytest.raises(ValueError):
    write_records(path, [_record(psnr=float("nan"))])
  assert read_records(path) == [_record()]
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("line", ['{"method": "a", "sce', '{"method": "a"}', "[1]", '{"exposure_times": [1], "x": 2}'])
def test_a_broken_line_is_named(tmp_path, line):
  """A file that is cut off or holds something else is refused with file and line."""
  path = tmp_path / "records.jsonl"
  write_records(path, [_record()])
  path.write_text(path.read_text() + line)
  with pytest.raises(ValueError, match=r"records.jsonl:2 is not a record"):
    read_records(path)


def test_groups_keep_the_order_of_methods_and_sort_captures():
  """Methods come as they first appear, captures by scene and draw, whatever the order of the lines."""
  records = [_record("b", 2), _record("a", 1), _record("b", 1, 1), _record("a", 2), _record("b", 1), _record("a", 1, 1)]
  groups = by_method(records)
  assert list(groups) == ["b", "a"]
  for group in groups.values():
    assert [(record.scene_id, record.draw) for record in group] == [(1, 0), (1, 1), (2, 0)]


def test_mixed_and_repeated_sets_are_refused():
  """Paired differences need the same captures, each once."""
  with pytest.raises(ValueError, match=r"'a' and 'b' .* 2 captures .* \(0, 1, 1\)"):
    by_method([_record("a", 1, 1), _record("a", 1), _record("b", 1), _record("b", 2)])
  with pytest.raises(ValueError, match="'b' has two records for scene 1, draw 0"):
    by_method([_record("a"), _record("b"), dataclasses.replace(_record("b"), psnr=3.0)])
  with pytest.raises(ValueError, match="no records"):
    by_method([])
