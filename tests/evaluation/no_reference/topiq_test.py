"""TOPIQ hands images to pyiqa as it wants them, and says how to get it."""

import sys
import types

import numpy as np
import pytest

from debir_jax.evaluation.no_reference.topiq import Topiq, load_topiq


@pytest.fixture
def seen(monkeypatch):
  """What a stand-in for pyiqa was asked for and shown."""
  found = []

  def create_metric(name, device):
    found.append((name, device))

    def metric(tensor):
      found.append(tensor)
      return tensor.mean()[None, None]

    return metric

  monkeypatch.setitem(sys.modules, "pyiqa", types.SimpleNamespace(create_metric=create_metric))
  return found


def test_images_become_tensors_of_one_image_with_channels_first(seen):
  """RGB in [0, 1], clamped, less the border; the rating is a number."""
  torch = pytest.importorskip("torch")
  image = np.random.default_rng(0).uniform(-0.2, 1.2, (12, 20, 3))
  rating = load_topiq()(image, border=2)
  (name, device), tensor = seen
  assert (name, device) == ("topiq_nr", "cpu") and tensor.shape == (1, 3, 8, 16) and tensor.dtype == torch.float32
  inner = np.clip(image[2:-2, 2:-2], 0, 1)
  np.testing.assert_allclose(tensor[0].permute(1, 2, 0), inner, rtol=1e-6)
  assert isinstance(rating, float) and rating == pytest.approx(inner.mean())


def test_unusable_images_are_refused(seen):
  pytest.importorskip("torch")
  metric, image = load_topiq(), np.full((8, 8, 3), 0.5)
  for wrong, border, message in ((image[..., 0], 0, r"\[h, w, 3\]"), (image, 4, "border of 4"),
                                 (np.where(image, np.nan, image), 0, "not finite")):
    with pytest.raises(ValueError, match=message):
      metric(wrong, border=border)
  assert len(seen) == 1 and isinstance(metric, Topiq)


def test_without_pyiqa_it_says_what_to_install_where(monkeypatch):
  monkeypatch.setitem(sys.modules, "pyiqa", None)
  with pytest.raises(ImportError, match="pip install pyiqa.*in the Python environment that runs this"):
    load_topiq()


def test_images_of_another_range_are_refused(seen):
  """Before anything else; clamped, they would be white."""
  for wrong in (np.full((8, 8, 3), 200.0), np.full((8, 8, 3), 200, np.uint8), np.ones((8, 8, 3), bool)):
    with pytest.raises(ValueError, match="^image must hold real numbers relative to white = 1, got"):
      load_topiq()(wrong)
