"""How often the intervals of a noise fit hold what is true, and by how much fits err, on simulated frames.

  python -m experiments.camera.noise_coverage --to experiments/results/camera/noise

200 trials for each camera and source, as the slow test of `tests/camera/noise_fit_test.py` has them; with the fit of a
real camera's single frames beside it, where --raw gives some.
"""

import argparse
import pathlib

import numpy as np

from debir_jax.camera.calibrate import fits_by_iso, plot, table
from debir_jax.camera.noise_calibration import calibrate
from debir_jax.camera.raw_files import read_raw
from debir_jax.runtime.files import write_bytes, write_json, write_text
from tests.camera.noise_fit_test import _CAMERAS, fit_of


def coverage(camera: tuple[float, float], source: str, trials: int) -> dict:
  """Shares of the trials whose intervals hold the truth, and the mean of the fits over it."""
  fits = [fit_of(seed, camera, source) for seed in range(trials)]
  held = np.mean([[low <= true <= high for true, (low, high) in zip(camera, (fit.shot_interval, fit.read_interval))]
                  for fit in fits], 0)
  ratio = np.array([(fit.shot_noise / camera[0], fit.read_variance / camera[1]) for fit in fits])
  return dict(shot_noise=camera[0], read_variance=camera[1], source=source, trials=trials, shot_held=held[0],
              read_held=held[1], shot_mean_ratio=ratio[:, 0].mean(), shot_std=ratio[:, 0].std(),
              read_mean_ratio=ratio[:, 1].mean(), read_std=ratio[:, 1].std())


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  parser.add_argument("--trials", type=int, default=200)
  parser.add_argument("--raw", nargs="*", default=[], help="RAW files of one camera")
  options = parser.parse_args()
  options.to.mkdir(parents=True, exist_ok=True)
  rows = [coverage(camera, source, options.trials) for source in ("pair", "frame") for camera in _CAMERAS]
  plain = [{name: value if isinstance(value, str) else float(value) for name, value in row.items()} for row in rows]
  write_json(options.to / "coverage.json", dict(
      command="python -m experiments.camera.noise_coverage", seeds="0 to trials", rows=plain))
  lines = ["| source | shot noise, read variance | intervals that hold: shot | read | fit over truth: shot | read |",
           "|" + 6 * "---|"]
  lines += [f"| {row['source']} | {row['shot_noise']:g}, {row['read_variance']:g} | {100 * row['shot_held']:.1f} % | "
            f"{100 * row['read_held']:.1f} % | {row['shot_mean_ratio']:.3f} ± {row['shot_std']:.3f} | "
            f"{row['read_mean_ratio']:.2f} ± {row['read_std']:.2f} |" for row in rows]
  text = "\n".join(lines) + f"\n\n{options.trials} trials each; ± is the standard deviation of one fit.\n"
  if options.raw:
    camera, fits = fits_by_iso(read_raw(path) for path in options.raw)
    write_bytes(options.to / "camera.png", plot(calibrate(fits, camera), fits))
    text += f"\nOf {', '.join(pathlib.Path(path).name for path in options.raw)}:\n\n{table(fits)}\n"
  write_text(options.to / "table.md", text)
  print(text)


if __name__ == "__main__":
  main()
