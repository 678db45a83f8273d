"""Beyond the paper: bursts of two to eight frames by one pair of networks, which also chooses how many frames to take.

  python -m experiments.burst_size --scale=tiny      # minutes; its numbers say nothing
  python -m experiments.burst_size                   # the quickstart's networks and scenes

The paper trains a pair of networks for every burst length and leaves the joint prediction of exposure times and burst
size to future work. Here one pair is for all of them (config.capture.burst_sizes). Frames behind the last one are left
out with their gaps; in their place the restorer sees the frames that were taken, in turns, and a plane that says so.
BAENet has exposure times for every size, and predicts what the restored image will lose with each; the size with the
smallest sum of loss and penalty is taken. Its loss is the mean over the sizes plus the error of these predictions.

First table: that pair against pairs for one length each, on the same scenes, without any penalty. It gets twice their
steps in stage 1; a third row gives them as many. Second table: stage 2 goes on with a penalty per second of capture,
gaps included, or per frame; the loss of the choice (mean absolute error of the restored image plus the penalty) against
always taking the size that is best on the whole, and against the best size of each capture in hindsight. Written to
<workdir>/burst_size: both tables, JSON, records, a figure.
"""

import dataclasses
import pathlib
from typing import Any, Mapping, Sequence

import ml_collections
import numpy as np

from debir_jax.evaluation import Method, Record, records_path, summarize, write_records
from debir_jax.evaluation.records import by_method
from debir_jax.evaluation.statistics import interval_of_mean, mean_and_error
from debir_jax.evaluation.summary import units_of, warning_of
from debir_jax.policies import BurstPenalty
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.simulator import capture_time
from debir_jax.training.experiment import Experiment
from debir_jax.training.state import TrainState
from debir_jax.types import BurstTiming
from experiments import networks, plots, scales, tables

