"""TFDS builders: `gopro_debir`, `realblur_debir` and `high_fps_video`, without TensorFlow.

  builder = GoproDebir(data_dir="~/data")
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir="~/GOPRO_Large_all"))
  builder.as_data_source(split="restore")[0]["frames"]

An example is a sequence, see `shards`, whose files a builder collects: they are made clip by clip, by `make_shards`,
and linked to their places when all are there. `python -m debir_jax.scenes.prepare` is the command. The order of
examples is that of clips, windows and crops; `metadata.json` tells of each what it shows.
"""

import abc
from collections.abc import Callable, Sequence
import os
import pathlib
import shutil
from typing import Any

import tensorflow_datasets as tfds

from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes import gopro, high_fps, realblur, shards
from debir_jax.scenes.recordings import Rates
from debir_jax.scenes.shards import Settings, Shard, Written

MakeShards = Callable[[Sequence[Shard], Settings, pathlib.Path], list[Written]]


def one_by_one(wanted: Sequence[Shard], settings: Settings, folder: pathlib.Path) -> list[Written]:
  """Makes shards in this process."""
  return [shards.write_shard(shard, settings, folder) for shard in wanted]


class SequencesBuilder(tfds.core.DatasetBuilder):
  """What the three have in common."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}

  def __init__(self, *, settings: Settings = Settings(), make_shards: MakeShards = one_by_one, **of_tfds: Any):
    """
    Args:
      settings: how recordings become sequences.
      make_shards: makes all shards, wherever; what is there already is not made again.
      **of_tfds: see `tfds.core.DatasetBuilder`.
    """
    self.settings, self._make_shards = settings, make_shards
    super().__init__(**of_tfds)
    if not self.info.initialized:  # Else it was read from data_dir.
      self.info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)

  @abc.abstractmethod
  def find_shards(self, folder: pathlib.Path) -> list[Shard]:
    """What the data set is made of, by the folder that a person downloaded or filled."""

  @property
  def unfinished(self) -> pathlib.Path:
    """Folder of the shards until all are there; of other settings it is another one."""
    return pathlib.Path(self.data_path.parent) / f".shards-{fingerprint(self.settings.description, self._stated())}"

  def _stated(self) -> list:
    """What else sequences depend on."""
    return []

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=shards.features(), metadata=tfds.core.MetadataDict(),
                                 description=type(self).__doc__, disable_shuffling=True)

  def _download_and_prepare(self, dl_manager, download_config=None):
    del download_config
    wanted = self.find_shards(pathlib.Path(dl_manager.manual_dir))
    self._check_lengths(wanted)
    self.unfinished.mkdir(parents=True, exist_ok=True)
    made = self._make_shards(wanted, self.settings, self.unfinished)
    by_split = {}
    for shard, written in zip(wanted, made, strict=True):
      by_split.setdefault(shard.split, []).append(written)
    self.info.set_splits(tfds.core.splits.SplitDict(
        [self._collected(split, written) for split, written in by_split.items()]))
    self.info.metadata.update(
        settings=self.settings.description, stated=self._stated(),
        sequences={split: [entry for part in parts for entry in part.sequences] for split, parts in by_split.items()},
        clips={split: [clip for part in parts for clip in part.clips] for split, parts in by_split.items()})

  def _check_lengths(self, wanted):
    """Raises ValueError, before hours of work, where no clip of a split has the frames of a window."""
    by_split = {}
    for shard in wanted:
      by_split.setdefault(shard.split, []).extend(shard.recordings)
    for split, recordings in by_split.items():
      if not any(one.is_static or shards.num_subframes(one) >= shards.LONG_SUBFRAMES for one in recordings):
        self._refuse(split, [one.name for one in recordings])

  def _refuse(self, split, names):
    raise ValueError(f"{self.name}: no sequence for the split {split}. A window needs {shards.LONG_SUBFRAMES} "
                     f"subframes, 0.19 s without a gap, and {', '.join(names)} gave none. Put a longer clip there.")

  def _collected(self, split, written):
    """Shards with a sequence in them under TFDS's names."""
    filled = [part for part in written if part.sequences]
    if not filled:
      self._refuse(split, [clip["name"] for part in written for clip in part.clips])
    template = self._get_filename_template(split_name=split)
    for place, part in enumerate(filled):
      _link(part.path, pathlib.Path(template.sharded_filepath(shard_index=place, num_shards=len(filled))))
    return tfds.core.SplitInfo(
        name=split, shard_lengths=[len(part.sequences) for part in filled],
        num_bytes=sum(part.path.stat().st_size for part in filled), filename_template=template)

  def _post_download_and_prepare_hook(self):
    shutil.rmtree(self.unfinished, ignore_errors=True)

  def _as_dataset(self, split, decoders=None, read_config=None, shuffle_files=False):
    raise NotImplementedError("tf.data does not read ArrayRecord files. Use as_data_source(split=...).")


class GoproDebir(SequencesBuilder):
  """GOPRO_Large_all in the paper's windows and crops, 1920 subframes per second."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = gopro.WHERE

  def find_shards(self, folder: pathlib.Path) -> list[Shard]:
    return gopro.find_shards(folder, self.settings)


class RealblurDebir(SequencesBuilder):
  """Sharp photos of RealBlur-J in the paper's crops: scenes in which nothing moves."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = realblur.WHERE

  def find_shards(self, folder: pathlib.Path) -> list[Shard]:
    return realblur.find_shards(folder, self.settings)


class HighFpsVideo(SequencesBuilder):
  """Clips of one's own, 1920 subframes per second."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = high_fps.WHERE

  def __init__(self, *, rates: Rates = Rates(), seed: int = 0, **shared: Any):
    """
    Args:
      rates: frames per second that a person states.
      seed: of the deal of clips to splits.
      **shared: see `SequencesBuilder`.
    """
    self._rates, self._seed = rates, seed
    super().__init__(**shared)

  def find_shards(self, folder: pathlib.Path) -> list[Shard]:
    return high_fps.find_shards(folder, self.settings, self._rates, self._seed)

  def _stated(self) -> list:
    return [list(map(list, self._rates.by_name)), self._seed]


BUILDERS = dict(gopro_debir=GoproDebir, realblur_debir=RealblurDebir, high_fps_video=HighFpsVideo)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
  """A second name for a file, or a copy where the file system has none: the first stays until all is done."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copyfile(source, target)
