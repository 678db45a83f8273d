"""On a GPU: our Triton kernels against what XLA makes of the same operations, and other choices for accelerators.

  python experiments/benchmarks/gpu_kernels.py

Features of a batch of four bursts of the paper's size: 16 frames of 128x128. Prints a table and writes
results/gpu_kernels_<device>.json: medians of three times ten calls, all programs compiled before.

depthwise  The depthwise 3x3 convolution of a feed-forward network, 512 channels, and its gradient: XLA's grouped
           convolution, nine shifted products left to XLA, and our kernels (depthwise_triton.py).
deform     Reading the points of a deformable convolution, 12 frames of 48 channels in 8 groups: gathers of XLA and our
           kernel (deform_triton.py); its gradient, XLA's alone.
feed       A feed-forward network on 96 channels with gradient, its 255 hidden channels as they are or filled up to 256.
attend     Channel attention on 96 channels with gradient.
"""

import argparse
import concurrent.futures
import datetime
import functools
import json
import pathlib
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.kernels import deform_conv, deform_triton, depthwise_conv, depthwise_triton
from debir_jax.restoration import attention

_FOLDER = pathlib.Path(__file__).resolve().parent
_CHANNELS, _HIDDEN = 96, 255
_CALLS = 10
_TRACING = threading.Lock()  # Constants of modules are changed while a program is traced.


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", type=int, default=128, help="height and width of a frame")
  parser.add_argument("--frames", type=int, default=16, help="at once")
  parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
  parser.add_argument("--threads", type=int, default=4, help="that compile")
  parser.add_argument("--out", default=None, help="the JSON file to write")
  args = parser.parse_args()
  if jax.default_backend() != "gpu":
    parser.error(f"This compares kernels for a GPU, and JAX runs on {jax.default_backend()}.")
  device = jax.devices()[0].device_kind
  programs = {(operation, form, dtype): program for dtype in args.dtypes
              for operation, forms in operations(args.frames, args.size, jnp.dtype(dtype)).items()
              for form, program in forms.items()}
  print("compiling ...", flush=True)
  with concurrent.futures.ThreadPoolExecutor(args.threads) as pool:
    compiled = dict(zip(programs, pool.map(lambda program: compile_program(*program), programs.values())))
  rows = []
  print("| operation | type | form | ms | compiled in s | arrays MB | differs by |\n|" + "---|" * 7)
  for (operation, form, dtype), (program, arguments, compile_s) in compiled.items():
    ms, out = median_ms(program, arguments)
    first = next(iter(operations_of(compiled, operation, dtype)))
    difference = relative_difference(out, jax.block_until_ready(first[0](*first[1])))
    arrays_mb = program.memory_analysis().temp_size_in_bytes / 1e6
    rows.append(dict(operation=operation, dtype=dtype, form=form, ms=ms, compile_s=compile_s, arrays_mb=arrays_mb,
                     relative_difference=difference))
    print(f"| {operation} | {dtype} | {form} | {ms:.3f} | {compile_s:.1f} | {arrays_mb:.0f} | {difference:.1e} |",
          flush=True)
  path = pathlib.Path(args.out or _FOLDER / "results" / f"gpu_kernels_{device.replace(' ', '_')}.json")
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(dict(device=device, jax=jax.__version__, date=datetime.date.today().isoformat(),
                                  frames=args.frames, size=args.size, rows=rows), indent=2) + "\n")
  print(f"\n{device}, written to {path}")


