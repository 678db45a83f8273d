"""Laws of the encodings of stored frames."""

import numpy as np
import pytest
from small_data import moving

from debir_jax.scenes import frame_codec


@pytest.mark.parametrize("encoding", frame_codec.ENCODINGS)
def test_frames_come_back_from_their_encoding(encoding):
  """Lossless where it is promised; JPEG within 3 levels of 255 in the mean."""
  frame = moving(1, (32, 48))[0]
  for is_captured in (True, False):
    back = frame_codec.decode(frame_codec.encode(frame, encoding, is_captured=is_captured))
    if encoding == "png" or (encoding == "mixed" and is_captured):
      np.testing.assert_array_equal(back, frame)
    else:
      assert 0 < np.abs(back.astype(int) - frame).mean() < 3
  deep = np.arange(32 * 48 * 3, dtype=np.uint16).reshape(32, 48, 3) * 14
  np.testing.assert_array_equal(frame_codec.decode(frame_codec.encode(deep, encoding, is_captured=False)), deep)
  with pytest.raises(ValueError, match="neither PNG nor JPEG"):
    frame_codec.decode(b"GIF89a")
  with pytest.raises(ValueError):
    frame_codec.decode(frame_codec.encode(frame, encoding, is_captured=False)[:100])
