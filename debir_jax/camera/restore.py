"""Restores a burst of RAW files into one DNG, in full size and bounded memory.

  python -m debir_jax.camera.restore IMG_1.dng IMG_2.dng IMG_3.dng IMG_4.dng --out restored.dng --png
  python -m debir_jax.camera.restore *.CR2 --out restored.dng --reference=sharpest --noise=camera.json
  python -m debir_jax.camera.restore *.dng --out restored.dng --exposure_times=0.004,0.012,0.02,0.03

Frames come in the order in which they were taken; what is restored is the first of them, or the sharpest. Exposure
times and ISO are those of the files, unless --exposure_times gives them, or --plan: the file that
`debir_jax.camera.meter` wrote and a camera filled in. Needs `pip install -e ".[camera]"`.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import sys
import time
import warnings

import numpy as np

from debir_jax.camera.cameras import CameraError, capture_starts_s
from debir_jax.camera.coarse_motion import find_coarse_motion, no_motion
from debir_jax.camera.dng import check_new, write_dng, write_png, write_tiff
from debir_jax.camera.frame_noise import doubts, model_noise, noise_of
from debir_jax.camera.limits import NS_PER_S
from debir_jax.camera.noise_calibration import NoiseCalibration, read_calibration
from debir_jax.camera.noise_fit import fit_noise, samples_of_frame
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.plan import CapturePlan, read_plan
from debir_jax.camera.raw_files import read_raw
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.camera.real_burst import MOST_FRAMES, RealBurst, real_burst
from debir_jax.camera.tile_restoration import TILE_SIZE, check_model, check_tile_size, restore_burst
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.progress import log
from debir_jax.weights.model import Debir, load

_LOOKED_AT = 512  # Packed px a side, for the noise that is left.
ALIGNMENTS = ("auto", "coarse", "none")


def main(argv: Sequence[str]) -> None:
  """Reads the options and restores; what is wrong is told in a line, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError, CameraError):
    run(options)


def run(options: argparse.Namespace) -> None:
  """The command.

  Raises:
    ValueError, OSError, ImportError: with what is wrong, and the way on.
  """
  views = _views(options)
  for path in (options.out, *views):
    check_new(path, overwrite=options.overwrite)
  if len(options.frames) > MOST_FRAMES:
    raise ValueError(f"{len(options.frames)} files are no burst; give one at a time, {MOST_FRAMES} frames at most.")
  start_s, model = time.monotonic(), load(options.weights)
  frames, starts_s = [read_raw(path) for path in options.frames], None
  if options.plan:
    plan = read_plan(options.plan)
    frames, starts_s = frames_by_plan(frames, plan), capture_starts_s(plan)
  burst = real_burst(frames, exposure_times=options.exposure_times, reference=options.reference,
                     gap_s=options.frame_gap, starts_s=starts_s,
                     preview=options.preview and read_raw(options.preview),
                     profile_of=profiles_by(options.noise and read_calibration(options.noise)))
  restored = restore_frames(model, burst, tile_size=options.tile_size, alignment=options.alignment)
  write_dng(options.out, restored, overwrite=options.overwrite)
  for path, write in views.items():
    write(path, restored, overwrite=options.overwrite)
  height, width = restored.mosaic.shape
  log(f"{options.out}: {height}x{width} px of {len(burst.frames)} frames, in {time.monotonic() - start_s:.0f} s.")


def restore_frames(model: Debir, burst: RealBurst, *, tile_size: int = TILE_SIZE,
                   alignment: str = "auto") -> RawFrame:
  """The reference frame of a burst, restored.

  Args:
    model: with a restorer.
    burst: of real frames.
    tile_size: packed px.
    alignment: "coarse": frames are moved by what reduced frames show before tiles are searched for finer motion;
      "none": they are not; "auto": tile by tile, as frames become more alike.

  Raises:
    ValueError: the frames do not fit the networks.

  Warns:
    UserWarning: the networks were not trained for such frames, by how much.
  """
  num_frames = check_model(model, burst)
  check_tile_size(tile_size)
  if alignment not in ALIGNMENTS:
    raise ValueError(f"--alignment={alignment}: there are {', '.join(ALIGNMENTS)}.")
  profiles = noise_of(burst, model)
  for doubt in doubts(burst, profiles, model):
    warnings.warn(doubt, UserWarning, stacklevel=2)
  coarse = _coarse_motion(burst, alignment)
  image = restore_burst(model, burst, model_noise(profiles, num_frames), coarse, tile_size=tile_size,
                        choose=alignment == "auto")
  return burst.frames[0].with_packed(image, noise_left(image))


