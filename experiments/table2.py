"""Table 2 of the paper: real captures, by metrics that need no true image.

  python -m experiments.table2 --scale=tiny                   # minutes; its numbers say nothing
  python -m experiments.table2                                # the quickstart's networks, large scenes
  python -m experiments.table2 --captures my_captures         # images restored elsewhere; trains nothing
  python -m experiments.table2 --niqe modelparameters.mat --brisque allmodel allrange --topiq

The paper's camera system being the authors', captures are simulated: test scenes of the paper's size at the speeds
of training, by DEBIR, bracketing and the uniform exposures {16} and {32}, each with its fine-tuned restorer. There the
true image is known, so PSNR stands beside the metrics and tells whether they agree. `--captures` measures a folder of
your own instead, with a subfolder for every method (see experiments/captures.py); where one of them is called
`reference`, its images are the true ones, and PSNR stands beside the metrics there too. LPIPS is of images whose true
one is known.

NIQE, BRISQUE and TOPIQ rest on other people's files, see debir_jax/evaluation/no_reference. Without --niqe a
pristine model is fitted on the true images of scenes of training, of photos that no test scene shows (and kept as
niqe_fitted.npz); its values are not comparable with published ones. Metrics without files are left out. Results go into
<workdir>/table2.
"""

import csv
import dataclasses
import json
import pathlib
from typing import Any, Callable, Mapping, Sequence

import jax
import ml_collections
import numpy as np

from debir_jax.config.scenes import scene_sources_of
from debir_jax.evaluation import Method, fit_niqe, load_brisque, load_lpips, load_niqe, load_topiq, psnr, save_niqe
from debir_jax.evaluation.statistics import MIN_GROUPS
from debir_jax.imaging import view
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.scenes import group_of
from experiments import capture_plots, captures, networks, scales, tables
from experiments.image_scores import HIGHER_IS_BETTER, ImageScores, ScoreSummary, agreement, summarize_scores, verdict

PAPER = {networks.DEBIR: (6.34, 46.90, 0.363), "bracketing": (6.57, 50.66, 0.339)}
METRICS = ("NIQE", "BRISQUE", "TOPIQ")
_TRUTH = "true image"
_NUM_PRISTINE = 64  # Scenes for NIQE's pristine model, at most; its authors took 125 photos.
_STRIDE_PX = 16  # Of its blocks: scenes have few.
_DIGITS = {"TOPIQ": 3, "LPIPS": 3}
_LEFT_OUT = {
    "BRISQUE": "BRISQUE is left out. It needs two files of its authors' release: --brisque allmodel allrange",
    "TOPIQ": "TOPIQ is left out. It needs pyiqa, not for commercial use: pip install pyiqa, then --topiq"}

