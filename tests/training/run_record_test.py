"""A folder belongs to one config; what may change between starts, and what came later than a run, does not matter."""

import json

import pytest

from configs import quickstart
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


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
  """A field that it does not name has the value that it had in effect; any other value is refused."""
  config, stage = quickstart.get_config(), stage_named("stage2")
  check_config(config, stage, tmp_path)
  record = json.loads((tmp_path / "config.json").read_text())
  assert "evaluation" not in record  # How a run is measured may change, so nothing of it is recorded here.
  del record["stage2"]["time_cost"], record["restoration_optimizer"]["offset_rate"]
  (tmp_path / "config.json").write_text(json.dumps(record))
  check_config(config, stage, tmp_path)
  config.stage2.time_cost = 0.1
  with pytest.raises(ValueError, match="stage2.time_cost: 0.0 there, 0.1 here"):
    check_config(config, stage, tmp_path)