def noise_left(image: np.ndarray) -> NoiseProfile | None:
  """What is left of the noise in the middle of an image `[h, w, 4]`, as far as its finest detail shows; None where
  nothing can be said."""
  starts = [max(0, (side - _LOOKED_AT) // 2) for side in image.shape[:2]]
  middle = image[starts[0]:starts[0] + _LOOKED_AT, starts[1]:starts[1] + _LOOKED_AT]
  try:
    return fit_noise(samples_of_frame(middle, 0.0)).profile
  except ValueError:
    return None


def frames_by_plan(frames: Sequence[RawFrame], plan: CapturePlan) -> list[RawFrame]:
  """The frames of the plan's capture, with the exposure times and ISOs that the camera says it used.

  Raises:
    ValueError: there are more or fewer of them than were taken.
  """
  taken = [frame.actual for frame in plan.frames if frame.actual]
  if len(taken) != len(frames):
    raise ValueError(f"By --plan {len(taken)} frames were taken (those with `actual` settings), but {len(frames)} "
                     "files are given. Give the files of the capture, in its order.")
  return [dataclasses.replace(frame, exposure_time=actual.exposure_time_ns / NS_PER_S, iso=float(actual.iso))
          for frame, actual in zip(frames, taken)]


def profiles_by(calibration: NoiseCalibration | None) -> Callable[[RawFrame], NoiseProfile | None]:
  """The noise of a frame: what it says itself, else what a calibration says of its ISO."""
  def profile_of(frame: RawFrame) -> NoiseProfile | None:
    if frame.noise or calibration is None or frame.iso is None:
      return frame.noise
    return calibration.profile_at(frame.iso)

  return profile_of


def _coarse_motion(burst, alignment):
  if alignment == "none":
    return no_motion(len(burst.frames))
  found = find_coarse_motion(burst.frames, burst.scales)
  log(f"  Frames lie up to {found.largest_px:.0f} packed px apart.")
  return found


def _views(options):
  """Pictures beside the DNG and how each is written."""
  stem = options.out.removesuffix(".dng")
  eight = lambda path, frame, overwrite: write_png(path, frame, bits=8, overwrite=overwrite)
  asked = {f"{stem}.png": (options.png, eight), f"{stem}.tiff": (options.tiff, write_tiff)}
  return {path: write for path, (wanted, write) in asked.items() if wanted}


def _times(text: str) -> list[float]:
  return [float(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.restore", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("frames", nargs="+", help="RAW files of one burst, in the order in which they were taken")
  add("--out", required=True, help="the DNG to write")
  add("--png", action="store_true", help="also a PNG of 8 bits beside it, developed")
  add("--tiff", action="store_true", help="also a TIFF of 16 bits beside it, developed")
  add("--weights", help="a name, folder or file, see debir_jax.load; default: the package's own")
  add("--noise", help="the file of debir_jax.camera.calibrate, for frames without NoiseProfile")
  add("--plan", help="the capture plan with what the camera did: its exposure times, ISOs and starts count")
  add("--exposure_times", type=_times, help="s, separated by commas, of files that do not say them")
  add("--preview", help="RAW file of the frame right before the first one, as large: frames are aligned better by it")
  add("--frame_gap", type=float, help="s from the end of an exposure to the start of the next; default: the networks'")
  add("--reference", default="first", help="which frame is restored: first or sharpest")
  add("--alignment", default="auto", help=", ".join(ALIGNMENTS))
  add("--tile_size", type=int, default=TILE_SIZE, help="packed px; smaller ones take less memory")
  add("--overwrite", action="store_true", help="replace results that are there")
  return parser


if __name__ == "__main__":
  warnings.showwarning = lambda message, *_: log(f"Warning: {message}")
  main(sys.argv[1:])
