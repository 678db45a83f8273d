"""How real clips move, and how our drawn scenes do: speeds, and how far what is seen together moves apart.

  python -m experiments.scene_motion --clips=FOLDER    # about four minutes of one core; no network is trained or run

Networks see crops, and it is pixels per second that blur, so all numbers are in px/s at 1280 px across, the size of
GoPro's frames that the paper trains on: clips of other sizes are scaled to it. A crop is a square window of 256 or 96
of these pixels; whole frames are measured too. Of each crop or frame, and frame pair:

- speed: the mean length of the flow, over the time between the frames;
- spread: the mean distance of the flow from the crop's median flow, over the same time: turning, zooming, parallax and
  what moves on its own.

In clips the flow is measured (OpenCV's DIS, medium preset) between neighbouring frames at their true rate, which is
not always what a file says, see `CLIPS`; where there is nothing to see, as in sky, it says little. Of drawn scenes (the
default `MotionStatistics`, scenes that stand still left out) it is known, and taken over 1/30 s.

Written to --to: table.md and scores.json (quantiles), scene_motion.png (histograms of the crops of 256 px).
"""

import argparse
from collections.abc import Iterator
import dataclasses
import functools
import pathlib
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.canvas import figure_and_axes, save
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.progress import log
from debir_jax.scenes import MotionStatistics, SceneSettings, camera_path, image_files, photo_motion
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming

NETWORK_WIDTH = 1280  # px: the longer side of the frames that the paper trains on.
CROPS = (256, 96)  # px of such frames: of the paper, and of configs/pretrain_small.py.
FRAME = "whole frame"
QUANTILES = (25, 50, 75, 90)  # %
_DRAWN_INTERVAL_S = 1 / 30
_DRAWN_STEP = 8  # px from one place to the next at which the exact flow is taken.
_SPEEDS = np.geomspace(1, 10_000, 41)  # Edges of the histograms, px/s.


@dataclasses.dataclass(frozen=True)
class Clip:
  """A real clip.

  Attributes:
    name: in tables.
    paths: files, or a folder of frames, in the folder of the clips.
    rate_hz: frames per second, as they were captured.
    rate_from: who says so.
  """

  name: str
  paths: tuple[str, ...]
  rate_hz: float
  rate_from: str


CLIPS = (
    Clip("REDS 027, a walk with a GoPro", ("reds_027_x4",), 24.0, "the data set's paper (Nah et al., CVPRW 2019)"),
    Clip("GoPro Max, a walk", ("gopro_max_heromode.mp4",), 29.97, "the file"),
    Clip("GoPro Karma, a drone", ("gopro_karma.mp4",), 29.97, "the file"),
    Clip("a phone swept over a floor", ("fixtures/sample_sef_slow_motion.mp4",), 240.0,
         "its tag com.android.capture.fps; the container says 30"),
    Clip("standing camera, a person walks", ("sports2d_demo.mp4",), 30.0, "the file"),
    Clip("four standing cameras, a person walks", tuple(f"walk60/cam0{i}.mp4" for i in (1, 2, 3, 4)), 60.0, "the file"),
)


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  clips = [clip for clip in CLIPS if all((args.clips / path).exists() for path in clip.paths)]
  if not clips:
    sys.exit(f"Error: {args.clips} has none of the clips {', '.join(path for clip in CLIPS for path in clip.paths)}. "
             "Name their folder by --clips.")
  cv2.setNumThreads(1)
  motions = {}
  for clip in clips:
    log(f"measuring {clip.name} ...")
    motions[clip.name] = of_clip(clip, args.clips, args.pairs)
  for crop in CROPS:
    motions.setdefault("drawn scenes", {})[crop] = of_drawn_scenes(MotionStatistics(static_fraction=0), crop,
                                                                   args.scenes)
  args.to.mkdir(parents=True, exist_ok=True)
  scores = {name: {str(part): summary(*motion) for part, motion in of_name.items()}
            for name, of_name in motions.items()}
  frames = {clip.name: dict(rate_hz=clip.rate_hz, rate_from=clip.rate_from, **_sizes(clip, args.clips))
            for clip in clips}
  table = format_table(scores, frames)
  write_text(args.to / "table.md", table + "\n")
  write_json(args.to / "scores.json", dict(motion=scores, clips=frames))
  draw(args.to / "scene_motion.png", {name: of_name[CROPS[0]] for name, of_name in motions.items()})
  print(table)


