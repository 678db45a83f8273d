"""What weights of a run are: networks, what they are for, how they were trained, where and when."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import jax

from debir_jax.runtime.files import read_json
from debir_jax.training.stages import STAGES
from debir_jax.types import SUBFRAME_RATE_HZ

CARD_FILE = "MODEL_CARD.md"
_NO_NOTES = ("Nobody wrote down yet where the data is from, under which licences it is, and what these networks\n"
             "are not for: `python -m debir_jax.convert --notes FILE`.")


def model_card(workdir: pathlib.Path, networks: Mapping[str, tuple[dict, dict]], notes: str) -> str:
  """Markdown.

  Args:
    workdir: of the run.
    networks: variables and description by name, see `run_networks`.
    notes: what nobody can read out of a run: where the data is from and its licences, what the networks are not for.

  Raises:
    ValueError, OSError: the run's config is missing, or a record damaged.
  """
  config = read_json(workdir / "config.json", "The run writes it when it starts.")
  facts = [*_networks(networks), *_conditions(next(iter(networks.values()))[1]["trained_for"]), *_data(config["data"]),
           *_training(workdir, config), *_origin(config), *_start(workdir)]
  table = "\n".join(f"| {name} | {value} |" for name, value in facts)
  return f"# Model card\n\n| | |\n|---|---|\n{table}\n\n{notes.strip() or _NO_NOTES}\n"


def _networks(networks):
  for name, (variables, description) in networks.items():
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    yield name, f"{description['architecture']['name']}, {count:,} parameters"


def _conditions(trained_for: Mapping[str, Any]):
  timing = trained_for["timing"]
  counts = [SUBFRAME_RATE_HZ * timing[f"{name}_s"] for name in ("min_exposure", "max_exposure", "budget")]
  sizes = ", ".join(map(str, trained_for.get("burst_sizes") or [timing["num_frames"]]))
  most = "at most " if trained_for.get("burst_sizes") else ""
  yield "bursts", "{} frames, each {:.4g} to {:.4g}/1920 s, {}{:.4g}/1920 s in all".format(
      sizes, *counts[:2], most, counts[2])
  yield "noise", (f"{trained_for['noise']}, preview gains from {trained_for['min_preview_gain']:g} to "
                  f"{trained_for['max_preview_gain']:g}, linear")


def _data(data: Mapping[str, Any]):
  listed = f", list {pathlib.Path(data['photo_list']).name}" if data["photo_list"] else ""
  photos = f" ({'built-in' if data['photos'] == 'builtin' else 'folders of its own'}{listed})"
  yield "scenes", f"{data['source']}{photos if 'photos' in data['source'] else ''}, crops of {data['crop_size']} px"


def _training(workdir, config):
  for name in STAGES:
    lines = _log(workdir / name / "log.jsonl")
    if not lines:
      continue
    hours = sum((line["step"] - before) * line.get("step_s", 0) for before, line in zip(
        [0, *(line["step"] for line in lines)], lines)) / 3600
    yield name, f"{lines[-1]['step']:,} steps of {config['batch_size']}, {hours:.2f} h"


def _origin(config):
  """What the first of its stages started from; a folder's own name, as the path to it is a person's."""
  if config["init_from"]:
    yield "started from", pathlib.Path(config["init_from"]).name + (
        ", for bursts of another length" if config.get("init_from_other_bursts") else "")


def _start(workdir):
  starts = workdir / "starts.jsonl"
  if not starts.exists():
    return
  newest = json.loads(starts.read_text().splitlines()[-1])
  yield "last started", f"{newest['date'][:10]}, {newest['num_devices']} x {newest['device']}, {newest['platform']}"
  yield "versions", ", ".join(f"{name} {version}" for name, version in newest["versions"].items())
  if newest.get("commit"):
    yield "commit", newest["commit"]
  yield "seed", json.dumps(newest["config"]["seed"])


def _log(path) -> list[dict[str, Any]]:
  """Lines of a log, of each step the newest."""
  if not path.exists():
    return []
  by_step = {line["step"]: line for line in map(json.loads, path.read_text().splitlines())}
  return [by_step[step] for step in sorted(by_step)]
