"""What restoring in patches of the training size changes: channel attention depends on the size of the image.

  python -m experiments.patches --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.patches                   # the quickstart's scenes; ten minutes of training

Two restorers after stage 1: one without attention blocks, one with them (the quickstart's has none, so another one with
a block per level and fusion is trained, by the same steps). Attention between channels sums over all pixels of an
image, and has seen images of the training crop only. Both restore the same captures, of the longest uniform exposure,
on scenes of once, twice and four times the training crop: as whole images, in patches of the training crop side by
side, and in such patches that share half of their width. What patches change without attention is due to their
borders, as convolutions see zeros beyond them; what they change beyond that with attention is due to the size.

Scenes of every size move at the same speed in px/s. Written to <workdir>/patches: a table, JSON, records and a figure.
"""

import pathlib
from typing import Any, Mapping, Sequence

import ml_collections

from debir_jax.evaluation import Method, Record, records_path, summarize, write_records
from debir_jax.evaluation.summary import scene_means, units_of, warning_of
from debir_jax.runtime.files import folder_name, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments import networks, plots, scales, tables

_CONTROL, _WITH_ATTENTION = "without attention", "with attention"
_FACTORS = (1, 2, 4)  # Side of the scenes over the training crop.
_OVERLAPS = {"side by side": 0.0, "overlapping": 0.5}  # Fraction of a patch.


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures both networks at every size, writes the results; returns the table."""
  restorers = {name: _restorer(config, workdir, name) for name in (_CONTROL, _WITH_ATTENTION)}
  records = {}
  with locked(str(workdir / "patches")) as path:
    for factor in _FACTORS:
      records |= _measured(restorers, factor)
    summaries = {condition: summarize(rows, reference=_CONTROL) for condition, rows in records.items()}
    for condition, rows in records.items():
      write_records(records_path(path, condition.replace(",", "")), rows)
    _draw(path / "patches.png", summaries, config.data.crop_size)
    table = tables.write_conditions(summaries, path, reference=_CONTROL)
    effect = _effect_of_attention(records)
    write_text(path / "table.md", f"{(path / 'table.md').read_text()}\n{effect}\n")
    return f"{table}\n\n{effect}"


def _restorer(config, workdir, name) -> tuple[ml_collections.ConfigDict, Any]:
  """Config and variables of a network; one that the config does not have of itself has a folder of its own."""
  config = config.copy_and_resolve_references()  # Attention is the Burstormer's.
  config.restorer.network, config.restorer_inputs.aligned = "burstormer", False
  its_config, section = config.copy_and_resolve_references(), config.restorer
  blocks = (0, 0) if name == _CONTROL else (section.blocks_per_level or 1, section.fusion_blocks or 1)
  its_config.restorer.update(dict(zip(("blocks_per_level", "fusion_blocks"), blocks)))
  root = workdir if its_config.restorer == section else workdir / folder_name(name)
  return its_config, networks.pretrained(its_config, root)[1].restoration_variables


def _measured(restorers, factor) -> dict[str, list[Record]]:
  """Records of both networks by condition, at one size."""
  patch = restorers[_CONTROL][0].data.crop_size
  records = {}
  for heading, fraction in _OVERLAPS.items() if factor > 1 else [("side by side", 0.0)]:
    condition = f"{factor * patch} px, patches {heading}" if factor > 1 else f"{patch} px, the training size"
    log(f"measuring: {condition} ...")
    records[condition] = []
    for name, (config, variables) in restorers.items():
      config = scales.with_crop_size(config, factor * patch)
      config.evaluation.update(dict(patch_size=patch, patch_overlap=int(fraction * patch)))
      config.data.update(dict(num_restore_scenes=1, num_bae_scenes=1))  # Nothing is trained: none of them in a cache.
      experiment = Experiment(config)
      timing = experiment.setup.timing
      (policy,) = networks.uniforms([SUBFRAME_RATE_HZ * timing.budget_s / timing.num_frames]).values()
      records[condition] += experiment.evaluate([Method(name, policy, variables)])
  return records


def _effect_of_attention(records: Mapping[str, Sequence[Record]]) -> str:
  """What patches change with attention beyond what they change without, by condition, as a Markdown list."""
  lines = []
  for condition, rows in records.items():
    changes = {name: scene_means(group, "patch_psnr") - scene_means(group, "psnr") for name, group in (
        (name, [record for record in rows if record.method == name]) for name in (_CONTROL, _WITH_ATTENTION))}
    beyond = changes[_WITH_ATTENTION] - changes[_CONTROL]
    units = units_of([record for record in rows if record.method == _CONTROL])
    lines.append(f"- {condition}: {tables.mean_with_interval(beyond, units)}")
  title = ("What patches change with attention beyond what they change without, dB ± one standard error over photos or "
           "clips [95 % interval]:")
  warning = warning_of(units.num_groups)
  return "\n".join([title, "", *lines, *[""] * len(warning), *warning])


def _draw(path, summaries, patch) -> None:
  sizes = [factor * patch for factor in _FACTORS if factor > 1]
  panels = {}
  for heading in _OVERLAPS:
    of_sizes = [summaries[f"{size} px, patches {heading}"] for size in sizes]
    panels[f"PSNR, patches {heading} less whole, dB"] = {
        rows[0].method: ([row.patch_change for row in rows], [row.patch_change_error for row in rows])
        for rows in zip(*of_sizes)}
  plots.lines(path, sizes, panels, x_label="side of the scenes, mosaic px", log_x=True)


main = scales.main_of(__doc__, "patches", run)

if __name__ == "__main__":
  prepare_memory()
  main()
