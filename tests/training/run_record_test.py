"""A folder belongs to one config and one format; what may change between starts does not matter."""

import json

import pytest

from configs import quickstart
from debir_jax.training.checkpoint import FORMAT
from debir_jax.training.run_record import check_config
from debir_jax.training.stages import stage_named


def test_another_config_is_refused_with_what_differs(tmp_path):
  """Fields of this stage and those of all stages count; where it starts, how often it logs and other stages do not."""
  config, stage = quickstart.get_config(), stage_named("stage2")
  check_config(config, stage, tmp_path)
  for field, value in (("init_from", "elsewhere"), ("log_every_steps", 7), ("stage1.learning_rate", 1.0)):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({field: value})
    check_config(changed, stage, tmp_path)
  changed.stage2.learning_rate = 1.0
  with pytest.raises(ValueError, match=r"stage2.learning_rate: 0.0003 there, 1.0 here"):
    check_config(changed, stage, tmp_path)


def test_scenes_of_another_split_do_not_matter(tmp_path):
  """The restorer's stages go on whatever BAENet will see, and BAENet's whatever the restorer saw."""
  config = quickstart.get_config()
  for name in ("stage1", "stage2"):
    check_config(config, stage_named(name), tmp_path / name)
  config.data.update(dict(num_bae_scenes=7, bae_photos="training"))
  check_config(config, stage_named("stage1"), tmp_path / "stage1")
  with pytest.raises(ValueError, match="data.bae_photos: bae there, training here"):
    check_config(config, stage_named("stage2"), tmp_path / "stage2")
  config = quickstart.get_config()
  config.data.num_restore_scenes = 7
  check_config(config, stage_named("stage2"), tmp_path / "stage2")
  with pytest.raises(ValueError, match="data.num_restore_scenes: 240 there, 7 here"):
    check_config(config, stage_named("stage1"), tmp_path / "stage1")


def test_a_list_of_photos_counts_by_its_content_wherever_it_lies(tmp_path):
  """And so do not the folders; another list is another run."""
  config, stage = quickstart.get_config(), stage_named("stage1")

  def start(folder, content):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "list.json").write_text(content)
    config.data.update(dict(photos=folder, photo_list=str(tmp_path / folder / "list.json")))
    check_config(config, stage, tmp_path / "run")

  start("here", "one list")
  start("there", "one list")
  with pytest.raises(ValueError, match="data.photo_list: .* there, .* here"):
    start("there", "another list")


@pytest.mark.parametrize("field, another", [("stage1.saturation", True), ("data.validation_clips", "some")])
def test_a_run_from_before_a_field_was_there_goes_on(tmp_path, field, another):
  """As it did then; with another value it is another run."""
  config, stage = quickstart.get_config(), stage_named("stage1")
  check_config(config, stage, tmp_path)
  record, (section, _, name) = json.loads((tmp_path / "config.json").read_text()), field.partition(".")
  del record[section][name]
  (tmp_path / "config.json").write_text(json.dumps(record))
  check_config(config, stage, tmp_path)
  check_config(config, stage_named("stage3"), tmp_path / "other")
  config.update_from_flattened_dict({field: another})
  with pytest.raises(ValueError, match=f"{field}: .* there, {another} here"):
    check_config(config, stage, tmp_path)


def test_a_record_holds_what_must_stay(tmp_path):
  """How a run is measured may change, so nothing of it is recorded."""
  check_config(quickstart.get_config(), stage_named("stage2"), tmp_path)
  record = json.loads((tmp_path / "config.json").read_text())
  assert "evaluation" not in record and record["stage2"]["exposure_time_penalty"] == 0.0
  assert record["format"] == FORMAT


@pytest.mark.parametrize("written, remedy", [(None, "Go on with that version"), (FORMAT + 1, "Update the package")])
def test_a_run_of_another_version_is_refused(tmp_path, written, remedy):
  """Also one from before records had a format, even if every field is the same."""
  config, stage = quickstart.get_config(), stage_named("stage2")
  check_config(config, stage, tmp_path)
  record = json.loads((tmp_path / "config.json").read_text())
  fields = {name: value for name, value in record.items() if name != "format"}
  (tmp_path / "config.json").write_text(json.dumps(fields | ({} if written is None else dict(format=written))))
  with pytest.raises(ValueError, match=rf"run in .* has format {written or 1} and was written by another version of "
                                       rf"debir_jax; this is .* reads format {FORMAT}. {remedy}"):
    check_config(config, stage, tmp_path)
