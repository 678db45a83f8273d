"""Which interpolator makes the best sequences of 1920 frames per second out of 240, or out of fewer.

  python -m experiments.interpolation --photos=FOLDER --clips=FOLDER --rife=FILE    # RIFE is left out without its file

On photos that move along known paths (`experiments.moving_photos`), of whose 33 frames every eighth is given, 8-bit:

- PSNR of the frames between, dB;
- flow error: mean distance from the true flow of what is seen in the middle of the first interval, px;
- blur: PSNR of the mean over 32/1920 s in linear light, which is what a frame of that exposure measures, dB;
- gradient: relative error of the derivative of such frames by their exposure time, at 12.5, 20.5 and 28.5 subframes,
  all pixels together, and of the derivative of their mean distance from the first frame.

On real clips every second or fourth frame is given, and those between are measured, and their mean in linear light; all
clips are reduced, and the same number of pixels is cut from their middle.

Written to --to: table.md, scores.json (every scene and window, and means), interpolation.png.
"""

import argparse
from collections.abc import Iterable, Mapping
import dataclasses
import pathlib
import shlex
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.canvas import figure_and_axes, save
from debir_jax.imaging import srgb_to_linear
from debir_jax.motion.sharp_flow import CLEAN_LUCAS_KANADE
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.progress import with_progress
from debir_jax.scenes import Photo, frame_order, image_files, photo_folder
from debir_jax.scenes.flow_interpolation import FlowInterpolator, projected_flow
from debir_jax.scenes.interpolate import Interpolator, interpolate_clip, interpolator_named
from debir_jax.simulator.shutter import integrate_windows
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming
from experiments.moving_photos import COVERAGES, FACTOR, MovingPhotos, frames, moving_photos, true_flow

NUM_FRAMES = 4 * FACTOR + 1
WINDOW = 4 * FACTOR  # Subframes of the exposure whose blur is measured.
GRADIENT_ENDS = (12.5, 20.5, 28.5)  # Subframes; in the middle of frames that are interpolated.
REAL_FACTORS = (2, 4)
_REAL_SIZE = (176, 320)  # px
MEASURES = ("psnr", "flow_error", "blur_psnr", "gradient_error", "loss_gradient_error")


@dataclasses.dataclass(frozen=True)
class Clip:
  """A real clip: a file or a folder of frames, its frame rate as captured, and by how much it is reduced."""

  path: str
  rate_hz: float
  scale: float


CLIPS = (
    Clip("fixtures/sample_sef_slow_motion.mp4", 240, 1.0), Clip("walk60/cam01.mp4", 60, 0.3),
    Clip("sports2d_demo.mp4", 30, 0.25), Clip("gopro_max_heromode.mp4", 30, 0.4), Clip("gopro_karma.mp4", 30, 0.4),
    Clip("reds_027_x4", 24, 1.0))


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  methods = methods_of(args.rife)
  scores = dict(command=f"python -m experiments.interpolation {shlex.join(argv)}", jax=jax.__version__,
                device=jax.devices()[0].device_kind, known=[], real=[])
  if args.photos:
    scores["known"] = on_known_motion(photo_folder(args.photos), methods, args)
  if args.clips:
    scores["real"] = on_real_clips(args.clips, methods, args.windows)
  scores["means"] = means_of(scores)
  args.to.mkdir(parents=True, exist_ok=True)
  write_json(args.to / "scores.json", scores)
  write_text(args.to / "table.md", format_table(scores) + "\n")
  draw(args.to / "interpolation.png", scores["known"])
  print(format_table(scores))


def methods_of(rife: pathlib.Path | None) -> dict[str, Interpolator]:
  """What is compared, by name."""
  methods = dict(cross_fade=interpolator_named("cross_fade"),
                 lucas_kanade=FlowInterpolator(estimator=CLEAN_LUCAS_KANADE, flow_at=projected_flow),
                 flow=interpolator_named("flow"))
  return methods | (dict(rife=interpolator_named("rife", weights=rife)) if rife else {})


def on_known_motion(photos: list[Photo], methods: Mapping[str, Interpolator], args: argparse.Namespace) -> list[dict]:
  """A row for every scene and method; JSON."""
  scenes = [(kind, speed, seed) for seed in range(args.scenes) for kind in COVERAGES for speed in args.speeds]
  rows = []
  for kind, speed, seed in with_progress(scenes, len(scenes), "scenes"):
    pair = photos[2 * seed % len(photos)], photos[(2 * seed + 1) % len(photos)]
    scene = moving_photos(kind, pair, speed, args.crop, seed)
    truth = np.asarray(frames(scene, count=NUM_FRAMES, crop=args.crop))
    for name, method in methods.items():
      found = np.stack(list(interpolate_clip(method, in_8_bits(truth[::FACTOR]), FACTOR)))
      rows.append(dict(kind=kind, px_per_frame=speed, seed=seed, method=name, **errors(truth, found),
                       flow_error=flow_error(method, scene, truth)))
  return rows