def of_clip(clip: Clip, folder: pathlib.Path, num_pairs: int) -> dict[int | str, tuple[np.ndarray, np.ndarray]]:
  """Speed and spread of frame pairs, `[n]` each, px/s at `NETWORK_WIDTH`: of whole frames, and of every crop by side.

  Args:
    clip: what to read.
    folder: of all clips.
    num_pairs: of neighbouring frames, about; evenly spread over the clip.
  """
  found = {part: [] for part in (FRAME, *CROPS)}
  for path in clip.paths:
    num_frames = sum(1 for _ in gray_frames(folder / path))
    every = max(1, len(clip.paths) * (num_frames - 1) // num_pairs)
    before = None
    for index, frame in enumerate(gray_frames(folder / path)):
      if index % every == 1 % every and before is not None:
        scale = NETWORK_WIDTH / max(frame.shape)
        flow = scale * clip.rate_hz * measured_flow(before, frame)
        found[FRAME].append(speed_and_spread(flow[None]))
        for crop in CROPS:
          found[crop].append(speed_and_spread(windows(flow, round(crop / scale))))
      before = frame
  return {part: tuple(np.concatenate(values) for values in zip(*of_part)) for part, of_part in found.items()}


def of_drawn_scenes(statistics: MotionStatistics, crop: int, num_scenes: int) -> tuple[np.ndarray, np.ndarray]:
  """Speed and spread of drawn scenes, three frame pairs of each, `[n]` each, px/s."""
  timing = BurstTiming.paper()
  settings = SceneSettings(crop_size=crop, num_subframes=timing.num_subframes(timing.budget_s), num_scenes=1,
                           statistics=statistics)
  starts_s = jnp.arange(int(settings.num_subframes / SUBFRAME_RATE_HZ / _DRAWN_INTERVAL_S)) * _DRAWN_INTERVAL_S
  positions = camera_path.pixel_positions(crop)[_DRAWN_STEP // 2::_DRAWN_STEP, _DRAWN_STEP // 2::_DRAWN_STEP]

  @jax.jit
  def flow(key):
    params = photo_motion.random_scene_params(key, settings)
    move = functools.partial(photo_motion.motion_field, params, positions)
    return jax.vmap(lambda start_s: move(start_s, start_s + _DRAWN_INTERVAL_S))(starts_s) / _DRAWN_INTERVAL_S

  keys = jax.random.split(jax.random.key(0), num_scenes)
  return speed_and_spread(np.concatenate([flow(key) for key in keys]))


def gray_frames(path: pathlib.Path) -> Iterator[np.ndarray]:
  """Frames of a video or of a folder of images, `[H, W]`, uint8; the longer side at most `NETWORK_WIDTH`.

  Raises:
    ValueError: there is no frame that can be read.
  """
  frame = None
  for frame in _images(path) if path.is_dir() else _video(path):
    scale = NETWORK_WIDTH / max(frame.shape)
    yield cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
  if frame is None:
    raise ValueError(f"{path} has no frames that can be read. Give another folder by --clips.")


def _images(folder):
  for path in sorted(image_files.image_files(folder)):
    yield cv2.cvtColor(image_files.read_pixels(path), cv2.COLOR_RGB2GRAY)


def _video(path):
  reader = cv2.VideoCapture(str(path))
  try:
    while (read := reader.read())[0]:
      yield cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
  finally:
    reader.release()


def measured_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Flow `[H, W, 2]` in px between two frames `[H, W]`, uint8."""
  return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)


def windows(flow: np.ndarray, side: int) -> np.ndarray:
  """Squares `[n, side, side, 2]` that lie side by side in the middle of a flow `[H, W, 2]`; at least one.

  Raises:
    ValueError: the flow is smaller than a window.
  """
  rows, columns = flow.shape[0] // side, flow.shape[1] // side
  if not rows or not columns:
    raise ValueError(f"A flow of {flow.shape[:2]} px has no window of {side} px a side.")
  top, left = (flow.shape[0] - rows * side) // 2, (flow.shape[1] - columns * side) // 2
  cut = flow[top:top + rows * side, left:left + columns * side]
  return cut.reshape(rows, side, columns, side, 2).swapaxes(1, 2).reshape(-1, side, side, 2)


def speed_and_spread(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean length, and mean distance from the median, of each flow `[n, h, w, 2]`: `[n]` both, in its unit."""
  apart = flow - np.median(flow, (1, 2), keepdims=True)
  return tuple(np.linalg.norm(vectors, axis=-1).mean((1, 2)) for vectors in (flow, apart))


def summary(speed: np.ndarray, spread: np.ndarray) -> dict:
  """Quantiles of both in px/s, of spread over speed where anything moves, and how many they are of; JSON."""
  of = lambda values: {str(share): float(np.percentile(values, share)) for share in QUANTILES}
  moving = speed > _SPEEDS[0]
  relative = spread[moving] / speed[moving] if moving.any() else np.full(1, np.nan)
  return dict(speed=of(speed), spread=of(spread), relative_spread=of(relative), number=len(speed))


def format_table(scores: dict, frames: dict) -> str:
  """Markdown: a row for every clip and size of crop, the drawn scenes last, and what the clips are."""
  cells = lambda values, digits: " / ".join(f"{value:.{digits}f}" for value in values.values())
  head = " / ".join(map(str, QUANTILES))
  lines = [f"| | crop, px | number | speed, px/s: {head} % | spread, px/s: {head} % | spread over speed |",
           "| --- | --- | --- | --- | --- | --- |"]
  for part in map(str, (FRAME, *CROPS)):
    for name, of_name in scores.items():
      if row := of_name.get(part):
        lines.append(f"| {name} | {part} | {row['number']} | {cells(row['speed'], 0)} | {cells(row['spread'], 0)} | "
                     f"{cells(row['relative_spread'], 2)} |")
  lines += ["", f"All px are those of a frame of {NETWORK_WIDTH} px across.", "",
            f"| clip | frame, px | its px in one of {NETWORK_WIDTH} across | frames per second, by |",
            "| --- | --- | --- | --- |"]
  for name, of_clip in frames.items():
    lines.append(f"| {name} | {of_clip['width']}x{of_clip['height']} | {of_clip['scale']:.2f} | "
                 f"{of_clip['rate_hz']:g}, {of_clip['rate_from']} |")
  return "\n".join(lines)


def _sizes(clip, folder):
  path = folder / clip.paths[0]
  height, width = next(_images(path) if path.is_dir() else _video(path)).shape
  return dict(width=width, height=height, scale=NETWORK_WIDTH / max(width, height))


def draw(path: pathlib.Path, motions: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
  """Histograms of speed and spread, a row for every clip, with their medians."""
  figure, axes = figure_and_axes(len(motions), 2, (9.0, 0.4 + 1.15 * len(motions)), sharex=True)
  for row, (name, values) in zip(axes, motions.items()):
    color = "tab:orange" if name == "drawn scenes" else "tab:blue"
    for axis, of_kind in zip(row, values):
      shares = np.histogram(np.clip(of_kind, _SPEEDS[0], _SPEEDS[-1]), _SPEEDS)[0] / len(of_kind)
      axis.stairs(100 * shares, _SPEEDS, fill=True, color=color, alpha=0.75)
      median = float(np.median(of_kind))
      axis.axvline(max(median, _SPEEDS[0]), color="black", linewidth=1)
      axis.text(0.985, 0.9, f"median {median:.0f} px/s", transform=axis.transAxes, ha="right", va="top", fontsize=8,
                bbox=dict(facecolor="white", edgecolor="none", pad=1, alpha=0.8))
      axis.set_xscale("log")
      axis.set_ylim(0, 135 * shares.max())  # Room for the text.
      axis.tick_params(labelsize=8)
      axis.grid(alpha=0.25)
    row[0].set_title(name, fontsize=9, loc="left", pad=3)
    row[0].set_ylabel("% of crops", fontsize=8)
  axes[-1][0].set_xlabel(f"speed of a crop of {CROPS[0]} px, px/s; what is below 1 stands at 1", fontsize=9)
  axes[-1][1].set_xlabel("spread within it, px/s", fontsize=9)
  save(figure, path)


def _parser():
  parser = argparse.ArgumentParser(prog="python -m experiments.scene_motion", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--clips", type=pathlib.Path, required=True, metavar="FOLDER",
                      help="with the clips that `CLIPS` names; those that are absent are left out")
  parser.add_argument("--to", type=pathlib.Path, metavar="FOLDER", help="for the results (%(default)s)",
                      default=pathlib.Path(__file__).parent / "results" / "scene_motion")
  parser.add_argument("--pairs", type=int, default=100, help="of frames, about, of a clip (%(default)s)")
  parser.add_argument("--scenes", type=int, default=1000, help="that are drawn (%(default)s)")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
