"""Any folder of clips as a data set: videos, and folders of frames, dealt to the four splits by what they show.

A folder with videos in it is one group, see `recordings`: whole groups are dealt, at least one to each split, by the
seed. Where the folder has subfolders restore, bae, validation and test, these are the splits. Crops lie side by side in
the middle of the frame, at most as many as the paper's: 2 x 4 for restore, 1 x 2 for bae, one for the others.
"""

import pathlib

from debir_jax.scenes import photos, recordings, shards
from debir_jax.scenes.windows import Layout

SPLITS = ("restore", "bae", "validation", "test")
WHERE = ("Any folder of clips will do: videos, or a folder of frames for each clip. The more frames per second the "
         "better; phones call 240 slow motion.")
_CROPS = dict(restore=(2, 4), bae=(1, 2), validation=(1, 1), test=(1, 1))


def find_shards(folder: pathlib.Path, settings: shards.Settings, rates: recordings.Rates = recordings.Rates(),
                seed: int = 0) -> list[shards.Shard]:
  """A shard for each clip.

  Raises:
    ValueError: no clips, fewer groups than splits, a rate that nobody tells, or frames smaller than a crop.
    UnreadablePhotoError: a file cannot be read.
  """
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder. {WHERE}")
  return [shards.of_clip(split, clip, layout_of(split, clip.size, settings), settings)
          for split, clips in _by_split(folder, rates, seed).items() for clip in clips]


def layout_of(split: str, size: tuple[int, int], settings: shards.Settings) -> Layout:
  """As many crops as the paper has, or as fit."""
  rows, columns = (min(most, side // settings.reduction // settings.crop_size)
                   for most, side in zip(_CROPS[split], size))
  return settings.layout(max(rows, 1), max(columns, 1), is_long=split == "restore")


def _by_split(folder, rates, seed) -> dict[str, list[recordings.Recording]]:
  if all((folder / split).is_dir() for split in SPLITS):
    return {split: recordings.find_recordings(folder / split, rates, is_part=True) for split in SPLITS}
  clips = recordings.find_recordings(folder, rates)
  groups = sorted({clip.group for clip in clips})
  if len(groups) < len(SPLITS):
    raise ValueError(f"{folder} holds {len(groups)} groups of clips: {', '.join(groups)}. Four splits "
                     f"({', '.join(SPLITS)}) need one each; clips of one subfolder are one group. Add clips of other "
                     "things, or put them into subfolders named like the splits.")
  dealt = photos.deal_groups(groups, seed=seed)
  return {split: [clip for clip in clips if dealt[clip.group] == split] for split in SPLITS}
