r"""The exported metering against the package's own: differences on random previews, sizes, latency.

  python -m experiments.camera.export --converter venv/bin/python --to experiments/results/camera/export
  python -m experiments.camera.export --format onnx --sizes 64 --converter venv/bin/python \
      --to experiments/results/camera/export_onnx

The converters' environments are those of `debir_jax.camera.export`; they also run the file, by `on_device.py` and
`on_device_onnx.py`.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import numpy as np

import debir_jax
from debir_jax.camera.export import onnx_bytes, stablehlo_text, tflite_bytes
from debir_jax.runtime.files import write_json, write_text

_ON_DEVICE = dict(tflite="on_device.py", onnx="on_device_onnx.py")


def random_previews(size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Previews `[count, 2, size, size, 4]` of random shapes that move, in noise, and gains `[count]` of training."""
  from scipy import ndimage
  rng = np.random.default_rng(seed)
  previews = []
  for _ in range(count):
    image = ndimage.gaussian_filter(rng.standard_normal((size + 16, size + 16)), rng.uniform(1, 8), mode="wrap")
    image = rng.uniform(0.05, 0.4) * (1 + image / np.abs(image).max())
    y, x = rng.integers(0, 17, 2)
    pair = np.stack([image[8:-8, 8:-8], image[y:y + size, x:x + size]])[..., None]
    noise = rng.uniform(0.02, 0.15) * rng.standard_normal((2, size, size, 4))
    previews.append(np.clip(pair * rng.uniform(0.5, 1, 4) + noise, 0, 1))
  return np.array(previews, np.float32), rng.uniform(512, 1024, count).astype(np.float32)


def measure(size: int, count: int, converter: str, seed: int = 0, form: str = "tflite") -> dict:
  """Largest difference in s and relative to the least exposure time, sizes and latency of one size of previews."""
  model = debir_jax.load()
  previews, gains = random_previews(size, count, seed)
  content = (onnx_bytes(None, size, converter) if form == "onnx" else
             tflite_bytes(stablehlo_text(model, size), converter))
  with tempfile.TemporaryDirectory() as folder:
    file, source, target = (pathlib.Path(folder, name) for name in (f"metering.{form}", "in.npz", "out.npz"))
    file.write_bytes(content)
    np.savez(source, previews=previews, preview_gain=gains)
    runner = pathlib.Path(__file__).with_name(_ON_DEVICE[form])
    subprocess.run([converter, str(runner), str(file), str(source), str(target)], check=True, capture_output=True)
    found = dict(np.load(target, allow_pickle=False))
  expected = np.array([model.exposure_times(pair, gain) for pair, gain in zip(previews, gains)])
  difference = np.abs(found["times"] - expected)
  return dict(size_px=size, count=count, seed=seed, form=form, num_bytes=len(content),
              max_difference_s=float(difference.max()), max_relative=float((difference / expected).max()),
              spread_s=float(np.ptp(expected)), latency_ms_median=1e3 * float(np.median(found["latency_s"][3:])),
              latency_ms_p90=1e3 * float(np.quantile(found["latency_s"][3:], 0.9)))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--converter", required=True)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  parser.add_argument("--format", choices=list(_ON_DEVICE), default="tflite")
  parser.add_argument("--count", type=int, default=100)
  parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
  options = parser.parse_args()
  rows = [measure(size, options.count, options.converter, form=options.format) for size in options.sizes]
  options.to.mkdir(parents=True, exist_ok=True)
  write_json(options.to / "export.json", dict(
      command="python -m experiments.camera.export", cpu=cpu_name(), load_average=os.getloadavg(), rows=rows))
  lines = [f"| preview, packed px | {options.format} | largest relative difference of a time | latency, median | p90 |",
           "|---|---|---|---|---|"]
  lines += [f"| {row['size_px']} | {row['num_bytes'] / 1e3:.0f} kB | {row['max_relative']:.1e} | "
            f"{row['latency_ms_median']:.1f} ms | {row['latency_ms_p90']:.1f} ms |" for row in rows]
  write_text(options.to / "table.md", "\n".join(lines) + "\n")
  print("\n".join(lines))


def cpu_name() -> str:
  """How many cores of which processor."""
  names = [line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith("model name")]
  return f"{len(names)} x {names[0]}" if names else "unknown"


if __name__ == "__main__":
  main()
