"""Metering as one file for a device: motion meter and BAENet, from two previews to exposure times.

  python -m debir_jax.camera.export --out metering.mlir --size 256
  python -m debir_jax.camera.export --out metering.tflite --size 256 --converter /path/to/venv/bin/python
  python -m debir_jax.camera.export --out metering.onnx --size 256 --converter /path/to/venv/bin/python

The file runs without this package. StableHLO by `jax.export`; TensorFlow Lite out of that by `litert-converter`,
without TensorFlow; ONNX by `jax2onnx`, which takes minutes. Both converters want older dependencies than ours, so each
lives in an environment of its own:

  python -m venv venv && venv/bin/pip install litert-converter==0.5.0 ai-edge-litert==2.3.0 numpy     # .tflite
  python -m venv venv && venv/bin/pip install jax2onnx==0.17.1 safetensors onnxruntime                # .onnx

Inputs, float32: previews `[2, size, size, 4]` (packed RAW, R Gr Gb B, in [0, 1] after black level, the earlier one
first), preview_gain `[1]`, white_balance `[3]`, ccm `[3, 3]`. Output: exposure times `[n]`, s.
`experiments/camera/on_device.py` and `on_device_onnx.py` run such a file in 30 lines.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.export
import jax.numpy as jnp

from debir_jax.camera.dng import check_new, write_new
from debir_jax.motion import LucasKanade
from debir_jax.policies import observe
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.types import CameraColor
from debir_jax.weights.model import Debir, load

_TO_TFLITE, _TO_ONNX = (pathlib.Path(__file__).with_name(name) for name in ("to_tflite.py", "to_onnx.py"))
_TIMEOUT_S = 3600
_GRID = 32  # Packed px: networks halve the size five times.

Metering = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def main(argv: Sequence[str]) -> None:
  """Reads the options and exports; what is wrong is told in a line, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError):
    run(options)


def run(options: argparse.Namespace) -> None:
  """The command.

  Raises:
    ValueError, OSError: with what is wrong, and the way on.
  """
  path = check_new(options.out, overwrite=options.overwrite)
  if path.suffix not in (".mlir", ".tflite", ".onnx"):
    raise ValueError(f"--out={path} must end with .mlir (StableHLO), .tflite or .onnx.")
  if path.suffix == ".onnx":
    content = onnx_bytes(options.weights, options.size, options.converter)
  else:
    text = stablehlo_text(load(options.weights), options.size)
    content = text.encode() if path.suffix == ".mlir" else tflite_bytes(text, options.converter)
  write_new(path, content, overwrite=options.overwrite)
  print(f"Written: {path}, {len(content) / 1e3:.0f} kB")


def metering_function(model: Debir) -> Metering:
  """(previews `[2, h, w, 4]`, preview_gain `[1]`, white_balance `[3]`, ccm `[3, 3]`) -> exposure times `[n]`, s.

  Raises:
    ValueError: there is no BAENet, or its motion meter has no form without loops.
  """
  if model.policy is None:
    raise ValueError("These weights hold no BAENet. Give others: --weights.")
  if not isinstance(model.motion.estimator, LucasKanade):
    raise ValueError(f"BAENet's motion is measured by {model.motion.estimator.name}, which cannot be exported yet; "
                     "weights whose motion Lucas-Kanade measures can.")
  motion = dataclasses.replace(model.motion, estimator=dataclasses.replace(model.motion.estimator, unrolled=True))

  def metering(previews, preview_gain, white_balance, ccm):
    color = CameraColor(white_balance=white_balance, ccm=ccm)
    observation = observe(previews, preview_gain[0], color, motion, model.timing)
    return model.policy(jax.random.key(0), observation, model.timing)

  return metering


def metering_shapes(size: int) -> dict[str, jax.ShapeDtypeStruct]:
  """The function's arguments by name, in order, for square previews of a size in packed px.

  Raises:
    ValueError: there is no such size.
  """
  if size < _GRID or size % _GRID:
    raise ValueError(f"--size={size} must be a multiple of {_GRID} packed px.")
  shapes = dict(previews=(2, size, size, 4), preview_gain=(1,), white_balance=(3,), ccm=(3, 3))
  return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def stablehlo_text(model: Debir, size: int) -> str:
  """The function for square previews of a size in packed px, as text of StableHLO, weights and all.

  Raises:
    ValueError: there is no such function, or no such size.
  """
  shapes = metering_shapes(size).values()
  return jax.export.export(jax.jit(metering_function(model)), platforms=["cpu"])(*shapes).mlir_module()


def tflite_bytes(text: str, python: str | None) -> bytes:
  """A file for TensorFlow Lite.

  Args:
    text: of StableHLO.
    python: of the environment that `litert-converter` is in.

  Raises:
    ValueError: there is none, or it failed; with its last words.
  """
  with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder, "metering.mlir")
    source.write_text(text)
    return _converted(python, _TO_TFLITE, [str(source)])


def onnx_bytes(weights: str | None, size: int, python: str | None) -> bytes:
  """A file of ONNX.

  Args:
    weights: see `debir_jax.load`.
    size: side of the previews, packed px.
    python: of the environment that `jax2onnx` is in.

  Raises:
    ValueError: there is no such function or size, or no converter, or it failed; with its last words.
    FileNotFoundError: there are no such weights.
  """
  metering_shapes(size)
  metering_function(load(weights))
  return _converted(python, _TO_ONNX, [weights or "", str(size)])


def _converted(python, script, arguments) -> bytes:
  """What a script writes into the file that its last argument names, in the converter's environment."""
  if python is None:
    raise ValueError("TensorFlow Lite and ONNX need their converter in an environment of its own: "
                     "--converter=venv/bin/python; --help says how to make one.")
  environment = os.environ | dict(PYTHONPATH=str(pathlib.Path(__file__).resolve().parents[2]), JAX_PLATFORMS="cpu")
  with tempfile.TemporaryDirectory() as folder:
    target = pathlib.Path(folder, "metering")
    try:
      done = subprocess.run([python, str(script), *arguments, str(target)], capture_output=True, text=True,
                            timeout=_TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
      raise ValueError(f"The converter was not done after {_TIMEOUT_S} s.") from error
    if done.returncode or not target.exists():
      raise ValueError(f"The converter failed: {done.stderr.strip()[-500:]}")
    return target.read_bytes()


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.export", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--out", required=True, help="the file to write, .mlir, .tflite or .onnx")
  add("--size", type=int, default=256, help="side of the previews, packed px")
  add("--weights", help="a name, folder or file, see debir_jax.load; default: the package's own")
  add("--converter", help="python of the environment with litert-converter or jax2onnx")
  add("--overwrite", action="store_true", help="replace a file that is there")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
