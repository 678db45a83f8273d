"""The order of a clip's frames, by the numbers in their names; frames must follow each other evenly.

Names may be

- a number with text before and after it that is the same for all: 7.png, frame_000007.png, IMG-0007.png (no minus);
- a decimal number: .125.png, 0.25.png, 12.png;
- two numbers, of which the second counts within the first: 12_0.png to 12_7.png, or is its decimals: 000012_125.png, as
  EMA-VFI writes floor(1000 i / 8).

Further numbers that are the same for all are text.
"""

import collections
from collections.abc import Sequence
import pathlib
import re


def in_order(frames: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """The frames sorted by number.

  Raises:
    ValueError: a name is unlike the others or its number below zero, two frames have one number, or one does not
      follow the frame before it as the others do. The first such file is named.
  """
  values, are_rounded = _values(frames)
  order = sorted(range(len(frames)), key=lambda place: (values[place], frames[place].name))
  frames, values = [frames[place] for place in order], [values[place] for place in order]
  steps = [after - before for before, after in zip(values, values[1:])]
  for place, step in enumerate(steps):
    if not step:
      raise ValueError(f"{frames[place + 1]} has the same number as {frames[place].name}. Keep one of them.")
  usual = sorted(steps)[len(steps) // 2] if steps else 0
  tolerance = 1 if are_rounded and usual > 3 else 0  # 62 or 63 are steps of 1 / 16 in three digits.
  for place, step in enumerate(steps):
    if abs(step - usual) > tolerance:
      raise ValueError(f"{frames[place + 1]} does not follow {frames[place].name} as the other frames follow each "
                       "other: frames are missing or too many. A clip must be evenly spaced in time; cut it in two, or "
                       "number its frames anew if none is missing.")
  return frames


def _values(frames) -> tuple[list[int], bool]:
  """What to sort by, and whether decimals were cut off, so that steps differ by one."""
  stems = [frame.stem for frame in frames]
  for frame, stem in zip(frames, stems):
    if re.match(r"-\.?[0-9]", stem):
      raise ValueError(f"{frame} has a number below zero, or a minus before it. Number frames from 0 up.")
  if all(re.fullmatch(r"[0-9]*\.?[0-9]+", stem) for stem in stems) and any("." in stem for stem in stems):
    return _decimals([stem.partition(".")[::2] for stem in stems]), True
  parts = [re.split(r"([0-9]+)", stem) for stem in stems]
  _check_alike(frames, [tuple(part[::2]) for part in parts])
  columns = [[part[place] for part in parts] for place in range(1, len(parts[0]), 2)]
  varying = [column for column in columns if len(set(map(int, column))) > 1]
  for column in varying:
    if len(varying) == 1 or len(set(map(int, column))) == len(frames):
      return [int(digits) for digits in column], False
  if not varying:
    return [0] * len(frames), False
  if len(varying) == 2:
    return _of_two(frames, *varying)
  raise ValueError(f"{frames[0]} and the frames beside it have {len(varying)} numbers that vary, of which none tells "
                   "their order. Number them with one.")


def _check_alike(frames, texts):
  """Names differ in their numbers only, and have some."""
  usual = collections.Counter(texts).most_common(1)[0][0]
  example = frames[texts.index(usual)]
  if len(usual) == 1:
    raise ValueError(f"{example} has no number in its name, which would tell its place in the clip.")
  for frame, text in sorted(zip(frames, texts)):
    if text != usual:
      raise ValueError(f"{frame} is not named like the other frames, such as {example.name}. Remove or rename it.")


def _of_two(frames, first, second) -> tuple[list[int], bool]:
  inner = set(map(int, second))
  if max(inner) - min(inner) + 1 == len(inner):  # Counts.
    return [len(inner) * int(major) + int(minor) - min(inner) for major, minor in zip(first, second)], False
  if len(set(map(len, second))) > 1:
    raise ValueError(f"{frames[0]} and the frames beside it have two numbers that vary, of which the second is neither "
                     "a count nor decimals with the same number of digits. Number frames with one.")
  return _decimals(list(zip(first, second))), True


def _decimals(numbers) -> list[int]:
  """Numbers given as (whole, decimals), in units of the last digit that any of them has."""
  num_digits = max(len(decimals) for _, decimals in numbers)
  return [int((whole or "0") + decimals.ljust(num_digits, "0")) for whole, decimals in numbers]
