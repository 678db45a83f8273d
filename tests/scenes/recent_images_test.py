"""Decoded images are kept within a number of bytes, the most recent ones."""

from concurrent.futures import ThreadPoolExecutor
import itertools

import numpy as np
import pytest

from debir_jax.scenes.recent_images import RecentImages


def _counting(num_bytes=100):
  made = []

  def make(key):
    made.append(key)
    return np.full(num_bytes, key, np.uint8)

  return made, make


def test_a_cycle_that_fits_is_made_once():
  made, make = _counting()
  recent = RecentImages(make, max_bytes=1000)
  for key in list(range(10)) * 3:
    assert recent(key)[0] == key
  assert made == list(range(10)) and recent.num_bytes == 1000


def test_what_was_not_asked_for_for_longest_goes_first():
  made, make = _counting()
  recent = RecentImages(make, max_bytes=300)
  for key in (0, 1, 2, 0, 3, 0, 1):
    recent(key)
  assert made == [0, 1, 2, 3, 1] and recent.num_bytes <= 300


def test_an_image_larger_than_all_there_is_room_for_is_still_handed_out():
  made, make = _counting(500)
  recent = RecentImages(make, max_bytes=300)
  assert recent(7).nbytes == 500 and recent(7)[0] == 7 and made == [7]
  recent(8)
  assert recent.num_bytes == 500


def test_nobody_can_change_what_others_are_handed():
  recent = RecentImages(_counting()[1], max_bytes=300)
  with pytest.raises(ValueError, match="read-only"):
    recent(1)[0] = 5


def test_an_image_that_could_not_be_made_is_tried_again():
  tries = itertools.count()

  def make(key):
    if next(tries) == 0:
      raise OSError("gone")
    return np.zeros(key, np.uint8)

  recent = RecentImages(make, max_bytes=300)
  with pytest.raises(OSError, match="gone"):
    recent(3)
  assert recent(3).nbytes == 3


def test_threads_get_what_they_ask_for_and_bytes_add_up():
  recent = RecentImages(_counting()[1], max_bytes=1500)
  with ThreadPoolExecutor(8) as pool:
    assert all(image[0] == key % 30 for key, image in zip(range(3000), pool.map(lambda k: recent(k % 30), range(3000))))
  assert recent.num_bytes == 1500
