"""What storing sequences costs, and how fast they are read: encodings beside each other, on one clip of known motion.

  python -m experiments.reading --photo=../shared/data/photos_clic/FILE.png --to=experiments/results/reading

A photo that moves by 326 px/s, a GoPro's median, is a clip of 1920 frames per second; `debir_jax.scenes.prepare` makes
two sequences of 358 subframes and 256x256 px of it in each encoding. Of each are told:

- size: MiB per sequence;
- read and decode: CPU seconds per sequence of getting a record and decoding its frames, nothing else: the limit;
- host: the same as `PreparedScenes` does it, up to where an accelerator takes over;
- scene: CPU seconds per sequence of all that it does, where a CPU also makes linear light, camera color and mosaic;
- sequences per second by the clock, with `batches` in one thread and in two;
- what is lost: PSNR of the restored instant, of an interpolated subframe, and of the mean of 32 subframes in linear
  light, against the frames that went in.

Beside these: interpolating on the fly, that is reading every eighth frame (lossless) and making the others, by
cross-fade and by flow. CPU seconds hardly depend on what else a machine does; sequences by the clock do.

Written to --to: table.md, scores.json, reading.png.
"""

import argparse
import pathlib
import platform
import sys
import tempfile
import time

import cv2
import jax
import numpy as np

from debir_jax.evaluation.canvas import figure_and_axes, save
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.progress import log
from debir_jax.scenes import batches, frame_codec, image_files, interpolate, prepare
from debir_jax.scenes.batches import BatchOptions
from debir_jax.scenes.prepared import PreparedData, PreparedScenes

_SIZE, _SPEED = (256, 512), 326 / 1920  # px; px per subframe.
_NUM_FRAMES = 361
_TARGET, _BETWEEN = 80, 84
_COLUMNS = dict(
    mib_per_sequence="MiB", read_cpu_s="read, CPU s", decode_cpu_s="decode, CPU s", host_cpu_s="host, CPU s",
    scene_cpu_s="scene, CPU s", host_over_limit="host over limit", over_limit="scene over limit",
    sequences_per_s_1_threads="1 thread, 1/s", sequences_per_s_2_threads="2 threads, 1/s",
    psnr_restored="restored instant, dB", psnr_between="interpolated, dB", psnr_blurred="blur of 32, dB")


def moving_photo(path: pathlib.Path) -> np.ndarray:
  """The frames of the clip, sRGB `[F, 256, 512, 3]`, uint8."""
  photo = image_files.read_pixels(path)
  if photo.shape[0] < _SIZE[0] + 20 or photo.shape[1] < _SIZE[1] + 56:
    raise ValueError(f"{path} has {photo.shape[0]}x{photo.shape[1]} px; 276x568 are needed.")
  shift = lambda k: np.float32([[1, 0, -k * _SPEED], [0, 1, -0.3 * k * _SPEED]])
  return np.stack([cv2.warpAffine(photo, shift(k), _SIZE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
                   for k in range(_NUM_FRAMES)])


def prepared(frames: np.ndarray, folder: pathlib.Path, encoding: str) -> tuple[PreparedData, float]:
  """The data set in an encoding, and the seconds that preparing took."""
  start_s = time.process_time()
  prepare.main(["--dataset=high_fps_video", f"--manual_dir={folder / 'clips'}", f"--data_dir={folder / encoding}",
                f"--encoding={encoding}", "--interpolator=cross_fade", "--num_workers=1"])
  return PreparedData(folder / encoding, "high_fps_video"), time.process_time() - start_s


def write_clips(frames: np.ndarray, folder: pathlib.Path) -> None:
  """The clip in restore, and its first crop in the splits that have to be there."""
  for split in ("restore", "bae", "validation", "test"):
    (folder / split / "clip").mkdir(parents=True)
    for k, frame in enumerate(frames):
      name = folder / split / "clip" / f"{k // 8:06d}_{125 * (k % 8):03d}.png"
      cv2.imwrite(str(name), frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])


def measure(data: PreparedData, frames: np.ndarray) -> dict[str, float]:
  """What the module tells of one encoding."""
  split = data.split("restore")
  source = PreparedScenes(split, crop_size=256, num_subframes=358)
  jax.block_until_ready(source.scene(0).radiance)  # Compiles.
  places = split.places[:len(source)]
  encoded = [split.records[place]["frames"] for place in places]
  size = np.mean([sum(map(len, of_one)) for of_one in encoded]) / 2**20
  read = _cpu_s(lambda place: split.records[place]["frames"], places)
  decode = _cpu_s(lambda of_one: [frame_codec.decode(frame) for frame in of_one], encoded)
  host = _cpu_s(lambda k: source._frames(k, (0, 0)), range(len(source)))
  scene = _cpu_s(lambda k: jax.block_until_ready(source.scene(k).radiance), range(len(source)))
  return dict(mib_per_sequence=size, read_cpu_s=read, decode_cpu_s=decode, host_cpu_s=host,
              scene_cpu_s=scene, host_over_limit=host / (read + decode), over_limit=scene / (read + decode), **{
                  f"sequences_per_s_{threads}_threads": _by_the_clock(source, threads) for threads in (1, 2)},
              **_losses(encoded[0], frames))