def errors(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
  """`MEASURES` but the flow error, of sequences `[NUM_FRAMES, H, W, 3]` sRGB."""
  between = np.arange(NUM_FRAMES) % FACTOR > 0
  (blurred, gradients, slopes), (its_blurred, its_gradients, its_slopes) = map(_exposed, (truth, found))
  relative = lambda found, true: float(np.linalg.norm(found - true) / np.linalg.norm(true))
  return dict(psnr=psnr(found[between], truth[between]), blur_psnr=psnr(its_blurred, blurred),
              gradient_error=relative(its_gradients, gradients), loss_gradient_error=relative(its_slopes, slopes))


@jax.jit
def _exposed(srgb):
  """The frame of `WINDOW` subframes, the derivatives `[3, H, W, 3]` of frames by their end, and of a loss of them."""
  radiance, timing = srgb_to_linear(srgb), BurstTiming.paper()
  exposed = lambda ends: integrate_windows(radiance, jnp.zeros_like(ends), ends / SUBFRAME_RATE_HZ, timing)
  ends = jnp.asarray(GRADIENT_ENDS)
  images, gradients = jax.jvp(exposed, (ends,), (jnp.ones_like(ends),))
  slopes = jnp.mean(jnp.sign(images - radiance[0]) * gradients, axis=(1, 2, 3))
  return exposed(jnp.asarray([float(WINDOW)]))[0], gradients, slopes


def flow_error(method: Interpolator, scene: MovingPhotos, truth: np.ndarray) -> float:
  """Mean distance, px, from the true flow in the middle of the first interval; of a cross-fade, which has none, from
  0."""
  crop = truth.shape[1]
  first_s, second_s = 0.5 / SUBFRAME_RATE_HZ, (FACTOR + 0.5) / SUBFRAME_RATE_HZ
  true = true_flow(scene, (first_s + second_s) / 2, first_s, second_s, crop=crop)
  found = _middle_flow(method, *in_8_bits(truth[[0, FACTOR]])) if hasattr(method, "flow_at") else 0
  return float(jnp.mean(jnp.linalg.norm(found - true, axis=-1)))


@jax.jit
def _middle_flow(method, first, second):
  return method.flow_at(method.prepare(first, second), 0.5)


def on_real_clips(folder: pathlib.Path, methods: Mapping[str, Interpolator], num_windows: int) -> list[dict]:
  """A row for every clip, factor, window and method; JSON. Clips that are absent are left out."""
  clips, rows = [clip for clip in CLIPS if (folder / clip.path).exists()], []
  for clip in with_progress(clips, len(clips), "clips", every_s=0):
    sequence = read_clip(folder / clip.path, clip.scale)
    for factor in REAL_FACTORS:
      for start in np.linspace(0, len(sequence) - factor - 1, num_windows).astype(int):
        truth = np.stack(sequence[start:start + factor + 1]).astype(np.float32) / np.float32(255)
        for name, method in methods.items():
          found = np.stack(list(interpolate_clip(method, truth[::factor], factor)))
          exposed = [np.asarray(srgb_to_linear(sequence[:-1])).mean(0) for sequence in (found, truth)]
          rows.append(dict(clip=clip.path, rate_hz=clip.rate_hz, factor=factor, start=int(start), method=name,
                           psnr=psnr(found[1:-1], truth[1:-1]), blur_psnr=psnr(*exposed)))
  return rows


def read_clip(path: pathlib.Path, scale: float) -> list[np.ndarray]:
  """Frames `[176, 320, 3]` uint8 sRGB: the middle of the reduced ones."""
  if path.is_dir():
    whole = [image_files.read_pixels(file) for file in frame_order.in_order(image_files.image_files(path))]
  else:
    whole = [frame[..., ::-1] for frame in _video_frames(path)]
  found = []
  for frame in whole:
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else frame
    top, left = ((whole - side) // 2 for whole, side in zip(frame.shape, _REAL_SIZE))
    found.append(frame[top:top + _REAL_SIZE[0], left:left + _REAL_SIZE[1]])
  return found


def _video_frames(path):
  video = cv2.VideoCapture(str(path))
  while (read := video.read())[0]:
    yield read[1]


def psnr(found: np.ndarray, true: np.ndarray) -> float:
  """dB, of white; at most 100, as of equal images."""
  return float(-10 * np.log10(max(np.mean((np.asarray(found) - np.asarray(true))**2), 1e-10)))


def in_8_bits(srgb: np.ndarray) -> np.ndarray:
  """As files have it, float32."""
  return np.round(255 * np.clip(srgb, 0, 1)).astype(np.float32) / np.float32(255)


def format_table(scores: Mapping) -> str:
  """Markdown: known motion by kind and speed, then real clips; means and standard errors."""
  lines = [f"    {scores['command']}", ""]
  if scores["known"]:  # A row for every kind and speed; drawn in turn, listed by kind.
    lines += ["| motion | px per source frame | interpolator | PSNR, dB | flow error, px | blur PSNR, dB | "
              "gradient error | loss gradient error |", "| --- " * 8 + "|"]
    for (kind, speed, method), rows in _grouped(
        sorted(scores["known"], key=lambda row: (row["kind"], row["px_per_frame"])), "kind", "px_per_frame",
        "method").items():
      lines.append(f"| {kind} | {speed:g} | {method} | {_cells(rows, MEASURES)} |")
    lines += ["", "Means over photos ± one standard error."]
  if scores["real"]:
    lines += ["", "| clip | frames per second | of which given | interpolator | PSNR, dB | blur PSNR, dB |",
              "| --- " * 6 + "|"]
    for (clip, rate, factor, method), rows in _grouped(scores["real"], "clip", "rate_hz", "factor", "method").items():
      lines.append(f"| {clip} | {rate:g} | 1 of {factor} | {method} | {_cells(rows, ('psnr', 'blur_psnr'))} |")
    lines += ["", "Means over windows of a clip ± one standard error, which says nothing of other clips."]
  return "\n".join(lines)


def means_of(scores: Mapping) -> dict:
  """Means by motion, speed, method and measure, then by clip, given frames, method and measure; JSON."""
  found: dict = {}
  for rows, fields, measures in ((scores["known"], ("kind", "px_per_frame"), MEASURES),
                                 (scores["real"], ("clip", "factor"), ("psnr", "blur_psnr"))):
    for (name, number, method), group in _grouped(rows, *fields, "method").items():
      name = name.partition(".")[0].replace("/", " ")  # Texts name these by paths.
      found.setdefault(name, {}).setdefault(f"{number:g}", {})[method] = {
          measure: mean_and_error([row[measure] for row in group])[0] for measure in measures}
  return found


def _grouped(rows: Iterable[Mapping], *fields: str) -> dict[tuple, list[Mapping]]:
  groups: dict[tuple, list[Mapping]] = {}
  for row in rows:
    groups.setdefault(tuple(row[field] for field in fields), []).append(row)
  return groups


def _cells(rows, measures) -> str:
  digits = lambda measure: 1 if measure.endswith("psnr") else 2
  return " | ".join(f"{mean:.{digits(measure)}f} ± {error:.{digits(measure)}f}"
                    for measure in measures for mean, error in [mean_and_error([row[measure] for row in rows])])


def mean_and_error(values: list[float]) -> tuple[float, float]:
  """Mean and its standard error, which is NaN of one value."""
  return float(np.mean(values)), float(np.std(values, ddof=1) / len(values)**0.5) if len(values) > 1 else float("nan")


def draw(path: pathlib.Path, known: list[Mapping]) -> None:
  """Every measure against speed, a row for every kind of motion, a line for every method."""
  if not known:
    return
  kinds, measures = list(dict.fromkeys(row["kind"] for row in known)), MEASURES[:4]
  figure, axes = figure_and_axes(len(kinds), len(measures), (3.2 * len(measures), 2.6 * len(kinds)), sharex=True)
  labels = dict(psnr="PSNR, dB", flow_error="flow error, px", blur_psnr="PSNR of 32/1920 s, dB",
                gradient_error="error of the exposure gradient")
  for row_of_axes, kind in zip(axes, kinds):
    for axis, measure in zip(row_of_axes, measures):
      for method in dict.fromkeys(row["method"] for row in known):
        groups = _grouped((row for row in known if (row["kind"], row["method"]) == (kind, method)), "px_per_frame")
        means, deviations = zip(*(mean_and_error([row[measure] for row in rows]) for rows in groups.values()))
        axis.errorbar([speed for speed, in groups], means, deviations, marker="o", markersize=3, label=method)
      axis.set_xscale("log", base=2)
      axis.set_yscale("linear" if measure.endswith("psnr") else "log")
      axis.set_title(f"{kind}: {labels[measure]}", fontsize=9)
      axis.grid(alpha=0.25)
  for axis in axes[-1]:
    axis.set_xlabel("px per source frame", fontsize=9)
  axes[0][0].legend(fontsize=8)
  save(figure, path)


def _parser():
  parser = argparse.ArgumentParser(prog="python -m experiments.interpolation", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--photos", type=pathlib.Path, metavar="FOLDER", help="that are moved")
  parser.add_argument("--clips", type=pathlib.Path, metavar="FOLDER", help="with the clips of CLIPS")
  parser.add_argument("--rife", type=pathlib.Path, metavar="FILE", help="its weights, see `debir_jax.convert`")
  parser.add_argument("--scenes", type=int, default=4, help="of every kind and speed (%(default)s)")
  parser.add_argument("--speeds", type=float, nargs="+", default=(1, 2, 4, 8, 16), metavar="PX",
                      help="mean speeds, px per source frame (%(default)s)")
  parser.add_argument("--crop", type=int, default=128, metavar="PX", help="side of frames of photos (%(default)s)")
  parser.add_argument("--windows", type=int, default=6, help="of every clip (%(default)s)")
  parser.add_argument("--to", type=pathlib.Path, metavar="FOLDER", help="for the results (%(default)s)",
                      default=pathlib.Path(__file__).parent / "results" / "interpolation")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
