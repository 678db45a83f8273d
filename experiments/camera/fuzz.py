"""Mutated RAW files against the reader: every one is a frame or an UnreadableRawError, and the process survives.

  python -m experiments.camera.fuzz --count 100000 --to runs/camera_fuzz
  python -m experiments.camera.fuzz --raw FILE.CRW --count 1000 --to runs/camera_fuzz_crw

mutates a small DNG of our own, or a file of a camera. Works in processes of its own, so that a crash inside LibRaw is
seen, counted and kept as a file.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import time

from debir_jax.camera.dng import dng_bytes
from debir_jax.camera.raw_files import UnreadableRawError, read_raw
from debir_jax.runtime.files import write_json
from tests.camera.frames import frame

_CHUNK = 2000
_MOST_BYTES = 2**21  # Of a worker's address space, kB.


def mutated(rng: random.Random, content: bytes) -> bytes:
  """Some bytes changed, mostly among the tags; sometimes cut, doubled in parts, or with a number that is extreme."""
  data = bytearray(content)
  tags = len(data) // 50 if rng.random() < 0.2 else 1200  # Where a small DNG has them.
  at_end = content[6:14] == b"HEAPCCDR" and rng.random() < 0.7  # A CRW has them behind its pixels.
  for _ in range(rng.choice((1, 1, 2, 4, 16))):
    place = rng.randrange(min(tags, len(data)))
    place = len(data) - 1 - place if at_end else place
    kind = rng.random()
    if kind < 0.4:
      data[place] = rng.randrange(256)
    elif kind < 0.7:
      value = rng.choice((0, 1, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)))
      data[place:place + 4] = value.to_bytes(4, "little")
    elif kind < 0.8:
      del data[place:place + rng.randrange(1, 64)]
    elif kind < 0.9:
      data[place:place] = data[place:place + rng.randrange(1, 64)]
    else:
      data = data[:rng.randrange(1, len(data) + 1)]
    if not data:
      return b"\0"
  return bytes(data)


def work(start: int, stop: int, folder: pathlib.Path, raw: pathlib.Path | None) -> None:
  """Reads mutations start to stop; says on standard output what became of each."""
  import resource
  resource.setrlimit(resource.RLIMIT_AS, (1024 * _MOST_BYTES, 1024 * _MOST_BYTES))
  content = raw.read_bytes() if raw else dng_bytes(frame(height=24, width=32))
  path = folder / f"mutated{raw.suffix if raw else '.dng'}"
  for index in range(start, stop):
    path.write_bytes(mutated(random.Random(index), content))
    try:
      read_raw(path)
      outcome = "frame"
    except UnreadableRawError:
      outcome = "refused"
    except Exception as error:  # noqa: BLE001  # What is looked for.
      outcome = f"{type(error).__name__}: {error}"[:200]
    print(json.dumps([index, outcome]), flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--count", type=int, default=100_000)
  parser.add_argument("--start", type=int, default=0)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  parser.add_argument("--raw", type=pathlib.Path, metavar="FILE", help="what is mutated (a small DNG of our own)")
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.worker:
    return work(options.start, options.start + options.count, options.to, options.raw)
  options.to.mkdir(parents=True, exist_ok=True)
  counts, found, index, start_s = collections.Counter(), [], options.start, time.monotonic()
  end = options.start + options.count
  while index < end:
    stop = min(index + _CHUNK, end)
    worker = [sys.executable, "-m", "experiments.camera.fuzz", "--worker", "--start", str(index),
              "--count", str(stop - index), "--to", str(options.to)]
    worker += ["--raw", str(options.raw)] if options.raw else []
    done = subprocess.run(worker, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for number, outcome in rows:
      known = outcome in ("frame", "refused")
      counts[outcome if known else "error"] += 1
      found += [] if known else [[number, outcome]]
    index = rows[-1][0] + 1 if rows else index
    if index < stop:  # It died of the next one.
      counts["crash"] += 1
      found.append([index, f"crash, exit code {done.returncode}", done.stderr[-300:]])
      index += 1
    write_json(options.to / "fuzz.json", dict(
        command="python -m experiments.camera.fuzz", num_read=index - options.start, counts=dict(counts),
        found=found[:200], seconds=time.monotonic() - start_s))
  print(dict(counts))


if __name__ == "__main__":
  main()
