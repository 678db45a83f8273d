"""OpenCV's files of BRISQUE's regression give OpenCV's ratings; damaged ones are refused by name."""

import numpy as np
import pytest
from skimage import data, io

from debir_jax.evaluation.no_reference.brisque import brisque_features, load_brisque
from debir_jax.evaluation.no_reference.brisque_opencv import opencv_features

# What `QualityBRISQUE` of OpenCV 5.0.0 said of `_picture`: features, and the rating with its published files.
_PUBLISHED = {
    (64, 96): ([
    2.231, 0.273998, 0.704, 0.108037, 0.039213, 0.135399, 0.759, 0.10291, 0.033434,
    0.115966, 0.699, 0.097191, 0.041388, 0.127249, 0.719, 0.11962, 0.030846, 0.131317,
    2.482, 0.360379, 0.979, 0.215921, 0.014918, 0.184161, 0.858, 0.240867, 0.012441,
    0.217762, 1.039, 0.176899, 0.018179, 0.146436, 0.954, 0.122933, 0.041084, 0.143381], 45.6116),
    (61, 83): ([
    2.204, 0.269789, 0.689, 0.115012, 0.034927, 0.136337, 0.755, 0.097323, 0.035045,
    0.113295, 0.732, 0.07848, 0.042878, 0.108123, 0.711, 0.128863, 0.027216, 0.134654,
    2.603, 0.369594, 0.977, 0.210563, 0.017102, 0.185172, 0.883, 0.241641, 0.016167,
    0.230828, 1.053, 0.173104, 0.022807, 0.154269, 0.976, 0.104101, 0.052667, 0.142599], 43.0441)}
# The same of photos of Kodak's: ratings.
_RATINGS = {
    "kodim01.png": 18.609, "kodim02.png": 13.540, "kodim03.png": 3.438, "kodim04.png": 0.000,
    "kodim05.png": 6.688, "kodim06.png": 2.607}


def _picture(height, width):
  """Waves, 8 bits, as sRGB in [0, 1]."""
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(0.9 * x + 0.3 * y) + np.cos(0.05 * x * y), 2 * np.sin(0.21 * x - 0.4 * y),
           np.cos(0.13 * x) + np.sin(0.7 * y)]
  return np.float32(np.round(128 + 40 * np.stack(waves, -1)) / 255)


@pytest.mark.parametrize("size", list(_PUBLISHED))
def test_features_are_those_of_opencv(size):
  """Shapes, which are searched in steps of 0.001, to two of them; also of odd sides, which are halved by another
  factor than 2. The authors' features are others."""
  expected = np.array(_PUBLISHED[size][0])
  np.testing.assert_allclose(opencv_features(_picture(*size)), expected, rtol=2e-3, atol=2e-4)
  assert np.abs(brisque_features(_picture(*size)) - expected).max() > 0.1


@pytest.mark.parametrize("size", list(_PUBLISHED))
def test_ratings_are_those_of_opencv(files, size):
  """To half a percent."""
  assert float(load_brisque(*files)(_picture(*size))) == pytest.approx(_PUBLISHED[size][1], rel=5e-3)


def test_ratings_of_photos_are_those_of_opencv(files, shared_dir):
  """To 0.06 of 100, limits included."""
  metric = load_brisque(*files)
  for name, expected in _RATINGS.items():
    photo = np.float32(io.imread(shared_dir / "data" / "photos" / name) / 255)
    assert float(metric(photo)) == pytest.approx(expected, abs=0.06)


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
  features = np.asarray(opencv_features(photo), float)
  storage = cv2.FileStorage(str(files[1]), cv2.FILE_STORAGE_READ)
  bounds = storage.getNode("range").mat().astype(float)
  scaled = -1 + 2 * (features - bounds[0]) / (bounds[1] - bounds[0])
  kernel = np.exp(-0.05 * np.sum((metric.support_vectors - scaled)**2, 1))
  assert metric.support_vectors.shape == (774, 36)
  assert float(metric(photo)) == pytest.approx(
      np.clip(metric.coefficients @ kernel - metric.rho, 0, 100), rel=1e-3, abs=0.05)


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
