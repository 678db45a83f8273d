"""Damaged files by the thousand, handed to the readers of videos and of stored frames: nothing may crash or hang.

  python -m experiments.fuzz_readers --clips=../shared/data/clips --to=experiments/results/fuzz_readers

Each case is one of the seeds (the small files of clips/fixtures, and videos of five codecs that are written here), with
one to four mutations: flipped bits, holes of zeros, pieces cut out, doubled or swapped, numbers of a header set to
extremes, a truncated end. A process of its own reads it as preparing does, at most so many frames, and says how that
ended: "read" (as far as can be told), "refused" with an error that names the file, or "other error", which is a fault.
The parent counts what died ("crash") and what took longer than --limit_s ("hang"), and goes on with a new process.

Written to --to: scores.json with the counts by kind of file, and the seeds of all faults.
"""

import argparse
import json
import multiprocessing
import pathlib
import struct
import sys
import tempfile
import time

import numpy as np

from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.progress import log
from debir_jax.scenes import frame_codec, image_files, videos

_MAX_SEED_BYTES = 150_000
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_CODECS = dict(h264="libx264", vp9="libvpx-vp9", mpeg4="mpeg4", mjpeg="mjpeg", ffv1="ffv1")
_OUTCOMES = ("read", "refused", "other error", "crash", "hang")


def seeds(clips: pathlib.Path | None) -> list[tuple[str, bytes]]:
  """(name, content) of whole files."""
  found = [(f"made_{name}.mkv", _video(codec)) for name, codec in _CODECS.items()]
  frame = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
  found += [("made.png", frame_codec.encode(frame, "png", is_captured=True)),
            ("made.jpg", frame_codec.encode(frame, "jpeg", is_captured=False))]
  if clips is not None:
    found += [(path.name, path.read_bytes()) for path in sorted((clips / "fixtures").iterdir())
              if path.suffix.lower() in videos.SUFFIXES and path.stat().st_size <= _MAX_SEED_BYTES]
  return found


def _video(codec) -> bytes:
  import av  # pylint: disable=g-import-not-at-top
  frames = np.random.default_rng(1).integers(0, 256, (6, 48, 64, 3)).astype(np.uint8)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "clip.mkv"
    with av.open(str(path), "w") as container:
      stream = container.add_stream(codec, rate=30)
      stream.width, stream.height = 64, 48
      stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
      for pixels in frames:
        for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
          container.mux(packet)
      for packet in stream.encode():
        container.mux(packet)
    return path.read_bytes()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
  """One to four changes."""
  data = bytearray(content)
  for _ in range(rng.integers(1, 5)):
    if data:
      _MUTATIONS[rng.integers(len(_MUTATIONS))](data, rng)
  return bytes(data)


def _place(data, rng) -> int:
  """Headers are at the beginning or the end of a file, where half of the changes go."""
  near = rng.integers(4)
  length = min(len(data), 4096) if near < 2 else len(data)
  offset = int(rng.integers(length))
  return len(data) - 1 - offset if near == 1 else offset


def _flip(data, rng):
  for _ in range(rng.integers(1, 9)):
    data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _hole(data, rng):
  start = _place(data, rng)
  length = min(int(rng.integers(1, 2000)), len(data) - start)
  data[start:start + length] = bytes(length)


def _noise(data, rng):
  start = _place(data, rng)
  length = min(int(rng.integers(1, 200)), len(data) - start)
  data[start:start + length] = rng.integers(0, 256, length).astype(np.uint8).tobytes()


def _cut(data, rng):
  start = _place(data, rng)
  del data[start:start + int(rng.integers(1, 3000))]


def _double(data, rng):
  start = _place(data, rng)
  data[start:start] = data[start:start + int(rng.integers(1, 3000))]


def _extreme(data, rng):
  start, value = _place(data, rng), _EXTREMES[rng.integers(len(_EXTREMES))]
  data[start:start + 4] = struct.pack(">I" if rng.integers(2) else "<I", value)


def _truncate(data, rng):
  del data[int(rng.integers(1, len(data) + 1)):]


_MUTATIONS = (_flip, _flip, _hole, _noise, _cut, _double, _extreme, _extreme, _truncate)


