"""GOPRO_Large_all (S. Nah et al., CVPR 2017) as the paper cuts it: which clips, windows and crops are in which split.

A folder with `train/<clip>/NNNNNN.png` and `test/<clip>/NNNNNN.png`, 1280x720 px, 240 frames per second; or the same
folders after interpolation by 8, with EMA-VFI's names (`000012_375.png`). Of 22 training clips eleven are the
restorer's and eleven BAENet's; the eleven test clips are shown as whole frames. With crops of 256 px, restore has 466
windows x 8 crops = 3,728 sequences, bae 518 x 2 = 1,036, test 532.
"""

from concurrent.futures import ThreadPoolExecutor
import pathlib

from debir_jax.scenes import recordings, shards
from debir_jax.scenes.windows import Layout

WHERE = ("GOPRO_Large_all is at https://seungjunnah.github.io/Datasets/gopro (about 35 GB, CC BY 4.0). Unpack it and "
         "name the folder that holds its train and test by --manual_dir. docs/data.md tells how long preparing takes.")
RATE_HZ = 240.0
RESTORE_CLIPS = (
    "GOPR0374_11_00", "GOPR0374_11_01", "GOPR0374_11_02", "GOPR0374_11_03", "GOPR0378_13_00", "GOPR0379_11_00",
    "GOPR0380_11_00", "GOPR0384_11_01", "GOPR0372_07_00", "GOPR0372_07_01", "GOPR0857_11_00")
BAE_CLIPS = (
    "GOPR0384_11_02", "GOPR0384_11_03", "GOPR0384_11_04", "GOPR0385_11_00", "GOPR0386_11_00", "GOPR0477_11_00",
    "GOPR0868_11_01", "GOPR0868_11_02", "GOPR0871_11_01", "GOPR0881_11_00", "GOPR0884_11_00")
_NUM_TEST_CLIPS = 11


def layouts(settings: shards.Settings) -> dict[str, Layout]:
  """How the clips of each split are cut: 2 x 4 crops, 1 x 2 crops, whole frames."""
  return dict(restore=settings.layout(2, 4, is_long=True), bae=settings.layout(1, 2), test=settings.layout(0, 0))


def find_shards(folder: pathlib.Path, settings: shards.Settings) -> list[shards.Shard]:
  """A shard for each clip.

  Raises:
    ValueError: a clip is missing, named otherwise, or not in an order that is even in time.
    UnreadablePhotoError: the first frame of a clip is damaged.
  """
  train, test = (recordings.expected_folder(folder, name, "with a folder of frames for every clip", WHERE)
                 for name in ("train", "test"))
  clips = [(split, recordings.expected_folder(train, name, f"a clip of the split {split}", WHERE))
           for split, names in dict(restore=RESTORE_CLIPS, bae=BAE_CLIPS).items() for name in names]
  tests = recordings.image_files.subfolders(test)
  if len(tests) != _NUM_TEST_CLIPS:
    raise ValueError(f"{test} has {len(tests)} clips, expected {_NUM_TEST_CLIPS}. {WHERE}")
  clips += [("test", clip) for clip in tests]
  with ThreadPoolExecutor() as pool:  # Folders on network file systems take their time.
    found = list(pool.map(lambda clip: recordings.frame_folder(
        clip[1], name=clip[1].name, group=clip[1].name, rate_hz=RATE_HZ, rate_from="the data set"), clips))
  return [shards.of_clip(split, clip, layouts(settings)[split], settings) for (split, _), clip in zip(clips, found)]
