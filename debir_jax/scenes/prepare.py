"""Makes a data set of sequences, 1920 subframes per second, out of clips that were downloaded or taken.

  python -m debir_jax.scenes.prepare --dataset=gopro_debir --manual_dir=GOPRO_Large_all --data_dir=data
  python -m debir_jax.scenes.prepare --dataset=realblur_debir --manual_dir=RealBlur --data_dir=data
  python -m debir_jax.scenes.prepare --dataset=high_fps_video --manual_dir=my_clips --data_dir=data [--fps=240]

then python -m debir_jax.main --config=... --config.data.source=gopro_debir+realblur_debir --config.data.data_dir=data

What every clip is and how fast it was captured is shown first. Clips are worked on in parallel (--num_workers), or over
machines that share the file system (--runner=beam, with Apache Beam's own options in --beam_options). A command that
was stopped, or that ended as the disk was full, goes on where it was: clip by clip.
"""

import argparse
from collections.abc import Sequence
from concurrent import futures
import contextlib
import functools
import io
import multiprocessing
import os
import pathlib
import sys
import time

from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path
from debir_jax.runtime.progress import log
from debir_jax.scenes import frame_codec, recordings, shards, windows
from debir_jax.scenes.shards import Settings, Shard, Written
from debir_jax.types import SUBFRAME_RATE_HZ

DATASETS = ("gopro_debir", "realblur_debir", "high_fps_video")


def main(argv: Sequence[str]) -> None:
  """See the module."""
  args = _parser().parse_args(argv)
  with told_in_a_line(ImportError, OSError, ValueError, AssertionError):  # TFDS asserts that folders are there.
    prepare(args)


def prepare(args: argparse.Namespace) -> None:
  """Prepares a data set and tells its counts; see `main` for the arguments.

  Raises:
    ValueError: what is asked for cannot be, or the data set is there with other settings.
  """
  import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top

  from debir_jax.scenes import builders  # pylint: disable=g-import-not-at-top
  manual_dir, data_dir = (local_path(getattr(args, name), f"--{name}") for name in ("manual_dir", "data_dir"))
  if not manual_dir.is_dir():
    raise ValueError(f"--manual_dir={manual_dir} is not a folder. "
                     f"{builders.BUILDERS[args.dataset].MANUAL_DOWNLOAD_INSTRUCTIONS}")
  data_dir.mkdir(parents=True, exist_ok=True)
  settings = Settings(**{name: getattr(args, name) for name in (
      "crop_size", "starts", "encoding", "interpolator", "weights", "reduction", "on_unreadable")})
  of_clips = dict(rates=recordings.Rates.parse(args.fps), seed=args.seed) if args.dataset == "high_fps_video" else {}
  make = functools.partial(make_shards, num_workers=args.num_workers or _usual_workers(), runner=args.runner,
                           beam_options=args.beam_options)
  builder = builders.BUILDERS[args.dataset](settings=settings, data_dir=str(data_dir), make_shards=make, **of_clips)
  if pathlib.Path(builder.data_dir, "dataset_info.json").exists():
    _check_same(builder)
    log(f"{builder.data_dir} is there already.")
  else:
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download.
      builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir)))
  check(builder)
  log(summary(builder))


def make_shards(wanted: Sequence[Shard], settings: Settings, folder: pathlib.Path, *, num_workers: int = 1,
                runner: str = "processes", beam_options: str = "") -> list[Written]:
  """Makes all shards that are not there yet, in parallel; tells what they are made of, and how it goes on.

  Args:
    wanted: the shards.
    settings: of the data set.
    folder: for their files; with Beam on several machines a folder that all of them see.
    num_workers: processes, each for one clip at a time.
    runner: "processes", or "beam".
    beam_options: options of Apache Beam, as on its command line.
  """
  for shard in wanted:
    for recording in shard.recordings if len(shard.recordings) == 1 else ():
      log(f"  {shard.split:<10} {recording}{_interpolation(recording)}")
  missing = [shard for shard in wanted if shards.finished(shard, folder) is None]
  if len(missing) < len(wanted):
    log(f"{len(wanted) - len(missing)} of {len(wanted)} shards are there already.")
  make = functools.partial(shards.write_shard, settings=settings, folder=folder)
  if runner == "beam":
    _by_beam(missing, make, beam_options)
  else:
    _by_processes(missing, make, min(num_workers, len(missing)))
  return [shards.finished(shard, folder) for shard in wanted]


def check(builder) -> None:
  """Raises ValueError unless every split has as many records as it says, and the first and last can be decoded."""
  told = builder.info.metadata["sequences"]
  for split, info in builder.info.splits.items():
    source = builder.as_data_source(split=split)
    if not len(source) == info.num_examples == len(told[split]):
      raise ValueError(f"{builder.data_dir}: the split {split} has {len(source)} records, {info.num_examples} by its "
                       f"info and {len(told[split])} by its metadata. Remove the folder and prepare it again.")
    for place in (0, len(source) - 1):
      example, entry = source[place], told[split][place]
      size = frame_codec.decode(example["frames"][0]).shape[:2]
      if size != (entry["height"], entry["width"]) or example["start"] != entry["start"]:
        raise ValueError(f"{builder.data_dir}: record {place} of the split {split} is not what the metadata tells. "
                         "Remove the folder and prepare it again.")


