"""Numbers that cannot be meant are named before anything is done, whichever field they stand in."""

import pytest

from configs import default
from debir_jax.config.check import check_values


@pytest.mark.parametrize("path", ("default", "quickstart", "release", "all_stages", "stage1", "stage2", "stage2_tuned",
                                  "stage3", "pretrain", "pretrain_small"))
@pytest.mark.parametrize("mode", ("", "debug"))
def test_every_config_of_the_package_passes(path, mode):
  """Whatever is refused is not what we ship."""
  import importlib
  check_values(importlib.import_module(f"configs.{path}").get_config(mode))


def _numeric_fields(config, prefix=""):
  for name, value in config.items():
    if hasattr(value, "items"):
      yield from _numeric_fields(value, f"{prefix}{name}.")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
      yield f"{prefix}{name}"


@pytest.mark.parametrize("field", sorted(_numeric_fields(default.get_config())))
def test_no_number_may_be_negative(field):
  """A rule for all fields that there are, and for those that will be added: none of them means anything below 0."""
  config = default.get_config()
  config.update_from_flattened_dict({field: -1})
  with pytest.raises(ValueError, match=f"config.{field}=-1 must be "):
    check_values(config)


@pytest.mark.parametrize("field", (
    "batch_size", "log_every_steps", "checkpoint_every_steps", "keep_every_steps", "stage1.num_steps",
    "stage3.num_steps", "stage2.noise_draws", "stage2_warmup.label_draws", "data.num_threads", "data.num_prefetched",
    "evaluation.num_draws", "stage1.learning_rate", "capture.min_preview_gain", "restoration_optimizer.clip_norm"))
def test_what_would_do_nothing_or_divide_by_zero_is_refused(field):
  """An interval, a number of steps or a rate of 0."""
  config = default.get_config()
  config.update_from_flattened_dict({field: 0})
  with pytest.raises(ValueError, match=f"config.{field}=0 must be "):
    check_values(config)


@pytest.mark.parametrize("field, value, message", (
    ("data.static_fraction", 1.5, "from 0 to 1"), ("stage1.learning_rate", float("nan"), "must be positive"),
    ("stage1.final_learning_rate", float("nan"), "must be at least 0"), ("seed", 2**40, "from 0 to 2.14748e"),
    ("guard.on_nonfinite", "sotp", "choose one of 'stop', 'skip'"), ("compute.dtype", "float16", "'bfloat16'"),
    ("init_from", "gs://bucket/run", "config.init_from=gs://bucket/run is an address"),
    ("data.photos", "s3://bucket/photos", "config.data.photos=s3://bucket/photos is an address")))
def test_what_cannot_be_meant_is_named(field, value, message):
  """With the field, its value and what is possible."""
  config = default.get_config()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    check_values(config)
