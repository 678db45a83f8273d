"""Data sets in the real layouts, so small that every count can be checked by hand."""

import pathlib

import cv2
import numpy as np

from debir_jax.scenes import gopro, realblur

GOPRO_TEST_CLIPS = tuple(f"GOPR{number:04d}_11_00" for number in range(11))


def moving(num_frames: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
  """sRGB `[num_frames, H, W, 3]`, uint8: smooth noise that moves by a pixel per frame."""
  rng, (height, width) = np.random.default_rng(seed), size
  noise = rng.integers(0, 256, (height // 4 + 2, (width + num_frames) // 4 + 2, 3)).astype(np.uint8)
  wide = cv2.resize(noise, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
  return np.stack([wide[:height, place:place + width] for place in range(num_frames)])


def write_frames(folder: pathlib.Path, frames: np.ndarray, names=None) -> None:
  """Frames as PNG, 000000.png and on."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, frame in zip(names or (f"{place:06d}.png" for place in range(len(frames))), frames):
    cv2.imwrite(str(folder / name), frame[..., ::-1])


def gopro_tree(folder: pathlib.Path, num_frames, size=(32, 64)) -> pathlib.Path:
  """GOPRO_Large_all with `num_frames(clip name)` frames in each clip."""
  names = [("train", name) for name in (*gopro.RESTORE_CLIPS, *gopro.BAE_CLIPS)]
  names += [("test", name) for name in GOPRO_TEST_CLIPS]
  for seed, (part, name) in enumerate(names):
    write_frames(folder / part / name, moving(num_frames(name), size, seed))
  return folder


def realblur_tree(folder: pathlib.Path, size=(36, 41)) -> pathlib.Path:
  """RealBlur-J with two sharp photos of each training scene, of which gt_2 is listed first."""
  top, lines = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref", []
  for number in range(1, realblur.NUM_SCENES + 1):
    scene = f"scene{number:03d}"
    write_frames(folder / top / scene / "gt", moving(2, size, number), ["gt_1.png", "gt_2.png"])
    lines += [f"{top}/{scene}/gt/gt_{k}.png {top}/{scene}/blur/blur_{k}.png" for k in (2, 1)]
  (folder / realblur.LIST).write_text("\n".join(lines) + "\n")
  return folder