SIZES = (2, 4, 6, 8)
_ALL, _OWN, _OWN_LONGER = "one pair for all", "a pair for this length", "the same, twice the steps"
_MORE_STEPS = 2  # In stage 1, for four sizes.
_CHOICE = "chosen"
# In units of the loss; for scale: the mean absolute error of a restored image is about 0.02.
_PENALTIES = {
    "none": BurstPenalty(), "0.01 per second": BurstPenalty(exposure_time=0.01),
    "0.03 per second": BurstPenalty(exposure_time=0.03), "0.1 per second": BurstPenalty(exposure_time=0.1),
    "0.0005 per frame": BurstPenalty(frame=0.0005)}


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Trains what is missing, measures, writes the results; returns the tables."""
  penalized = _penalized(config, workdir / "all_burst_sizes")
  experiment, state = penalized["none"]
  by_length = _by_length(config, workdir, experiment, state)
  records = {name: _of_sizes(*network) for name, network in penalized.items()}
  with locked(str(workdir / "burst_size")) as path:
    summaries = {length: summarize(rows, reference=_OWN) for length, rows in by_length.items()}
    first = tables.write_conditions(summaries, path, reference=_OWN)
    timing = experiment.setup.timing
    choices = {name: compare_choice(rows, _PENALTIES[name], timing) for name, rows in records.items()}
    write_json(path / "penalties.json", choices)
    second = format_choices(choices)
    write_text(path / "table.md", f"{(path / 'table.md').read_text()}\n{second}\n")
    named = [dataclasses.replace(record, method=f"{record.method}, {name}")
             for name, rows in records.items() for record in rows]
    write_records(records_path(path, "penalties"), named)
    _draw(path / "burst_size.png", summarize(named, reference=f"{_CHOICE}, none"), timing)
  return f"{first}\n\n{second}"


def _penalized(config, root) -> dict[str, tuple[Experiment, TrainState]]:
  """The pair for all sizes under every penalty; all of them start from the one that was trained without any."""
  config = _for_all_sizes(config)
  networks.pretrained(config, root)
  networks.trained(config, root, networks.DEBIR, {}, stages=("stage2",))
  found = {}
  for name, penalty in _PENALTIES.items():
    changes = {"stage2.exposure_time_penalty": penalty.exposure_time, "stage2.frame_penalty": penalty.frame,
               "stage2.num_steps": max(1, config.stage2.num_steps // 2)}
    found[name] = networks.trained(config, root, name, changes, stages=("stage2", "stage3"),
                                   start=(networks.DEBIR, "stage2"))
  return found


def _for_all_sizes(config):
  config = config.copy_and_resolve_references()
  config.capture.update(dict(num_frames=SIZES[-1], burst_sizes=SIZES))
  config.bae.network = "burst_size"
  config.stage1.num_steps *= _MORE_STEPS
  return config


def own_networks(config: ml_collections.ConfigDict, workdir: pathlib.Path, size: int) -> dict[str, tuple]:
  """Pairs for bursts of one size, by row: that of `table4`, and one with as many steps in stage 1 as that for all."""
  config, root = networks.with_frames(config, workdir, size)
  longer = config.copy_and_resolve_references()
  longer.stage1.num_steps *= _MORE_STEPS
  found = {}
  for name, its_config, its_root in ((_OWN, config, root), (_OWN_LONGER, longer, root / "twice_the_steps")):
    networks.pretrained(its_config, its_root)
    found[name] = networks.trained(its_config, its_root, networks.DEBIR, {"bae.network": "baenet"})
  return found


def _by_length(config, workdir, experiment, state) -> dict[str, list[Record]]:
  """Records of both kinds of networks by burst length, on the scenes of the longest."""
  records = {}
  for size in SIZES:
    log(f"measuring bursts of {size} frames ...")
    records[f"{size} frames"] = experiment.evaluate([_always(_ALL, size, experiment, state)])
    for name, own in own_networks(config, workdir, size).items():
      records[f"{size} frames"] += own[0].evaluate([networks.method(name, *own)])
  return records


def _of_sizes(experiment: Experiment, state) -> list[Record]:
  """The choice, and every size always."""
  return experiment.evaluate([networks.method(_CHOICE, experiment, state), *[
      _always(f"always {size}", size, experiment, state) for size in SIZES]])


def _always(name, size, experiment, state) -> Method:
  """The networks for all sizes, held to one."""
  method = networks.method(name, experiment, state)
  policy = dataclasses.replace(method.policy, module=method.policy.module.clone(burst_size=size))
  return dataclasses.replace(method, policy=policy)


def compare_choice(records: Sequence[Record], penalty: BurstPenalty, timing: BurstTiming) -> dict[str, Any]:
  """Losses, with their penalties, of the choice and of its alternatives; JSON.

  Args:
    records: of the choice and of every size always, on the same captures.
    penalty: of a burst.
    timing: of the bursts.
  """
  losses, psnr, units = {}, {}, None
  for name, rows in by_method(records).items():
    times = np.array([row.exposure_times for row in rows])
    of_captures = np.array([row.l1 for row in rows]) + np.asarray(penalty(times, timing))
    units = units_of(rows)
    losses[name] = of_captures.reshape(len(units.groups), -1)
    psnr[name] = float(np.mean([row.psnr for row in rows]))
    if name == _CHOICE:
      seconds, frames = np.asarray(capture_time(times, timing)), np.count_nonzero(times, axis=1)
      taken = dict(frames=float(frames.mean()), seconds=float(seconds.mean()),
                   fractions={str(size): float(np.mean(frames == size)) for size in SIZES})
  always = {name: loss for name, loss in losses.items() if name != _CHOICE}
  best = min(always, key=lambda name: always[name].mean())
  hindsight = np.min(list(always.values()), axis=0)
  more = (always[best] - losses[_CHOICE]).mean(1)
  (mean, error), (low, high) = mean_and_error(more, units), interval_of_mean(more, units)
  return dict(chosen_loss=float(losses[_CHOICE].mean()), chosen_psnr=psnr[_CHOICE], best_always=best,
              best_always_loss=float(always[best].mean()), best_always_psnr=psnr[best],
              hindsight_loss=float(hindsight.mean()), difference=float(mean), difference_error=float(error),
              difference_low=low, difference_high=high, num_groups=units.num_groups, **taken)


def format_choices(choices: Mapping[str, Mapping[str, Any]]) -> str:
  """What `compare_choice` found, by penalty, as a Markdown table."""
  lines = ["| penalty | chosen: frames | capture, ms | PSNR | loss | best size always | PSNR | more loss | best per "
           "capture: less loss |", "|---|---|---|---|---|---|---|---|---|"]
  for name, row in choices.items():
    interval = f" [{1e3 * row['difference_low']:+.2f}, {1e3 * row['difference_high']:+.2f}]"
    lines.append(
        f"| {name} | {row['frames']:.2f} | {1e3 * row['seconds']:.0f} | {row['chosen_psnr']:.2f} | "
        f"{1e3 * row['chosen_loss']:.2f} | {row['best_always'].removeprefix('always ')} | "
        f"{row['best_always_psnr']:.2f} | {1e3 * row['difference']:+.2f} ± {1e3 * row['difference_error']:.2f}"
        f"{interval if np.isfinite(row['difference_low']) else ''} | "
        f"{1e3 * (row['chosen_loss'] - row['hindsight_loss']):.2f} |")
  return "\n".join([*lines, "", "Loss: mean absolute error of the restored image plus the penalty of its burst, in "
                    "thousandths of white; ± one standard error over photos or clips [95 % interval].",
                    *warning_of(row["num_groups"])])


def _draw(path, summaries, timing) -> None:
  groups = {_CHOICE: [], **{f"always {size}": [] for size in SIZES}}
  for row in summaries:
    groups[row.method.split(",")[0]].append(row)
  plots.trade_off(path, groups, frame_gap_s=timing.frame_gap_s)


main = scales.main_of(__doc__, "burst_size", run)

if __name__ == "__main__":
  prepare_memory()
  main()
