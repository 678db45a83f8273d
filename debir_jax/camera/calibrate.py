"""Measures the noise of a camera over ISO, from RAW files of it.

  python -m debir_jax.camera.calibrate IMG_*.dng --out camera.json

writes camera.json, which `debir_jax.camera.restore --noise` and `debir_jax.camera.meter --noise` take and whose
`noise_model()` the simulator does, and camera.png, the fit. Best are two frames or more of each of several ISOs, from
a tripod, of something with shadows and lights: files of one ISO and exposure time that show the same are compared with
each other. Single frames do too, with wider intervals; so do the NoiseProfile tags of a phone's files (--source=tags).
Needs `pip install -e ".[camera]"`.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import io
import json
import sys

import numpy as np

from debir_jax.camera.dng import check_new, write_new
from debir_jax.camera.noise_calibration import NoiseCalibration, calibrate, calibration_json
from debir_jax.camera.noise_fit import NoiseFit, NoiseSamples, fit_noise, joined, samples_of_frame, samples_of_pair
from debir_jax.camera.raw_files import read_raw
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.progress import log, with_progress

SOURCES = ("auto", "tags", "pairs", "frames")
_MOST_FILES = 1000
_SAME = 3.0  # Means of blocks of two frames that show the same differ by no more than so much of what noise explains.
_TAG_ERROR = 0.05  # Relative standard error that a tag is taken to have.


def main(argv: Sequence[str]) -> None:
  """Reads the options and measures; what is wrong is told in a line, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError):
    run(options)


def run(options: argparse.Namespace) -> None:
  """The command.

  Raises:
    ValueError, OSError, ImportError: with what is wrong, and the way on.
  """
  if len(options.files) > _MOST_FILES:
    raise ValueError(f"{len(options.files)} files are more than a calibration needs; give {_MOST_FILES} at most.")
  plot_path = f"{options.out.removesuffix('.json')}.png"
  for path in (options.out, plot_path):
    check_new(path, overwrite=options.overwrite)
  frames = (read_raw(path) for path in with_progress(options.files, len(options.files), "files"))
  camera, fits = fits_by_iso(frames, source=options.source, iso=options.iso)
  calibration = calibrate(fits, camera)
  content = calibration_json(calibration, fits)
  write_new(options.out, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode(), overwrite=options.overwrite)
  write_new(plot_path, plot(calibration, fits), overwrite=options.overwrite)
  print(table(fits) + f"\nWritten: {options.out}, {plot_path}")


def fits_by_iso(frames: Iterator[RawFrame], *, source: str = "auto",
                iso: float | None = None) -> tuple[str, dict[float, NoiseFit]]:
  """The camera, and fits of its frames by ISO.

  Args:
    frames: of one camera; those that wait for a partner are held.
    source: what noise is read from: "tags", "pairs" of one ISO and exposure time, single "frames"; "auto": pairs that
      show the same, else frames.
    iso: of frames that do not say it.

  Raises:
    ValueError: frames of several cameras, without ISO, without tags, or that hold too little.
  """
  if source not in SOURCES:
    raise ValueError(f"--source={source}: there are {', '.join(SOURCES)}.")
  camera, last, samples, tags = None, {}, {}, {}
  for frame in frames:
    frame_iso = _iso(frame, iso)
    if camera not in (None, frame.camera):
      raise ValueError(f"{frame.source} is of {frame.camera or 'an unknown camera'}, others are of "
                       f"{camera or 'an unknown one'}: noise is measured camera by camera.")
    camera = frame.camera
    if source == "tags":
      tags.setdefault(frame_iso, []).append(_tag(frame))
      continue
    before = last.pop((frame_iso, frame.exposure_time), None)
    if source == "frames":
      samples.setdefault(frame_iso, []).append(samples_of_frame(frame.packed(), _floor(frame)))
    elif before is not None:  # Pairs have no frame in common, so that their noise is independent.
      samples.setdefault(frame_iso, []).append(_samples_of_two(before, frame, source))
    else:
      last[frame_iso, frame.exposure_time] = frame
  _add_single(samples, last, source)
  fits = {of_iso: _fit_of_tags(found) for of_iso, found in tags.items()}
  return camera or "", fits | {of_iso: fit_noise(joined(found)) for of_iso, found in samples.items()}


