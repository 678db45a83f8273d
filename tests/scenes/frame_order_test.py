"""Laws of the order of frames."""

import pathlib

import numpy as np
import pytest

from debir_jax.scenes import frame_order

_ORDERED = {
    "without zeros": [f"{i}.png" for i in range(120)],
    "with zeros": [f"{i:04d}.jpg" for i in range(5, 40)],
    "prefix": [f"frame_{i:06d}.png" for i in range(30)],
    "prefix of numbers": [f"clip07_1080p_{i}.png" for i in range(30)],
    "camera": [f"IMG-{i:04d}.JPG" for i in range(8000, 8030)],
    "minus before digits": [f"run2-{i}.png" for i in range(30)],
    "suffix": [f"{i:05d}_out_x8.png" for i in range(30)],
    "more digits at the end": [f"shot2.{i:04d}.png" for i in range(9990, 10010)],
    "every second": [f"{i}.png" for i in range(0, 60, 2)],
    "decimals": [f"{i / 8:.3f}".rstrip("0").strip("0").removesuffix(".") + ".png" for i in range(1, 60)],
    "decimals from zero": ["0.png", ".125.png", ".25.png", ".375.png", ".5.png", ".625.png", ".75.png", ".875.png",
                           "1.png"],
    "decimals with zeros": [f"{i / 8:07.3f}.png" for i in range(60)],
    "decimals cut off": [f"{i // 16}.{1000 * (i % 16) // 16:03d}.png" for i in range(60)],
    "decimals after a prefix": [f"frame_{i // 8}.{125 * (i % 8):03d}.png" for i in range(60)],
    "EMA-VFI by 8": [f"{40 + i // 8:06d}_{1000 * (i % 8) // 8:03d}.png" for i in range(100)],
    "EMA-VFI by 16": [f"{i // 16:06d}_{1000 * (i % 16) // 16:03d}.png" for i in range(100)],
    "EMA-VFI by 7, from the middle": [f"{i // 7:06d}_{1000 * (i % 7) // 7:03d}.png" for i in range(3, 100)],
    "counts in counts": [f"{i // 8}_{i % 8}.png" for i in range(100)],
    "counts from one": [f"{i // 8:04d}-{1 + i % 8:02d}.png" for i in range(96)],
    "number and time": [f"{i:04d}_{16683 * i // 1000}ms.png" for i in range(100)],
    "one frame": ["7.png"],
}


def _paths(names):
  return [pathlib.Path("clip") / name for name in names]


@pytest.mark.parametrize("kind", _ORDERED)
def test_frames_come_in_the_order_of_their_numbers(kind):
  """However the folder lists them."""
  names = _ORDERED[kind]
  assert len(set(names)) == len(names)
  for seed in range(3):
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    assert [path.name for path in frame_order.in_order(_paths(shuffled))] == names


@pytest.mark.parametrize("kind", [kind for kind, names in _ORDERED.items() if len(names) > 40])
def test_a_missing_frame_is_named(kind):
  """By the file after the gap, of whatever names."""
  names = _ORDERED[kind]
  with pytest.raises(ValueError, match="does not follow .*missing") as error:
    frame_order.in_order(_paths(names[:20] + names[21:]))
  assert str(error.value).startswith(f"clip/{names[21]} does not follow {names[19]}")
  with pytest.raises(ValueError, match="does not follow"):
    frame_order.in_order(_paths(names[:10] + names[-10:]))


_COUNTED = [f"{i}.png" for i in range(20)]


@pytest.mark.parametrize("names, message", [
    (_COUNTED + ["5.jpg"], "clip/5.png has the same number as 5.jpg"),
    (_COUNTED + ["007.png"], "clip/7.png has the same number as 007.png"),
    (["0.png", "0.5.png", "1.png", "1.50.png", "1.5.png"], "clip/1.50.png has the same number as 1.5.png"),
    (["-1.png", *_COUNTED], "clip/-1.png has a number below zero"),
    ([f"-{i:03d}.png" for i in range(20)], "clip/-000.png has a number below zero, or a minus before it"),
    ([f"{i}.png" for i in (0, 1, 2, 42, 43, 44, 90)], "clip/42.png does not follow 2.png"),
    ([f"{i}.png" for i in (0, 100, 101, 102, 103)], "clip/100.png does not follow 0.png"),
    (_COUNTED + ["cover.png"], "clip/cover.png is not named like the other frames, such as 0.png"),
    (_COUNTED + ["frame_20.png"], "clip/frame_20.png is not named like the other frames"),
    (["a.png", "b.png"], "clip/a.png has no number in its name"),
    (["x.png"], "clip/x.png has no number in its name"),
    (["0_0.png", "0_125.png", "0_25.png", "1_0.png", "1_125.png", "1_25.png"], "neither a count nor decimals"),
    (["0_0_0.png", "0_1_0.png", "1_0_1.png", "1_1_0.png"], "3 numbers that vary")])
def test_frames_without_an_order_are_named(names, message):
  """The first that is wrong, with what to do."""
  with pytest.raises(ValueError, match=message):
    frame_order.in_order(_paths(names))