def summary(builder) -> str:
  """Counts and sizes of the splits, a line each."""
  clips = builder.info.metadata["clips"]
  lines = [f"{builder.data_dir}:"]
  for split, info in builder.info.splits.items():
    lines.append(f"  {split:<10} {info.num_examples:>6} sequences of {len(clips[split])} recordings, "
                 f"{info.num_bytes / 2**20:.1f} MiB")
    lines += [f"    {clip['name']} gives none: {clip['num_subframes']} subframes, a window needs "
              f"{shards.LONG_SUBFRAMES} without a gap"
              for clip in clips[split] if not clip["num_sequences"]]
  return "\n".join(lines)


def _check_same(builder) -> None:
  told = builder.info.metadata
  if (told.get("settings"), told.get("stated")) != (builder.settings.description, builder._stated()):
    raise ValueError(f"{builder.data_dir} was prepared with other settings: {told.get('settings')}, "
                     f"{told.get('stated')}. Choose another --data_dir, or remove that folder.")


def _interpolation(recording) -> str:
  if recording.is_static:
    return ""
  factor = SUBFRAME_RATE_HZ / recording.rate_hz
  text = ", taken as it is" if round(factor) == 1 else f", interpolated by {factor:.4g}"
  return text + (" (COARSE: fast motion between its frames is guessed)" if recordings.coarse(recording) else "")


def _usual_workers() -> int:
  import jax  # pylint: disable=g-import-not-at-top
  return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


def _by_processes(missing, make, num_workers) -> None:
  start_s = time.monotonic()
  if num_workers <= 1:
    done = map(make, missing)
    for count, (shard, _) in enumerate(zip(missing, done), 1):
      _tell(shard, count, len(missing), start_s)
    return
  # Fresh processes: JAX does not survive a fork.
  with futures.ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
    running = {pool.submit(make, shard): shard for shard in missing}
    try:
      for count, future in enumerate(futures.as_completed(running), 1):
        future.result()
        _tell(running[future], count, len(missing), start_s)
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise


def _by_beam(missing, make, beam_options) -> None:
  try:
    import apache_beam as beam  # pylint: disable=g-import-not-at-top
    from apache_beam.options.pipeline_options import PipelineOptions  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise ImportError("--runner=beam needs Apache Beam. Install it: pip install -e \".[beam]\".") from error
  with beam.Pipeline(options=PipelineOptions(beam_options.split())) as pipeline:
    _ = pipeline | beam.Create(missing) | beam.Reshuffle() | beam.Map(lambda shard: make(shard).path.name)


def _tell(shard, count, total, start_s) -> None:
  passed_s = time.monotonic() - start_s
  log(f"  {count}/{total} {shard.split} {shard.name}: {passed_s:.0f} s, about "
      f"{passed_s / count * (total - count):.0f} s left")


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.scenes.prepare", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add, default = parser.add_argument, Settings()
  add("--dataset", required=True, choices=DATASETS)
  add("--manual_dir", required=True, metavar="FOLDER", help="where the downloaded data set, or your clips, are")
  add("--data_dir", default="~/debir_data", metavar="FOLDER", help="for prepared data sets (%(default)s)")
  add("--fps", default="", metavar="RATE", help="true frames per second of the clips of high_fps_video, where files do "
      "not tell or lie: 240, or NAME=RATE joined by commas")
  add("--interpolator", default=default.interpolator, choices=shards.interpolate.INTERPOLATORS,
      help="of frames in between (%(default)s)")
  add("--weights", default="", metavar="FILE", help="of the interpolator rife, made by python -m debir_jax.convert")
  add("--encoding", default=default.encoding, choices=frame_codec.ENCODINGS,
      help="mixed: captured frames lossless, interpolated ones as JPEG (%(default)s)")
  add("--starts", default=default.starts, choices=windows.STARTS,
      help="captured: what is restored is a captured frame; release: every 179 subframes (%(default)s)")
  add("--crop_size", type=int, default=default.crop_size, help="side of the crops, px (%(default)s)")
  add("--reduction", type=int, default=default.reduction,
      help="reduce frames by this number first: compressed video of phones wants 2 (%(default)s)")
  add("--on_unreadable", default=default.on_unreadable, choices=("stop", "skip"),
      help="skip: leave out frames that cannot be read, and cut the clip there (%(default)s)")
  add("--seed", type=int, default=0, help="of the deal of clips to splits (%(default)s)")
  add("--num_workers", type=int, help="processes; default: one per core, or one where an accelerator interpolates")
  add("--runner", default="processes", choices=("processes", "beam"), help="%(default)s")
  add("--beam_options", default="", help="options of Apache Beam, in one argument")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