Metric = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Files:
  """Where the metrics come from; None: as the experiment's docstring says."""

  niqe: pathlib.Path | None = None
  brisque: tuple[pathlib.Path, pathlib.Path] | None = None
  topiq: bool = False


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path, files: Files, folder: pathlib.Path | None) -> str:
  """Trains what is missing, unless there is a folder of captures; measures, writes the results; returns the table."""
  given = _given(files)  # A wrong file is told before hours of training.
  lpips = load_lpips(config.evaluation.lpips) if config.evaluation.lpips else None
  methods = [] if folder else _methods(config, workdir)
  with locked(str(workdir / "table2")) as path:
    metrics, notes = _all_metrics(config, given, path)
    rows = _of_captures(folder, metrics, lpips) if folder else _of_simulated(config, methods, metrics, lpips)
    reference, known = rows[0].method, [name for name in HIGHER_IS_BETTER if name in rows[0].scores]
    summaries = {name: summarize_scores(rows, name, reference=reference) for name in known}
    agreements = {name: agreement(rows, name) for name in metrics if "PSNR" in known}
    write_text(path / "images.jsonl", "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))
    _write_numbers(path, summaries, agreements, notes)
    capture_plots.score_differences(path / "differences.png", summaries, reference=reference)
    table = _table(summaries, agreements, notes, reference)
    write_text(path / "table.md", f"{table}\n\nThe paper's, of 142 real captures:\n\n"
               f"{tables.paper_table(PAPER, METRICS)}\n")
    tables.write_environment(path)
    return table


def _methods(config, workdir) -> list[Method]:
  _, start = networks.pretrained(config, workdir)
  experiment, state = networks.trained(config, workdir, networks.DEBIR, {"bae.network": "baenet"})
  return [networks.method(networks.DEBIR, experiment, state), *networks.fixed(experiment, start, workdir)]


def _given(files: Files) -> dict[str, Metric]:
  metrics: dict[str, Metric] = {}
  if files.niqe:
    metrics["NIQE"] = load_niqe(files.niqe)
  if files.brisque:
    metrics["BRISQUE"] = load_brisque(*files.brisque)
  if files.topiq:
    try:
      metrics["TOPIQ"] = load_topiq()
    except ImportError as error:
      raise ValueError(str(error)) from error
  return metrics


def _all_metrics(config, given, path) -> tuple[dict[str, Metric], list[str]]:
  """All metrics in the paper's order, and what has to be said of them."""
  notes, fitted = [], {}
  if "NIQE" not in given:
    pristine = captures.pristine(config, _NUM_PRISTINE)
    log(f"fitting NIQE's pristine model on the true images of {len(pristine)} scenes of training ...")
    fitted["NIQE"] = fit_niqe(pristine, stride=_STRIDE_PX)
    save_niqe(path / "niqe_fitted.npz", fitted["NIQE"])
    notes.append(f"NIQE's pristine model was fitted on the true images of {len(pristine)} scenes of training, so its "
                 "values are not comparable with the paper's. With the authors' model: --niqe modelparameters.mat")
  metrics = {**fitted, **given}
  if "BRISQUE" in metrics and metrics["BRISQUE"].opencv:
    notes.append("BRISQUE is OpenCV's, whose values are not comparable with the paper's. The authors': --brisque "
                 "allmodel allrange")
  return ({name: metrics[name] for name in METRICS if name in metrics},
          notes + [text for name, text in _LEFT_OUT.items() if name not in metrics])


def _of_simulated(config, methods, metrics, lpips) -> list[ImageScores]:
  rows, shown, border = [], jax.jit(view), 2 * config.evaluation.border
  source = scene_sources_of(scales.for_viewing(config))["test"]
  for of_capture in captures.simulated(config, methods, num_draws=config.evaluation.num_draws):
    first = of_capture[0]
    group = group_of(source, first.scene_id)
    truth = np.asarray(shown(first.target, first.color))
    if not first.draw:
      log(f"measuring scene {first.scene_id} ...")
      of_truth = ImageScores(method=_TRUTH, image=f"scene {first.scene_id}", group=group,
                             scores=_scores(truth, metrics, border))
    for example in of_capture:
      image = np.asarray(shown(example.restored, example.color))
      scores = {"PSNR": example.psnr, **_perceived(image, truth, lpips, border), **_scores(image, metrics, border)}
      rows.append(ImageScores(method=example.method, image=f"scene {example.scene_id}", draw=example.draw,
                              group=group, scores=scores))
    if not first.draw:
      rows.append(of_truth)
  return rows


def _of_captures(folder, metrics, lpips) -> list[ImageScores]:
  rows = []
  for name, images in captures.read(folder):
    truth = images.pop(captures.REFERENCE, None)
    if not images:
      raise ValueError(f"--captures={folder} holds true images alone. It needs a subfolder for every method beside "
                       f"{captures.REFERENCE}/.")
    for method, image in images.items():
      known = {} if truth is None else {"PSNR": float(psnr(image, truth)), **_perceived(image, truth, lpips, 0)}
      rows.append(ImageScores(method=method, image=name, scores=known | _scores(image, metrics, 0)))
    if truth is not None:
      rows.append(ImageScores(method=_TRUTH, image=name, scores=_scores(truth, metrics, 0)))
  return rows


def _perceived(image, truth, lpips, border) -> dict[str, float]:
  """LPIPS where its weights were given."""
  inside = (slice(border, -border or None),) * 2
  return {} if lpips is None else {"LPIPS": float(lpips(image[inside], truth[inside]))}


def _scores(image, metrics, border) -> dict[str, float]:
  return {name: float(metric(image, border=border)) for name, metric in metrics.items()}


def _table(summaries: Mapping[str, Sequence[ScoreSummary]], agreements, notes, reference) -> str:
  """Table, verdicts and notes as Markdown."""
  methods = list(dict.fromkeys(row.method for rows in summaries.values() for row in rows))
  header, cells = ["method"], {method: [method] for method in methods}
  for metric, rows in summaries.items():
    header += [f"{metric}{'↑' if HIGHER_IS_BETTER[metric] else '↓'}", f"vs {reference}"]
    found = {row.method: row for row in rows}
    for method in methods:
      cells[method] += _cells(found.get(method), _DIGITS.get(metric, 2), method == reference)
  first = next(iter(summaries.values()))[0]
  evidence = "" if first.num_groups >= MIN_GROUPS else (
      f" So few say little about others; {MIN_GROUPS} are the least: this is no evidence.")
  lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|",
           *("| " + " | ".join(row) + " |" for row in cells.values()), "",
           f"{first.num_images} images of {first.num_groups} photos or clips, over which ± is one standard error; vs "
           f"{reference}: paired difference [95 % interval].{evidence}", ""]
  compared = {metric: [row for row in rows if row.method != _TRUTH] for metric, rows in summaries.items()}
  lines += [f"- {verdict(rows, metric)}" for metric, rows in compared.items() if len(rows) > 1]
  for metric, (fraction, low, high) in agreements.items():
    interval = f" [{100 * low:.0f}, {100 * high:.0f}]" if np.isfinite(low) else ""
    lines.append(f"- Of two methods on one image, {metric} prefers the one of higher PSNR in {100 * fraction:.0f} %"
                 f"{interval} of all pairs; 50 % is chance.")
  return "\n".join([*lines, *(f"- {note}." for note in notes)])