def table(fits: Mapping[float, NoiseFit]) -> str:
  """Fits with their intervals, in Markdown."""
  rows = ["| ISO | shot noise | 95 % | read variance | 95 % |", "|---|---|---|---|---|"]
  for iso, fit in sorted(fits.items()):
    rows.append(f"| {iso:g} | {fit.shot_noise:.3g} | {fit.shot_interval[0]:.3g} to {fit.shot_interval[1]:.3g} | "
                f"{fit.read_variance:.3g} | {fit.read_interval[0]:.3g} to {fit.read_interval[1]:.3g} |")
  return "\n".join(rows)


def plot(calibration: NoiseCalibration, fits: Mapping[float, NoiseFit]) -> bytes:
  """A PNG: both numbers over ISO with their intervals and the curve through them."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(8, 3.2), layout="constrained")
  isos = np.array(sorted(fits))
  curve = np.geomspace(isos[0] / 1.2, isos[-1] * 1.2, 100)
  profiles = [calibration.profile_at(iso) for iso in curve]
  for axes, name, label in zip(figure.subplots(1, 2), ("shot", "read"), ("shot_noise", "read_variance")):
    values = np.array([getattr(fits[iso], label) for iso in isos])
    low, high = np.array([getattr(fits[iso], f"{name}_interval") for iso in isos]).T
    axes.errorbar(isos, values, [values - low, high - values], fmt="o", capsize=3, label="measured, 95 %")
    axes.plot(curve, [getattr(profile, label) for profile in profiles], label="fit")
    axes.set(xscale="log", xlabel="ISO", ylabel=label.replace("_", " ") + ", white = 1", title=calibration.camera)
    axes.legend()
  file = io.BytesIO()
  figure.savefig(file, dpi=120, format="png")
  return file.getvalue()


def _iso(frame, given) -> float:
  if frame.iso is None and given is None:
    raise ValueError(f"{frame.source} does not say its ISO. Give it: --iso=100 (of all files).")
  return float(frame.iso or given)


def _tag(frame):
  if frame.noise is None:
    raise ValueError(f"{frame.source} has no NoiseProfile. Measure its noise: --source=auto.")
  return frame.noise


def _samples_of_two(before, frame, source) -> NoiseSamples:
  """Of a pair that shows the same; else of the single frames."""
  floor = _floor(frame)
  first, second = before.packed(), frame.packed()
  if source == "pairs" or _shows_same(first, second):
    return samples_of_pair(first, second, floor)
  log(f"  {before.source} and {frame.source} do not show the same, and are measured one by one.")
  return joined([samples_of_frame(first, floor), samples_of_frame(second, floor)])


def _shows_same(first, second) -> bool:
  """Whether means of blocks differ by no more than noise explains."""
  if first.shape != second.shape:
    return False
  height, width = (side // 8 * 8 for side in first.shape[:2])
  difference = (first - second)[:height, :width]
  of_blocks = difference.reshape(height // 8, 8, width // 8, 8, 4).mean((1, 3))
  typical = lambda values: np.median(np.abs(values - np.median(values)))
  return bool(typical(of_blocks) * 8 < _SAME * typical(difference) and height and width)


def _floor(frame) -> float:
  return -min(frame.black_levels) / (frame.white_level - min(frame.black_levels))


def _add_single(samples, last, source):
  """Frames that found no partner."""
  if source == "pairs" and last and not samples:
    raise ValueError("No two files are of one ISO and exposure time. Take pairs, or measure single frames: "
                     "--source=frames.")
  for (iso, _), frame in last.items():
    if iso not in samples:  # Beside pairs they say little, and less rightly.
      samples.setdefault(iso, []).append(samples_of_frame(frame.packed(), _floor(frame)))


def _fit_of_tags(profiles) -> NoiseFit:
  """What tags say, with the error that they are taken to have."""
  values = np.array([(profile.shot_noise, profile.read_variance) for profile in profiles]).mean(0)
  errors = _TAG_ERROR * values
  intervals = [(value - 2 * error, value + 2 * error) for value, error in zip(values, errors)]
  return NoiseFit(shot_noise=values[0], read_variance=values[1], shot_interval=intervals[0],
                  read_interval=intervals[1], covariance=np.diag(errors**2 + 1e-30), signals=np.zeros(0),
                  variances=np.zeros(0))


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.calibrate", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("files", nargs="+", help="RAW files of one camera")
  add("--out", required=True, help="the JSON file to write")
  add("--source", default="auto", help=", ".join(SOURCES))
  add("--iso", type=float, help="of files that do not say it")
  add("--overwrite", action="store_true", help="replace results that are there")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
