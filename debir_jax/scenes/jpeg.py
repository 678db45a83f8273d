"""JPEG data decoded strictly: what is damaged is an error.

Pillow and OpenCV fill what a damaged file lacks with grey and go on; libjpeg-turbo notices, and simplejpeg makes an
error of it. Measured on 768x512 px at quality 90: all files that are cut short are found, with an end marker or
without, and all holes of zeros of 512 B or more. Of 512 B of random values a twentieth is not: codes fall into step
again, and as many blocks are decoded as without the damage.
"""

from collections.abc import Iterator
import struct

from absl import logging
import numpy as np
from PIL import Image

_BASELINE = (0xC0, 0xC1)  # Markers of a frame in one pass, with Huffman codes.
_HUFFMAN_TABLES, _START_OF_SCAN, _END_OF_IMAGE = 0xC4, 0xDA, b"\xff\xd9"
_END_OF_BLOCK = 0  # The symbol after which all coefficients are zero.
_HOLE = bytes(64)  # 512 zero bits are more than a block of 63 codes of up to 8 bits.


def decode(data: bytes, image: Image.Image, *, least_side: int | None = None) -> np.ndarray:
  """Pixels `[H, W]` of a grey image, `[H, W, 3]` of one in color, uint8.

  Args:
    data: the file.
    image: its header, opened by Pillow, in mode L or RGB.
    least_side: pixels per side that suffice: a larger image may come reduced, down to an eighth, in less time.

  Raises:
    ValueError, OSError: it is damaged.
  """
  if _has_hole(data):
    raise ValueError("a hole of zeros in its data")
  try:
    import simplejpeg  # pylint: disable=g-import-not-at-top
  except ModuleNotFoundError:
    logging.log_first_n(logging.WARNING, "simplejpeg is not installed: damage within JPEG files stays unnoticed and "
                        "is read as grey. Install it: pip install simplejpeg.", 1)
    if least_side:
      image.draft(None, (least_side, least_side))
    return np.asarray(image)
  pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if image.mode == "L" else "RGB",
                                  min_height=least_side or 0, min_width=least_side or 0)
  return pixels[..., 0] if image.mode == "L" else pixels


def _has_hole(data) -> bool:
  """Whether a baseline file has zeros that no picture has.

  Zeros are codes as well, the shortest: as a rule a coefficient of -1, of which no block has 63. Where the shortest
  code ends a block, as tables made for flat images have it, and in files of several scans nothing is said.
  """
  num_components, first_symbols = None, {}
  for marker, start, end in _segments(data):
    if marker in _BASELINE:
      num_components = data[start + 5]
    elif marker == _HUFFMAN_TABLES:
      first_symbols |= _first_symbols(data[start:end])
    elif marker == _START_OF_SCAN:
      if num_components is None or data[start] != num_components:
        return False
      luma_table = 0x10 | data[start + 2] & 15
      return (first_symbols.get(luma_table, _END_OF_BLOCK) != _END_OF_BLOCK
              and data.find(_HOLE, end, data.find(_END_OF_IMAGE, end)) >= 0)
  return False


def _segments(data) -> Iterator[tuple[int, int, int]]:
  """Marker, start and end of the segments before the first scan's data."""
  offset = 2
  while offset + 4 <= len(data) and data[offset] == 0xFF:
    marker, length = data[offset + 1], struct.unpack_from(">H", data, offset + 2)[0]
    yield marker, offset + 4, offset + 2 + length
    offset += 2 + length


def _first_symbols(segment) -> dict[int, int]:
  """The symbol of the shortest code by table, of those that a segment defines."""
  found, offset = {}, 0
  while offset + 17 < len(segment):
    found[segment[offset]] = segment[offset + 17]
    offset += 17 + sum(segment[offset + 1:offset + 17])
  return found
