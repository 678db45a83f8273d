"""What a prepared data set, or a folder of clips, looks like and how it moves: to be looked at before days of training.

  python -m debir_jax.scenes.inspect gopro_debir --data_dir=data --to=runs/inspect
  python -m debir_jax.scenes.inspect my_clips --to=runs/inspect [--fps=240]

Of a data set are written: sheet.png, a contact sheet with the restored instant of scenes of every split; motion.png, a
histogram of the speeds of sequences in px/s beside those of a walk with a GoPro; burst.png and burst.gif, one window at
four exposures of 8, 24, 40 and 56/1920 s, its frames beside and after each other; summary.json with the counts, the
quantiles of the speed and the share of windows that stand still. Of a folder of clips: what each is, how fast it was
captured, how many windows it has, its first frame in sheet.png.

Speeds are of OpenCV's DIS flow between captured frames, 1/120 s or more apart: its mean over the crop, in px of the
stored frames.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
from typing import Any

import cv2
import numpy as np
from PIL import Image

from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path, write_bytes, write_json
from debir_jax.runtime.progress import log, with_progress
from debir_jax.scenes import frame_codec, recordings, windows
from debir_jax.scenes.prepared import PreparedData, PreparedSplit
from debir_jax.types import SUBFRAME_RATE_HZ

SPLITS = ("restore", "bae", "validation", "test")
EXPOSURES = (8, 24, 40, 56)  # Subframes.
STATIC_PX_S = 5.0  # Slower than this counts as still: noise alone is measured as 1 to 3.
QUANTILES = (25, 50, 75, 90)
_TARGET, _FLOW_INTERVAL = 80, 16  # Subframes.
_GAP = 7  # Subframes between the frames of a burst.
_TILE = 160  # px of the contact sheet.
_GIF_MS = 500
# Of `experiments/scene_motion`: a walk with a GoPro, crops of 256 px of frames 1280 px across, px/s.
GOPRO_QUANTILES = {25: 203, 50: 326, 75: 520, 90: 718}


@dataclasses.dataclass(frozen=True)
class Measured:
  """Of some sequences of a split.

  Attributes:
    tiles: the restored instant of each, sRGB, uint8.
    speeds_px_s: mean speed of each; 0 of one in which nothing can move.
  """

  tiles: list[np.ndarray]
  speeds_px_s: list[float]


def measure(split: PreparedSplit, num_sequences: int) -> Measured:
  """Frames and speeds of sequences that are evenly spread over a split."""
  count = min(num_sequences, len(split.places))
  chosen = [split.places[i * len(split.places) // count] for i in range(count)]
  tiles, speeds = [], []
  for place in with_progress(chosen, count, f"sequences of {split.name}"):
    example = split.records[place]
    frames, rate_hz = example["frames"], float(example["capture_rate_hz"])
    tiles.append(in_8_bits(frame_codec.decode(frames[min(_TARGET, len(frames) - 1)])))
    interval = max(_FLOW_INTERVAL, round(SUBFRAME_RATE_HZ / rate_hz)) if rate_hz else 0
    speeds.append(speed_px_s([in_8_bits(frame_codec.decode(frames[k])) for k in (_TARGET, _TARGET + interval)],
                             interval) if interval else 0.0)
  return Measured(tiles, speeds)


def speed_px_s(frames: Sequence[np.ndarray], interval: int) -> float:
  """Mean speed between two frames `[H, W, 3]`, uint8, so many subframes apart."""
  grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
  flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
  return float(np.linalg.norm(flow, axis=-1).mean() * SUBFRAME_RATE_HZ / interval)


def in_8_bits(pixels: np.ndarray) -> np.ndarray:
  """uint8 of uint8 or uint16."""
  return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def burst_of(encoded: Sequence[bytes]) -> list[np.ndarray]:
  """A window at `EXPOSURES`, frame after frame from the restored instant on: means in linear light, sRGB, uint8."""
  start, frames = _TARGET, []
  for exposure in EXPOSURES:
    decoded = [in_8_bits(frame_codec.decode(encoded[k])) for k in range(start, start + exposure)]
    mean = np.mean([_LINEAR[pixels] for pixels in decoded], axis=0)
    encoded_mean = np.where(mean <= 0.0031308, 12.92 * mean, 1.055 * np.maximum(mean, 0.0031308)**(1 / 2.4) - 0.055)
    frames.append(np.round(255 * encoded_mean).astype(np.uint8))
    start += exposure + _GAP
  return frames


_LINEAR = np.where(np.arange(256) <= 0.04045 * 255, np.arange(256) / 255 / 12.92,
                   ((np.arange(256) / 255 + 0.055) / 1.055)**2.4).astype(np.float32)


def contact_sheet(rows: dict[str, list[np.ndarray]], columns: int = 12) -> np.ndarray:
  """Tiles of images in rows that begin with a name, uint8."""
  lines = []
  for name, images in rows.items():
    for begin in range(0, len(images), columns):
      tiles = [_tile(image) for image in images[begin:begin + columns]]
      line = np.full((_TILE + 24, columns * _TILE, 3), 255, np.uint8)
      line[24:, :len(tiles) * _TILE] = np.concatenate(tiles, axis=1)
      cv2.putText(line, name if not begin else "", (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
      lines.append(line)
  return np.concatenate(lines)


def _tile(image) -> np.ndarray:
  scale = _TILE / max(image.shape[:2])
  small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
  tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
  tile[:min(small.shape[0], _TILE), :min(small.shape[1], _TILE)] = small[:_TILE, :_TILE]
  return tile


def summary(data: PreparedData, measured: dict[str, Measured]) -> dict[str, Any]:
  """Counts, quantiles of the speed, and share of still windows, by split."""
  return {split: dict(
      sequences=data.size(split), measured=len(of_split.speeds_px_s),
      groups=len({entry["group"] for entry in data.split(split).entries}),
      speed_px_s={str(q): float(np.percentile(of_split.speeds_px_s, q)) for q in QUANTILES},
      static_fraction=float(np.mean(np.array(of_split.speeds_px_s) < STATIC_PX_S)))
      for split, of_split in measured.items()}


def inspect_data(data: PreparedData, to: pathlib.Path, num_sequences: int) -> None:
  """Writes what the module tells of a data set."""
  measured = {split: measure(data.split(split), num_sequences) for split in SPLITS if data.size(split)}
  told = summary(data, measured)
  _write_png(to / "sheet.png", contact_sheet({
      f"{data.name} {split}: {told[split]['sequences']} sequences": of_split.tiles[:24]
      for split, of_split in measured.items()}))
  _plot_speeds(to / "motion.png", data.name, measured)
  moving = [(speed, split, k) for split, of_split in measured.items() for k, speed in enumerate(of_split.speeds_px_s)]
  _, split, number = sorted(moving)[2 * len(moving) // 3]  # One that moves more than most.
  of_split = data.split(split)
  place = of_split.places[number * len(of_split.places) // len(measured[split].speeds_px_s)]
  frames = of_split.records[place]["frames"]
  if len(frames) > 1:
    _write_burst(to, burst_of(frames))
  write_json(to / "summary.json", dict(data_set=data.name, settings=data.settings, splits=told,
                                       gopro_walk_px_s_of_1280={str(q): v for q, v in GOPRO_QUANTILES.items()}))
  for split, numbers in told.items():
    speeds = " / ".join(f"{value:.0f}" for value in numbers["speed_px_s"].values())
    log(f"  {split:<10} {numbers['sequences']:>6} sequences of {numbers['groups']} groups, {speeds} px/s (25, 50, 75, "
        f"90 % of {numbers['measured']}), {100 * numbers['static_fraction']:.0f} % still")


def inspect_folder(folder: pathlib.Path, to: pathlib.Path, rates: recordings.Rates) -> None:
  """Writes what the module tells of a folder of clips."""
  found, tiles, told = recordings.find_recordings(folder, rates), {}, []
  for recording in found:
    factor = SUBFRAME_RATE_HZ / recording.rate_hz
    count = windows.num_windows(int(round(factor * (recording.num_frames - 1))) + 1)
    log(f"  {recording}, {count} windows{' (coarse)' if recordings.coarse(recording) else ''}")
    told.append(dict(name=recording.name, group=recording.group, rate_hz=recording.rate_hz, windows=count,
                     num_frames=recording.num_frames, size=list(recording.size)))
    tiles.setdefault("first frames", []).append(in_8_bits(next(recording.frames("skip"))[1]))
  _write_png(to / "sheet.png", contact_sheet(tiles))
  write_json(to / "summary.json", dict(folder=folder.name, recordings=told))


def _write_burst(to, frames) -> None:
  names = [f"{exposure}/1920 s" for exposure in EXPOSURES]
  _write_png(to / "burst.png", contact_sheet({", ".join(names): frames}, columns=len(frames)))
  shown = [Image.fromarray(frame) for frame in frames]
  shown[0].save(to / "burst.gif", save_all=True, append_images=shown[1:], duration=_GIF_MS, loop=0)


def _write_png(path, pixels) -> None:
  write_bytes(path, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def _plot_speeds(path, name, measured) -> None:
  from matplotlib.figure import Figure  # pylint: disable=g-import-not-at-top
  edges, figure = np.geomspace(1, 10_000, 41), Figure(figsize=(7, 4), layout="constrained")
  axes = figure.subplots()
  for split, of_split in measured.items():
    axes.hist(np.clip(of_split.speeds_px_s, edges[0], edges[-1]), edges, histtype="step",
              weights=np.full(len(of_split.speeds_px_s), 1 / len(of_split.speeds_px_s)), label=f"{name} {split}")
  for quantile, speed in GOPRO_QUANTILES.items():
    axes.axvline(speed, color="grey", linestyle=":" if quantile != 50 else "--",
                 label="a GoPro on a walk: 25, 50, 75, 90 %, px of 1280 across" if quantile == 50 else None)
  axes.set(xscale="log", xlabel="mean speed of a sequence, px/s", ylabel="share of sequences")
  axes.legend(frameon=False, fontsize="small")
  figure.savefig(path, dpi=120)


def main(argv: Sequence[str]) -> None:
  """See the module."""
  parser = argparse.ArgumentParser(prog="python -m debir_jax.scenes.inspect", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", metavar="NAME_OR_FOLDER", help="a prepared data set, or a folder of clips")
  parser.add_argument("--data_dir", default="~/debir_data", help="where data sets are (%(default)s)")
  parser.add_argument("--to", required=True, metavar="FOLDER", help="for pictures and numbers, new or empty")
  parser.add_argument("--fps", default="", help="of the clips of a folder, see debir_jax.scenes.prepare")
  parser.add_argument("--num_sequences", type=int, default=64, help="of each split that are measured (%(default)s)")
  args = parser.parse_args(argv)
  with told_in_a_line(ImportError, OSError, ValueError):
    to = local_path(args.to, "--to")
    if to.exists() and any(to.iterdir()):
      raise FileExistsError(f"{to} is not empty. Choose another folder, or remove it.")
    if args.num_sequences < 1:
      raise ValueError(f"--num_sequences={args.num_sequences} must be at least 1.")
    folder = local_path(args.what, "NAME_OR_FOLDER")
    data = None if folder.is_dir() else PreparedData(local_path(args.data_dir, "--data_dir"), args.what)
    to.mkdir(parents=True, exist_ok=True)
    if data is None:
      inspect_folder(folder, to, recordings.Rates.parse(args.fps))
    else:
      inspect_data(data, to, args.num_sequences)
  log(f"Written to {to}.")


if __name__ == "__main__":
  main(sys.argv[1:])