def read(path: pathlib.Path, content: bytes, max_frames: int) -> str:
  """How reading a file ends: "read", "refused", or "other error" with its text."""
  try:
    if path.suffix in (".png", ".jpg"):
      _read_image(path, content)
    else:
      facts = videos.video_facts(path)
      for _, (_, pixels) in zip(range(max_frames), videos.video_frames(facts, on_damaged="skip")):
        assert pixels.shape == (*facts.size, 3)
  except image_files.UnreadablePhotoError as error:
    return "refused" if path.name in str(error) else f"other error: does not name the file: {error}"
  except Exception as error:  # pylint: disable=broad-except
    return f"other error: {type(error).__name__}: {error}"
  return "read"


def _read_image(path, content) -> None:
  try:
    frame_codec.decode(content)
  except ValueError:
    pass  # What a damaged record is.
  image_files.read_pixels(path)


def case(number: int, all_seeds: list[tuple[str, bytes]], seed: int) -> tuple[str, bytes]:
  """(name of the seed, content) of a case; the same whenever it is asked for."""
  rng = np.random.default_rng([seed, number])
  name, content = all_seeds[rng.integers(len(all_seeds))]
  return name, mutated(content, rng)


def _worker(connection, all_seeds, seed, max_frames) -> None:
  with tempfile.TemporaryDirectory() as folder:
    while (number := connection.recv()) is not None:
      name, content = case(number, all_seeds, seed)
      path = pathlib.Path(folder) / f"case{pathlib.PurePath(name).suffix}"
      path.write_bytes(content)
      connection.send(read(path, content, max_frames))


class _Reader:
  """A process that reads cases, started anew where one killed it."""

  def __init__(self, *settings):
    self._settings, self._process = settings, None

  def outcome(self, number: int, limit_s: float) -> str:
    if self._process is None:
      self._connection, theirs = multiprocessing.get_context("spawn").Pipe()
      self._process = multiprocessing.get_context("spawn").Process(
          target=_worker, args=(theirs, *self._settings), daemon=True)
      self._process.start()
      theirs.close()
      limit_s += 60  # For its imports.
    try:
      self._connection.send(number)
      if self._connection.poll(limit_s):
        return self._connection.recv()
      ended = "hang"
    except (EOFError, OSError):
      ended = "crash"
    self.close()
    return ended

  def close(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.join()
      self._process = None


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  all_seeds, start_s = seeds(args.clips), time.monotonic()
  counts, faults = {name: dict.fromkeys(_OUTCOMES, 0) for name, _ in all_seeds}, []
  reader = _Reader(all_seeds, args.seed, args.max_frames)
  for number in range(args.num_cases):
    ended = reader.outcome(number, args.limit_s)
    name, kind = case(number, all_seeds, args.seed)[0], ended.partition(":")[0]
    counts[name][kind] += 1
    if kind not in ("read", "refused"):
      faults.append(dict(case=number, seed_file=name, ended=ended))
      log(f"  case {number}, {name}: {ended}")
    if number % 1000 == 999:
      log(f"  {number + 1}/{args.num_cases} files, {time.monotonic() - start_s:.0f} s, {len(faults)} faults")
  reader.close()
  _write(args, counts, faults, time.monotonic() - start_s)


def _write(args, counts, faults, wall_s) -> None:
  args.to.mkdir(parents=True, exist_ok=True)
  totals = {outcome: sum(of_file[outcome] for of_file in counts.values()) for outcome in _OUTCOMES}
  write_json(args.to / "scores.json", dict(
      command=f"python -m experiments.fuzz_readers --num_cases={args.num_cases} --seed={args.seed}",
      num_cases=args.num_cases, seed=args.seed, max_frames=args.max_frames, limit_s=args.limit_s, wall_s=round(wall_s),
      totals=totals, by_file=counts, faults=faults))
  lines = ["| file | " + " | ".join(_OUTCOMES) + " |", "| --- |" + " --- |" * len(_OUTCOMES)]
  lines += [f"| {name} | " + " | ".join(str(of_file[outcome]) for outcome in _OUTCOMES) + " |"
            for name, of_file in [*counts.items(), ("all", totals)]]
  write_text(args.to / "table.md", "\n".join(lines) + "\n")
  print(json.dumps(totals))


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m experiments.fuzz_readers", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--clips", type=pathlib.Path, help="folder with fixtures; without it only files made here")
  parser.add_argument("--to", type=pathlib.Path, required=True, help="folder of the results")
  parser.add_argument("--num_cases", type=int, default=10_000)
  parser.add_argument("--max_frames", type=int, default=2, help="of a file that are decoded")
  parser.add_argument("--limit_s", type=float, default=20.0, help="after which a case counts as a hang")
  parser.add_argument("--seed", type=int, default=0)
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