def _cells(row: ScoreSummary | None, digits: int, is_reference: bool) -> list[str]:
  if row is None:
    return ["", ""]
  of_error = lambda error: f" ± {error:.{digits}f}" if np.isfinite(error) else ""
  low, high = (f"{bound:+.{digits}f}" for bound in (row.difference_low, row.difference_high))
  interval = f" [{low}, {high}]" if np.isfinite(row.difference_low) else ""
  difference = "" if is_reference else f"{row.difference:+.{digits}f}{of_error(row.difference_error)}{interval}"
  return [f"{row.mean:.{digits}f}{of_error(row.error)}", difference]


def _write_numbers(path, summaries, agreements, notes) -> None:
  """table2.csv and table2.json; not table.csv, whose differences the page of results reads as decibels."""
  fields = [field.name for field in dataclasses.fields(ScoreSummary)]
  with open(path / "table2.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["metric", *fields])
    writer.writerows([metric, *[getattr(row, name) for name in fields]] for metric, rows in summaries.items()
                     for row in rows)
  write_json(path / "table2.json", dict(
      metrics={metric: list(map(dataclasses.asdict, rows)) for metric, rows in summaries.items()},
      agreement_with_psnr={metric: dict(fraction=fraction, low=low, high=high)
                           for metric, (fraction, low, high) in agreements.items()}, notes=notes))


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, "table2")
  parser.add_argument("--niqe", type=pathlib.Path, metavar="FILE",
                      help="pristine model, modelparameters.mat or .npz (fitted on scenes of training)")
  parser.add_argument("--brisque", type=pathlib.Path, nargs=2, metavar=("MODEL", "RANGE"),
                      help="allmodel and allrange of the authors' release (BRISQUE is left out)")
  parser.add_argument("--topiq", action="store_true", help="with your own installation of pyiqa (left out)")
  parser.add_argument("--captures", type=pathlib.Path, metavar="DIR",
                      help="restored images of your own, a subfolder for every method (simulated captures)")
  args = scales.parse(parser)
  files = Files(args.niqe, args.brisque and tuple(args.brisque), args.topiq)
  config = args.config
  scales.report(lambda: run(config, args.workdir, files, args.captures), args.workdir / "table2")


if __name__ == "__main__":
  prepare_memory()
  main()
