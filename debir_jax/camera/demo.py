"""The whole way on a simulated camera: preview, plan, capture, restore, compare. Under two minutes, with pictures.

  python -m debir_jax.camera.demo --out runs/camera_demo

writes previews and frames as DNG, the plan, restored.dng, and comparison.png: the first frame, the restored image and
the true one. Only there, in a simulation, is the true one known. Needs `pip install -e ".[camera]"`.
"""

import argparse
from collections.abc import Sequence
import io
import json
import pathlib
import sys
import time

import numpy as np

from debir_jax.camera.cameras import Capture, capture_starts_s, take_burst
from debir_jax.camera.dng import srgb_counts, write_dng, write_new
from debir_jax.camera.meter import meter
from debir_jax.camera.plan import plan_json, plan_table
from debir_jax.camera.raw_files import read_raw
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.camera.real_burst import real_burst
from debir_jax.camera.restore import restore_frames
from debir_jax.camera.simulated_camera import SimulatedCamera
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path
from debir_jax.runtime.progress import log
from debir_jax.scenes import builtin_photos, moving_photo
from debir_jax.simulator import IsoNoise, target_of
from debir_jax.weights.model import load

_BORDER = 8  # Packed px that are not measured: there the burst has seen less.


def main(argv: Sequence[str]) -> None:
  """Reads the options and goes all the way; what is wrong is told in a line, not as a traceback."""
  options = parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError, RuntimeError):
    run(options)


def run(options: argparse.Namespace) -> dict[str, float]:
  """The command. Returns PSNR in dB, packed RAW: of the first frame ("frame"), and of the result ("restored").

  Raises:
    ValueError, OSError, ImportError, RuntimeError: with what is wrong, and the way on.
  """
  folder = local_path(options.out, "--out")
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(f"{folder} is not empty. Give another folder.")
  start_s, model = time.monotonic(), load()
  scene = moving_photo(builtin_photos(), options.size, options.speed, model.timing, seed=options.seed)
  with SimulatedCamera(scene=scene, timing=model.timing, noise_model=IsoNoise(), seed=options.seed) as camera:
    previews = camera.previews()
    plan = meter(model, previews, camera.limits)
    print(plan_table(plan))
    capture = take_burst(camera, plan)
  files = _write_frames(folder, previews, capture)
  burst = real_burst([read_raw(path) for path in files], starts_s=capture_starts_s(capture.plan),
                     preview=read_raw(folder / "preview_1.dng"))
  restored = restore_frames(model, burst)
  write_dng(folder / "restored.dng", restored)
  truth = np.asarray(target_of(scene.radiance, model.timing))
  scores = {name: psnr_inside(image.packed(), truth) for name, image in
            (("frame", capture.frames[0]), ("restored", restored))}
  write_new(folder / "comparison.png", comparison(
      [(f"first frame, {scores['frame']:.1f} dB", capture.frames[0]),
       (f"restored, {scores['restored']:.1f} dB", restored), ("true image", restored.with_packed(truth, None))]))
  log(f"{folder}: the first frame has {scores['frame']:.2f} dB, the restored image {scores['restored']:.2f} dB; "
      f"{time.monotonic() - start_s:.0f} s in all.")
  return scores


def psnr_inside(image: np.ndarray, truth: np.ndarray) -> float:
  """PSNR, dB, of packed RAW in [0, 1], without the border."""
  inside = (slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
  error = np.clip(image[inside], 0, 1) - np.clip(truth[inside], 0, 1)
  return float(-10 * np.log10(max(np.mean(error**2), 1e-12)))


def comparison(titled: Sequence[tuple[str, RawFrame]]) -> bytes:
  """A PNG of frames side by side."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(4 * len(titled), 4.3), layout="constrained")
  for axes, (title, frame) in zip(figure.subplots(1, len(titled)), titled):
    axes.imshow(srgb_counts(frame))
    axes.set_title(title)
    axes.axis("off")
  file = io.BytesIO()
  figure.savefig(file, dpi=110, format="png")
  return file.getvalue()


def _write_frames(folder: pathlib.Path, previews: Sequence[RawFrame], capture: Capture) -> list[pathlib.Path]:
  """Everything that a camera would leave; returns the frames' files."""
  for number, preview in enumerate(previews):
    write_dng(folder / f"preview_{number}.dng", preview)
  write_new(folder / "plan.json", (json.dumps(plan_json(capture.plan), indent=2) + "\n").encode())
  files = [folder / f"frame_{number}.dng" for number in range(len(capture.frames))]
  for path, frame in zip(files, capture.frames):
    write_dng(path, frame)
  return files


def parser() -> argparse.ArgumentParser:
  """The options of the command."""
  options = argparse.ArgumentParser(prog="python -m debir_jax.camera.demo", description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
  options.add_argument("--out", default="runs/camera_demo", help="a new folder")
  options.add_argument("--size", type=int, default=256, help="side of the scene, mosaic px, a multiple of 8")
  options.add_argument("--speed", type=float, default=360.0, help="of the camera, mosaic px/s")
  options.add_argument("--seed", type=int, default=0)
  return options


if __name__ == "__main__":
  main(sys.argv[1:])