def operations(frames: int, size: int, dtype) -> dict[str, dict[str, tuple]]:
  """Operation -> form -> (function, arguments)."""
  normal = lambda index, *shape, dtype=dtype: jax.random.normal(
      jax.random.fold_in(jax.random.key(0), index), shape, jnp.float32).astype(dtype)
  wide, wide_grad = (normal(index, frames, size, size, 512) for index in (1, 2))
  kernel = normal(3, 3, 3, 1, 512) / 3
  images = normal(4, frames * 3 // 4, size, size, 8, 6)
  points = [2 * normal(index, images.shape[0], size * size * 72, dtype=jnp.float32) for index in (5, 6, 7)]
  samples_grad = normal(8, *points[0].shape, 6)
  features = normal(9, frames, size, size, _CHANNELS)
  norm = jnp.ones(_CHANNELS), jnp.zeros(_CHANNELS)
  feed_weights = attention.FeedForwardWeights(
      *norm, normal(10, _CHANNELS, 2 * _HIDDEN) / 10, normal(11, 3, 3, 1, 2 * _HIDDEN) / 3,
      normal(12, _HIDDEN, _CHANNELS) / 16)
  attention_weights = attention.AttentionWeights(
      *norm, normal(13, _CHANNELS, 2 * _CHANNELS) / 10, normal(14, 3, 3, 1, 2 * _CHANNELS) / 3,
      normal(15, _CHANNELS, _CHANNELS) / 10, normal(16, 3, 3, 1, _CHANNELS) / 3, jnp.ones((1, 1, 1)),
      normal(17, _CHANNELS, _CHANNELS) / 10)
  gathers = dict(dilation=2, one_by_one=False)
  return {
      "depthwise": {
          "XLA grouped": (functools.partial(depthwise_conv._library_conv, stride=1), (wide, kernel)),
          "XLA shifted": (_shifted, (wide, kernel)),
          "Triton": (depthwise_triton.conv, (wide, kernel))},
      "depthwise gradient": {
          "XLA grouped": (functools.partial(depthwise_conv._library_conv_transpose, stride=1),
                          (wide, kernel, wide_grad)),
          "Triton": (depthwise_triton.conv_transpose, (wide, kernel, wide_grad))},
      "deform": {
          "XLA gathers": (functools.partial(deform_conv._read_images, **gathers), (images, *points)),
          "Triton": (functools.partial(deform_triton.read_points, dilation=2), (images, *points))},
      "deform gradient": {
          "XLA scatters": (functools.partial(deform_conv._images_transpose, **gathers),
                           (images, *points, samples_grad))},
      "feed": {
          f"filled to multiples of {multiple}": (_with_gradient(attention.feed_forward, _HIDDEN_MULTIPLE=multiple),
                                                 (features, features[::-1], feed_weights)) for multiple in (1, 8)},
      "attend": {"": (_with_gradient(attention.attend), (features, features[::-1], attention_weights))},
  }


def _shifted(x, kernel):
  """Nine shifted products of `[N, H, W, C]`, summed in float32."""
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(jnp.float32)
  height, width = x.shape[1:3]
  return sum(padded[:, row:row + height, column:column + width] * kernel[row, column, 0].astype(jnp.float32)
             for row in range(3) for column in range(3)).astype(x.dtype)


def _with_gradient(fn, **constants):
  """Value and gradients of `fn(images, weights)`, of (images, cotangent, weights); with other constants."""
  def value_and_gradients(images, cotangent, weights):
    before = {name: getattr(attention, name) for name in constants}
    for name, value in constants.items():  # Traced one after the other, so nobody else sees them.
      setattr(attention, name, value)
    try:
      out, vjp = jax.vjp(fn, images, weights)
      return out, vjp(cotangent)
    finally:
      for name, value in before.items():
        setattr(attention, name, value)

  return value_and_gradients


def compile_program(fn, arguments):
  with _TRACING:
    lowered = jax.jit(fn).lower(*arguments)
  start = time.perf_counter()
  return lowered.compile(), arguments, time.perf_counter() - start


def operations_of(compiled, operation, dtype):
  return [entry for (name, _, its_dtype), entry in compiled.items() if (name, its_dtype) == (operation, dtype)]


def median_ms(program, arguments):
  """Median of three times a number of calls, after one to warm up, and what the program returned."""
  out = jax.block_until_ready(program(*arguments))
  times = []
  for _ in range(3):
    start = time.perf_counter()
    for _ in range(_CALLS):
      last = program(*arguments)
    jax.block_until_ready(last)
    times.append((time.perf_counter() - start) / _CALLS)
  return 1e3 * float(np.median(times)), out


def relative_difference(out, expected) -> float:
  """Largest |out - expected| / |expected| of an array, in norms."""
  norm = lambda array: float(jnp.linalg.norm(array.astype(jnp.float32)))
  pairs = zip(jax.tree.leaves(out), jax.tree.leaves(expected))
  return max(norm(ours.astype(jnp.float32) - theirs.astype(jnp.float32)) / max(norm(theirs), 1e-30)
             for ours, theirs in pairs)


if __name__ == "__main__":
  main()
