"""Images that were asked for lately, kept within a number of bytes.

Decoding a photo takes longer than rendering a scene from it, and photos come in cycles: a memory for fewer photos than
the cycle has would never be of use, one for a number of photos would be too small for stamps or too large for posters.
"""

import collections
from collections.abc import Callable, Hashable
import threading

import numpy as np


class RecentImages:
  """What `make` made, the most recent ones; safe to share between threads."""

  def __init__(self, make: Callable[[Hashable], np.ndarray], *, max_bytes: int):
    """
    Args:
      make: an image of a key.
      max_bytes: of all that is kept, but for the newest.
    """
    self._make, self._max_bytes = make, max_bytes
    self._lock, self._images, self.num_bytes = threading.Lock(), collections.OrderedDict(), 0

  def __call__(self, key: Hashable) -> np.ndarray:
    with self._lock:
      if key in self._images:
        self._images.move_to_end(key)
        return self._images[key]
    image = self._make(key)  # Others need not wait. Two threads may make the same one: no harm.
    image.flags.writeable = False  # It is handed out many times.
    with self._lock:
      self._forget(key)
      self._images[key] = image
      self.num_bytes += image.nbytes
      while self.num_bytes > self._max_bytes and len(self._images) > 1:
        self._forget(next(iter(self._images)))
    return image

  def _forget(self, key):
    if key in self._images:
      self.num_bytes -= self._images.pop(key).nbytes
