"""What the experiments share: how large they are, their options, and how they end."""

import argparse
import pathlib
import sys
from typing import Callable

import ml_collections

from configs import default, pretrain_small, quickstart, stage2_tuned
from debir_jax.runtime.workdir import use_locks
from debir_jax.training import runner
from debir_jax.weights.shipped import shipped_files
from experiments.networks import of_seed, on_other_scenes

SCALES = ("tiny", "small", "medium", "paper")
_PAPER_CROP_SIZE = 256


def config_of(scale: str, photos: str = "", photo_list: str = "") -> ml_collections.ConfigDict:
  """The config of all stages at a scale, without a comparison, with scenes of folders of photos where they are given.

  tiny: one small step of each stage, to see that everything runs; its numbers say nothing. small: the quickstart's
  networks and scenes. medium: those of `configs/pretrain_small.py`; stage 1, which takes hours, and DEBIR are the
  weights inside the package. paper: the paper's, with the learning rates of `configs/stage2_tuned.py` in stage 2.
  """
  if scale == "paper":
    config, tuned = default.get_config(), stage2_tuned.get_config()
    for section in ("bae_optimizer", "stage2_warmup", "stage2"):
      config[section] = tuned[section]
  elif scale == "medium":
    config = pretrain_small.get_config()
    config.init_from = str(shipped_files("small_stage1")[0].parent)
  else:
    config = quickstart.get_config("debug" if scale == "tiny" else "")
  config.comparison.enabled = False
  config.data.photos = photos or config.data.photos
  config.data.photo_list = photo_list or config.data.photo_list
  return config


def with_crop_size(config: ml_collections.ConfigDict, crop_size: int) -> ml_collections.ConfigDict:
  """The config with scenes of another size in px, as fast in px/s as before: to evaluate on, with batches of one."""
  config = config.copy_and_resolve_references()
  config.data.crop_size, config.batch_size, config.parallel.num_devices = crop_size, 1, 1
  config.data.cache, config.data.cache_dir = False, ""  # Large scenes are seen once, and would fill memory or disk.
  return config


def for_viewing(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The config with scenes as large as the paper's, or four times as large a side as its own."""
  return with_crop_size(config, min(_PAPER_CROP_SIZE, 4 * config.data.crop_size))


def parser(description: str, name: str) -> argparse.ArgumentParser:
  """With the options that every experiment has."""
  found = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=description,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
  found.add_argument("--scale", choices=SCALES, default="small", help="see experiments/scales.py (%(default)s)")
  found.add_argument("--workdir", type=pathlib.Path,
                     help="of all experiments of a scale, which share networks (runs/<scale>)")
  found.add_argument("--photos", default="", metavar="FOLDER",
                     help="photos to make scenes of: folders, with commas between them; from medium on a few hundred, "
                          "others bring seven")
  found.add_argument("--photo_list", default="", metavar="FILE",
                     help="which of them belong to which split, as `python -m debir_jax.scenes.photo_splits` writes it")
  found.add_argument("--seed", type=int, default=0, metavar="N",
                     help="of training (%(default)s): networks and results of another one go into <workdir>/seed_N; "
                          "stage 1 of the weights inside the package is for all. experiments.pooled_seeds puts Table 1 "
                          "of several together")
  found.add_argument("--test_source", default="", metavar="NAME",
                     help="scenes to measure on, see config.data.test_source: for instance high_fps_video, clips of "
                          "yours; results go into <workdir>/on_NAME, networks are those of the workdir")
  found.add_argument("--num_draws", type=int, metavar="N",
                     help="captures of each test scene, with a gain and noise of their own (the config's): small "
                          "differences between networks take several")
  found.add_argument("--lpips", default="", metavar="FILE",
                     help="weights that `python -m debir_jax.convert` made, see debir_jax/evaluation/lpips.py (LPIPS "
                          "is left out)")
  found.add_argument("--data_dir", default="", metavar="FOLDER", help="where prepared data sets are")
  found.add_argument("--nohuge_pages", action="store_true",
                     help="do not start once more to put arrays on huge pages")  # Read by prepare_memory.
  found.add_argument("--nolock_workdir", action="store_true",
                     help="do not keep other runs out of the workdir: for file systems without locks")
  return found


def add_listed_photos(options: argparse.ArgumentParser) -> None:
  """Adds --photos and --photo_list of experiments that have no scale, but measure weights on the photos of a list."""
  options.add_argument("--photos", default="", metavar="FOLDER,FOLDER",
                       help="with the photos of the list (built-in photos)")
  options.add_argument("--photo_list", default="experiments/pretraining/photo_splits.json", metavar="FILE",
                       help="splits (%(default)s)")


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
  """The options of the command line, and in `config` the config that they name."""
  args = options.parse_args()
  use_locks(not args.nolock_workdir)
  args.config = config_of(args.scale, args.photos, args.photo_list)
  args.workdir = (args.workdir or pathlib.Path("runs") / args.scale).expanduser()
  if args.config.data.cache:
    args.config.data.cache_dir = str(args.workdir / "scenes")  # For all networks, which see the same scenes.
  args.config.seed, args.workdir = args.seed, of_seed(args.workdir, args.seed)
  args.config.evaluation.lpips = args.lpips
  if args.num_draws is not None:
    args.config.evaluation.num_draws = args.num_draws
  args.config.data.data_dir = args.data_dir or args.config.data.data_dir
  if args.test_source:
    args.config.data.test_source = args.test_source
    args.workdir = on_other_scenes(args.workdir, args.test_source)
  return args


def main_of(description: str, name: str, run: Callable[[ml_collections.ConfigDict, pathlib.Path], str]) -> Callable:
  """`main()` of an experiment without options of its own: reads the options and runs `run(config, workdir)`."""
  def main() -> None:
    args = parse(parser(description, name))
    report(lambda: run(args.config, args.workdir), args.workdir / name)

  return main


def report(compute: Callable[[], str], workdir: pathlib.Path) -> None:
  """Prints what an experiment found and where it is; what a person can mend comes as one message."""
  try:
    print(f"\n{compute()}\n\nWritten to {workdir}.")
  except runner.USER_ERRORS as error:
    sys.exit(f"Error: {error}")
