"""OpenCV's files of BRISQUE's regression give OpenCV's ratings of features; damaged ones are refused by name."""

import numpy as np
import pytest
from skimage import data

from debir_jax.evaluation.no_reference.brisque import brisque_features, load_brisque


@pytest.fixture
def files(shared_dir):
  """The published ones."""
  folder = shared_dir / "data" / "metrics"
  return folder / "brisque_model_live.yml", folder / "brisque_range_live.yml"


def test_the_rating_is_that_of_the_regression(files):
  """By its definition from the numbers in the files."""
  import cv2
  photo = (data.astronaut()[100:228, 190:318] / 255).astype(np.float32)
  metric = load_brisque(*files)
  storage = cv2.FileStorage(str(files[1]), cv2.FILE_STORAGE_READ)
  bounds = storage.getNode("range").mat().astype(float)
  scaled = -1 + 2 * (np.asarray(brisque_features(photo), float) - bounds[0]) / (bounds[1] - bounds[0])
  kernel = np.exp(-0.05 * np.sum((metric.support_vectors - scaled)**2, 1))
  assert metric.support_vectors.shape == (774, 36)
  assert float(metric(photo)) == pytest.approx(float(metric.coefficients @ kernel - metric.rho), rel=1e-3, abs=0.05)


def test_noise_is_rated_worse_than_a_photo(files):
  """As everybody would."""
  photo = (data.astronaut()[100:228, 190:318] / 255).astype(np.float32)
  noisy = np.clip(photo + 0.2 * np.random.default_rng(0).standard_normal(photo.shape), 0, 1).astype(np.float32)
  metric = load_brisque(*files)
  assert metric(noisy) > metric(photo) + 10


def test_damaged_files_are_refused(files, tmp_path):
  """Cut, or of something else, by the name of the file."""
  model, ranges = (path.read_text() for path in files)
  cases = (("\n".join(model.splitlines()[:2000]) + "\n", ranges), ("%YAML:1.0\n---\na: 3\n", ranges),
           (model, "%YAML:1.0\n---\nrange: 3\n"), ("%YAML:1.0\n---\n[[[\n", ranges))
  for number, texts in enumerate(cases):
    paths = [tmp_path / f"{number}{name}.yml" for name in "ab"]
    for path, text in zip(paths, texts):
      path.write_text(text)
    with pytest.raises(ValueError, match=r"[ab]\.yml"):
      load_brisque(*paths)
