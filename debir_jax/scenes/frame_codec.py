"""Frames of a data set as bytes: which encoding, and back. sRGB `[H, W, 3]`, uint8, or uint16 for deep sources.

  png     lossless
  jpeg    quality 95 without subsampling of color, about a fourth of png
  mixed   frames that a camera took as png, those that were interpolated between them as jpeg

What is compared with a restored image is always a frame that a camera took, so its pixels stay as they are in "mixed".
Deep frames are png in any case.
"""

import numpy as np

ENCODINGS = ("mixed", "png", "jpeg")
_QUALITY = 95
_PNG_LEVEL = 1  # Of 9: twice as fast as the default, files 5 % larger.
_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG", b"\xff\xd8\xff"


def encode(pixels: np.ndarray, encoding: str, *, is_captured: bool) -> bytes:
  """A frame as bytes.

  Args:
    pixels: `[H, W, 3]`, uint8 or uint16.
    encoding: one of `ENCODINGS`.
    is_captured: it was taken, not interpolated.
  """
  if encoding == "png" or pixels.dtype != np.uint8 or (encoding == "mixed" and is_captured):
    return _png(pixels)
  import simplejpeg  # pylint: disable=g-import-not-at-top
  return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY, colorspace="RGB",
                                colorsubsampling="444", fastdct=False)


def decode(data: bytes) -> np.ndarray:
  """The frame of `encode`, `[H, W, 3]`, uint8 or uint16.

  Raises:
    ValueError: the bytes are damaged, or neither PNG nor JPEG.
  """
  if data.startswith(_JPEG_SIGNATURE):
    import simplejpeg  # pylint: disable=g-import-not-at-top
    return simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False)
  if not data.startswith(_PNG_SIGNATURE):
    raise ValueError("A frame of the data set is neither PNG nor JPEG.")
  import cv2  # pylint: disable=g-import-not-at-top
  pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  if pixels is None or pixels.ndim != 3:
    raise ValueError("A frame of the data set is a damaged PNG.")
  return pixels[..., 2::-1]


def _png(pixels) -> bytes:
  import cv2  # pylint: disable=g-import-not-at-top
  done, data = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
  assert done
  return data.tobytes()