def _cpu_s(function, items) -> float:
  start_s = time.process_time()
  for item in items:
    function(item)
  return (time.process_time() - start_s) / len(items)


def _by_the_clock(source, num_threads) -> float:
  stream = batches(source, 2, 0, options=BatchOptions(num_threads=num_threads, num_prefetched=1))
  next(stream)
  start_s = time.perf_counter()
  for _ in range(3):
    next(stream)
  stream.close()
  return 6 / (time.perf_counter() - start_s)


def _losses(encoded, frames) -> dict[str, float]:
  whole = frames[:, :256, :256]
  decoded = np.stack([frame_codec.decode(frame) for frame in encoded])
  linear = lambda pixels: (pixels / 255.0)**2.2
  psnr = lambda one, other: float(-10 * np.log10(max(np.mean((one - other)**2), 1e-12)))
  window = slice(_TARGET, _TARGET + 32)
  return dict(psnr_restored=psnr(decoded[_TARGET] / 255, whole[_TARGET] / 255),
              psnr_between=psnr(decoded[_BETWEEN] / 255, whole[_BETWEEN] / 255),
              psnr_blurred=psnr(linear(decoded[window]).mean(0), linear(whole[window]).mean(0)))


def on_the_fly(frames: np.ndarray, name: str) -> dict[str, float]:
  """Reading every eighth frame as PNG and interpolating the others of one sequence, CPU seconds."""
  crop = frames[:, :256, :256]
  encoded = [frame_codec.encode(frame, "png", is_captured=True) for frame in crop[::8]]
  interpolator = interpolate.interpolator_named(name)

  def sequence(_):
    decoded = [np.float32(frame_codec.decode(frame)) / 255 for frame in encoded]
    return [interpolate.interpolate_pair(interpolator, one, other, 8) for one, other in zip(decoded, decoded[1:])]

  sequence(0)  # Compiles.
  between = sequence(0)[_BETWEEN // 8][_BETWEEN % 8 - 1]
  error = between - crop[_BETWEEN] / 255
  return dict(mib_per_sequence=sum(map(len, encoded)) / 2**20, scene_cpu_s=_cpu_s(sequence, [0]),
              psnr_between=float(-10 * np.log10(np.mean(error**2))))


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  frames = moving_photo(args.photo)
  scores = {}
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    write_clips(frames, folder / "clips")
    for encoding in frame_codec.ENCODINGS:
      data, prepare_s = prepared(frames, folder, encoding)
      scores[encoding] = measure(data, frames) | dict(prepare_cpu_s=prepare_s)
      log(f"{encoding}: {scores[encoding]}")
  for name in ("cross_fade", "flow"):
    scores[f"every eighth frame, {name} when read"] = on_the_fly(frames, name)
  _write(args, scores)


def _write(args, scores) -> None:
  args.to.mkdir(parents=True, exist_ok=True)
  rows = [[name, *(_cell(of_one.get(column)) for column in _COLUMNS)] for name, of_one in scores.items()]
  write_text(args.to / "table.md", "\n".join("| " + " | ".join(row) + " |" for row in (
      ["", *_COLUMNS.values()], ["---"] * (len(_COLUMNS) + 1), *rows)) + "\n")
  write_json(args.to / "scores.json", dict(
      command=f"python -m experiments.reading --photo={args.photo.name}", machine=_machine(), scores=scores))
  figure, ((axes,),) = figure_and_axes(1, 1, (6, 4))
  names = list(frame_codec.ENCODINGS)
  for place, column in enumerate(("decode_cpu_s", "host_cpu_s", "scene_cpu_s")):
    axes.bar(np.arange(len(names)) + 0.27 * (place - 1), [scores[name][column] for name in names], 0.25,
             label=column.replace("_cpu_s", ""))
  axes.set_xticks(range(len(names)), [f"{name}\n{scores[name]['mib_per_sequence']:.1f} MiB" for name in names])
  axes.set_ylabel("CPU s per sequence of 358 x 256 x 256 px")
  axes.legend(frameon=False)
  save(figure, args.to / "reading.png")


def _cell(value) -> str:
  return "" if value is None else "lossless" if value >= 119 else f"{value:.3g}"


def _machine() -> str:
  lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if pathlib.Path("/proc/cpuinfo").exists() else []
  names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
  return f"{len(names) or '?'} cores of {names[0] if names else platform.processor()}, shared with other work"


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m experiments.reading", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--photo", type=pathlib.Path, required=True, help="of 276x568 px or more")
  parser.add_argument("--to", type=pathlib.Path, required=True, help="folder of the results")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
