"""Where motion between frames breaks restoring, and what coarse alignment changes: PSNR by the speed of the camera.

  python -m experiments.camera.alignment --weights WEIGHTS --to experiments/results/camera/alignment

Simulated bursts under bracketing of built-in photos in motion, restored by tiles without coarse alignment ("none"),
always with it ("coarse"), and as the frames say ("auto"), which is what `debir_jax.camera.restore` does. Errors are one
standard error over the scenes; differences are paired.
"""

import argparse
import io
import pathlib
import warnings

import numpy as np

from debir_jax.camera.cameras import capture_starts_s, take_burst
from debir_jax.camera.coarse_motion import find_coarse_motion
from debir_jax.camera.demo import psnr_inside
from debir_jax.camera.limits import CameraLimits
from debir_jax.camera.meter import meter
from debir_jax.camera.real_burst import real_burst
from debir_jax.camera.restore import ALIGNMENTS, restore_frames
from debir_jax.camera.simulated_camera import SimulatedCamera
from debir_jax.runtime.files import write_bytes, write_json, write_text
from debir_jax.runtime.progress import log
from debir_jax.scenes import builtin_photos, moving_photo
from debir_jax.simulator import IsoNoise, target_of
from debir_jax.weights.model import Debir, load


def measure(model: Debir, speed_px_s: float, seed: int, size: int) -> dict[str, float]:
  """PSNR, dB, of one scene by alignment, of its first frame, and how far its frames lie apart, packed px."""
  scene = moving_photo(builtin_photos(), size, speed_px_s, model.timing, seed=seed)
  camera = SimulatedCamera(scene=scene, timing=model.timing, noise_model=IsoNoise(), limits=CameraLimits(), seed=seed)
  capture = take_burst(camera, meter(model, camera.previews(), camera.limits, policy="bracket"))
  truth = np.asarray(target_of(scene.radiance, model.timing))
  burst = real_burst(capture.frames, starts_s=capture_starts_s(capture.plan))
  scores = {alignment: psnr_inside(restore_frames(model, burst, alignment=alignment).packed(), truth)
            for alignment in ALIGNMENTS}
  apart_px = find_coarse_motion(burst.frames, burst.scales).largest_px
  return scores | dict(frame=psnr_inside(capture.frames[0].packed(), truth), apart_px=apart_px)


def summary(rows: list[dict]) -> str:
  """A table by speed, in Markdown."""
  lines = ["| speed, mosaic px/s | frames apart, packed px | first frame | none | coarse - none | auto - none |",
           "|" + 6 * "---|"]
  for speed in sorted({row["speed_px_s"] for row in rows}):
    of_speed = [row for row in rows if row["speed_px_s"] == speed]
    column = lambda name: np.array([row[name] for row in of_speed])
    within = lambda values: f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"
    lines.append(f"| {speed:g} | {column('apart_px').mean():.0f} | {column('frame').mean():.2f} | "
                 f"{within(column('none'))} | {within(column('coarse') - column('none'))} | "
                 f"{within(column('auto') - column('none'))} |")
  return "\n".join(lines) + "\n"


def figure(rows: list[dict]) -> bytes:
  """A PNG: gain over no coarse alignment against how far the frames lie apart, of every scene."""
  from matplotlib.figure import Figure
  drawn = Figure(figsize=(5, 3.4), layout="constrained")
  axes = drawn.subplots()
  apart = [row["apart_px"] for row in rows]
  for name, marker in (("coarse", "x"), ("auto", "o")):
    axes.plot(apart, [row[name] - row["none"] for row in rows], marker, label=name, fillstyle="none")
  axes.axhline(0, color="grey", linewidth=0.8)
  axes.set(xscale="log", xlabel="frames apart, packed px", ylabel="PSNR over none, dB")
  axes.xaxis.set_minor_formatter("")  # Numbers of its own would lie over each other.
  axes.set_xticks([tick for tick in (2, 5, 10, 20, 50, 100) if min(apart) / 1.5 < tick < 1.5 * max(apart)])
  axes.xaxis.set_major_formatter("{x:g}")
  axes.legend()
  file = io.BytesIO()
  drawn.savefig(file, dpi=120, format="png")
  return file.getvalue()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--weights")
  parser.add_argument("--to", type=pathlib.Path, required=True)
  parser.add_argument("--speeds", type=float, nargs="+", default=[90, 360, 1000, 2000])
  parser.add_argument("--scenes", type=int, default=8)
  parser.add_argument("--size", type=int, default=320)
  options = parser.parse_args()
  warnings.simplefilter("ignore")
  model, rows = load(options.weights), []
  options.to.mkdir(parents=True, exist_ok=True)
  for seed in range(options.scenes):
    for speed in options.speeds:
      rows.append(dict(speed_px_s=speed, seed=seed) | measure(model, speed, seed, options.size))
      log(str(rows[-1]))
    write_json(options.to / "alignment.json", dict(
        command=f"python -m experiments.camera.alignment --weights WEIGHTS --size {options.size}",
        restorer=model.description["restorer"]["architecture"], rows=rows))
    if seed:
      write_text(options.to / "table.md", summary(rows))
      write_bytes(options.to / "alignment.png", figure(rows))
  print(summary(rows))


if __name__ == "__main__":
  main()
