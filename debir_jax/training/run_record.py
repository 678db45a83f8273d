"""What a run was started with, beside what came of it: settings, versions, hardware."""

import datetime
import json
import pathlib
import platform
import sys
from typing import Any

from clu import parameter_overview
import jax
import ml_collections

from debir_jax.config.compatibility import check_compatible
from debir_jax.runtime import processes
from debir_jax.runtime.files import local_path, read_json, write_text
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.progress import log
from debir_jax.runtime.versions import commit_of_checkout, version_of
from debir_jax.training.checkpoint import FORMAT, check_format
from debir_jax.training.stages import STAGES, Stage
from debir_jax.training.state import TrainState

_PACKAGES = ("debir_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# Fields that may change between two starts of the same stage.
_FREE_FIELDS = ("stages", "init_from", "init_stage", "init_from_other_bursts", "start_from_scratch", "log_every_steps",
                "checkpoint_every_steps", "compilation_cache", "compute", "evaluation", "comparison", "parallel",
                "guard", "profile", "keep_every_steps", "resume_from", "data.data_dir", "data.num_threads",
                "data.num_prefetched", "data.cache", "data.cache_dir", "data.num_validation_scenes",
                "data.num_test_scenes", "data.validation_source", "data.test_source", "data.test_clips",
                "data.test_clips_crop", "data.on_unreadable", "motion.weights")
# Fields of scenes, by the only split that they concern: stages that see another one do not mind.
_FIELDS_OF_SPLIT = {"data.num_restore_scenes": "restore", "data.num_bae_scenes": "bae", "data.bae_photos": "bae"}
# Fields that came later, with what runs did before there were any: they go on.
_LATER_FIELDS = {"data.validation_clips": None, "data.bae_photos": "bae", "stage1.saturation": False,
                 "stage2.loss": "l1"}


def check_config(config: ml_collections.ConfigDict, stage: Stage, directory: pathlib.Path) -> None:
  """Records the config of a stage, or refuses to go on with another one.

  Raises:
    ValueError: with every field that differs.
  """
  config = config.to_dict()
  # The photos are those of the list, wherever they and it lie on this machine.
  if photo_list := config.get("data", {}).get("photo_list"):
    content = local_path(photo_list, "config.data.photo_list").read_bytes()
    config["data"].update(photos="", photo_list=fingerprint(content.hex()))
  _leave_out(config, stage)
  record = directory / "config.json"
  if record.exists():
    found = read_json(record, "If the settings are the same as before, delete the file and run the same command again.")
    check_format(found.pop("format", None), f"run in {directory}")
    _leave_out(found, stage)
    check_compatible(found, config, f"run in {directory}", later=_LATER_FIELDS)
  elif processes.is_main():
    directory.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(dict(format=FORMAT) | config, indent=2))


def _leave_out(config: dict[str, Any], stage: Stage) -> None:
  """Removes what may change, and what does not concern a stage."""
  others = [name for name in STAGES if name != stage.name]
  of_other_splits = [name for name, split in _FIELDS_OF_SPLIT.items() if split != stage.split]
  for name in [*_FREE_FIELDS, *others, *of_other_splits]:
    section, _, field = name.rpartition(".")
    (config.get(section, {}) if section else config).pop(field, None)


def write_environment(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Adds config, versions and hardware of this start to `starts.jsonl`; `config.json` is the newest config."""
  write_text(workdir / "config.json", json.dumps(config.to_dict(), indent=2))
  with open(workdir / "starts.jsonl", "a") as file:
    file.write(json.dumps(environment() | dict(config=config.to_dict())) + "\n")


def environment() -> dict[str, Any]:
  """Command, time, versions and hardware; JSON."""
  device = jax.devices()[0]
  return dict(
      date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"), command=sys.argv,
      python=platform.python_version(), versions={name: version_of(name) for name in _PACKAGES},
      commit=commit_of_checkout(),
      platform=platform.platform(), device=device.device_kind, num_devices=jax.device_count(),
      num_processes=jax.process_count())


def log_parameters(state: TrainState, workdir: pathlib.Path) -> None:
  """Writes the tables of parameters and says how many there are."""
  for name, params in (("restoration", state.restoration_params), ("bae", state.bae_params)):
    write_text(workdir / f"parameters_{name}.txt", parameter_overview.get_parameter_overview(params))
    log(f"{name:14s} {parameter_overview.count_parameters(params):,} parameters")
