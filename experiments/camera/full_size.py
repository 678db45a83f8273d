"""Time and memory of restoring four frames of 12 MP by the command, on frames made of a real RAW file.

  python -m experiments.camera.full_size --raw ../shared/data/raw/Canon__PowerShot_S40__CRW_0101.CRW \
      --to experiments/results/camera/full_size

The RAW of 4 MP is mirrored to 12 MP, cut out at shifted places, and made as noisy as the networks' training.
"""

import argparse
import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from debir_jax.camera.dng import write_dng
from debir_jax.camera.raw_files import read_raw
from debir_jax.runtime.files import write_json, write_text
from debir_jax.simulator import IsoNoise
from experiments.camera.export import cpu_name

_SHIFTS = ((0, 0), (6, -14), (13, -25), (19, -40))  # (y, x), packed px.
_GAIN, _DARKER = 700.0, 0.5


def write_frames(raw: pathlib.Path, folder: pathlib.Path, height: int, width: int) -> list[str]:
  """Four frames of a size in packed px."""
  source, rng, paths = read_raw(raw), np.random.default_rng(0), []
  planes = source.packed()
  planes = np.concatenate([planes, planes[::-1]])
  planes = np.clip(_DARKER * np.concatenate([planes, planes[:, ::-1]], 1), 0, 1)
  for number, (y, x) in enumerate(_SHIFTS):
    signal = planes[100 + y:100 + y + height, 100 + x:100 + x + width]
    noise = np.sqrt(np.asarray(IsoNoise().variance(signal, _GAIN))) * rng.standard_normal(signal.shape, np.float32)
    frame = dataclasses.replace(source, exposure_time=1 / 120, iso=100 * _GAIN)
    paths.append(str(folder / f"frame_{number}.dng"))
    write_dng(paths[-1], frame.with_packed(np.clip(signal + noise, -0.03, 1), None))
  return paths


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--raw", type=pathlib.Path, required=True)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  parser.add_argument("--size", type=int, nargs=2, default=(1500, 2000), help="packed px")
  parser.add_argument("--weights", help="see debir_jax.load")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    frames = write_frames(options.raw, pathlib.Path(folder), *options.size)
    weights = ["--weights", options.weights] if options.weights else []
    start_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "debir_jax.camera.restore", *frames, "--out", f"{folder}/restored.dng",
                    *weights], check=True)
    wall_s, used = time.monotonic() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
  row = dict(height=2 * options.size[0], width=2 * options.size[1], num_frames=len(frames), wall_s=wall_s,
             cpu_s=used.ru_utime + used.ru_stime, peak_gib=used.ru_maxrss / 2**20, load_average=os.getloadavg()[0])
  options.to.mkdir(parents=True, exist_ok=True)
  write_json(options.to / "full_size.json", dict(
      command="python -m experiments.camera.full_size", weights=options.weights or "default", cpu=cpu_name(), **row))
  table = ("| frames | wall time | CPU time | peak memory | load average |\n|---|---|---|---|---|\n"
           f"| {row['num_frames']} of {row['height']}x{row['width']} px | {wall_s:.0f} s | {row['cpu_s']:.0f} s | "
           f"{row['peak_gib']:.2f} GiB | {row['load_average']:.1f} |\n")
  write_text(options.to / "table.md", table)
  print(table)


if __name__ == "__main__":
  main()
