"""BRISQUE against a slow version from its definition, with a regression in LIBSVM's formats; its symmetries."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
import slow_statistics

from debir_jax.evaluation.no_reference.brisque import brisque_features, load_brisque


@pytest.fixture(scope="module")
def photo():
  """`[64, 64, 3]`."""
  return (data.astronaut()[100:164, 190:254] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def regression():
  """Bounds of the features, support vectors, coefficients, gamma and rho; a few zeros, which files leave out."""
  rng = np.random.default_rng(0)
  low = rng.uniform(-0.5, 0, 36)
  vectors = rng.uniform(-1, 1, (30, 36)).round(6)
  vectors[::3, ::4] = 0
  return low, low + rng.uniform(1, 4, 36), vectors, rng.uniform(-50, 50, 30).round(6), 0.05, -41.5


@pytest.fixture
def files(tmp_path, regression):
  """allmodel and allrange."""
  low, high, vectors, coefficients, gamma, rho = regression
  lines = [f"svm_type epsilon_svr\nkernel_type rbf\ngamma {gamma}\nnr_class 2\ntotal_sv {len(vectors)}\nrho {rho}\nSV"]
  for coefficient, vector in zip(coefficients, vectors):
    lines.append(f"{coefficient} " + " ".join(f"{i}:{value:.6g}" for i, value in enumerate(vector, 1) if value) + " ")
  (tmp_path / "allmodel").write_text("\n".join(lines) + "\n")
  rows = [f"{i} {lowest!r} {highest!r}" for i, (lowest, highest) in enumerate(zip(low.tolist(), high.tolist()), 1)]
  (tmp_path / "allrange").write_text("\n".join(["x", "-1 1", *rows]) + "\n")
  return tmp_path / "allmodel", tmp_path / "allrange"


def _slow_rating(features, regression):
  low, high, vectors, coefficients, gamma, rho = regression
  scaled = [-1 + 2 * (feature - a) / (b - a) for feature, a, b in zip(features, low, high)]
  total = -rho
  for vector, coefficient in zip(vectors, coefficients):
    total += coefficient * math.exp(-gamma * sum((x - y)**2 for x, y in zip(vector, scaled)))
  return total


def test_features_and_rating_are_those_of_the_definition(photo, files, regression):
  """By loops in float64."""
  metric = load_brisque(*files)
  expected = slow_statistics.brisque_features(slow_statistics.grey_of(photo))
  np.testing.assert_allclose(brisque_features(photo), expected, rtol=5e-3, atol=1e-3)
  rating = float(metric(photo))
  assert rating == pytest.approx(_slow_rating(expected, regression), rel=1e-3)
  assert metric(np.pad(photo, ((3, 3), (3, 3), (0, 0))), border=3) == pytest.approx(rating)


def test_the_regression_alone_is_exact(photo, files, regression):
  """On the features that it gets, to the precision of float32."""
  features = np.asarray(brisque_features(photo), np.float64)
  assert load_brisque(*files)(photo) == pytest.approx(_slow_rating(features, regression), rel=1e-5)


def test_precision_and_jit_do_not_matter(photo, files):
  """float32 against float64, plain against inside of a compiled program, where what is not finite stays so."""
  metric = load_brisque(*files)
  plain = float(metric(photo))
  with jax.enable_x64(True):
    assert metric(photo.astype(np.float64)) == pytest.approx(plain, rel=1e-3)
  compiled = jax.jit(lambda metric, image: metric(image))
  assert compiled(metric, photo) == pytest.approx(plain, rel=1e-5)
  assert np.isnan(compiled(metric, np.where(photo > 0.5, np.nan, photo)))


def test_mirrored_and_turned_images_have_the_same_features_in_another_order(photo):
  """A mirror swaps both diagonals, a quarter turn also rows and columns; nothing else can tell them apart."""
  shapes = lambda image: np.asarray(brisque_features(image)).reshape(2, 18)[:, 2:].reshape(2, 4, 4)
  rest = lambda image: np.asarray(brisque_features(image)).reshape(2, 18)[:, :2]
  for changed, order in ((photo[:, ::-1], [0, 1, 3, 2]), (photo[::-1], [0, 1, 3, 2]), (photo[::-1, ::-1], [0, 1, 2, 3]),
                         (photo.swapaxes(0, 1), [1, 0, 2, 3]), (np.rot90(photo), [1, 0, 3, 2])):
    np.testing.assert_allclose(shapes(changed), shapes(photo)[:, order], atol=2e-3)  # One step of the grid of shapes.
    np.testing.assert_allclose(rest(changed), rest(photo), atol=2e-3)


def test_noise_has_lighter_tails_than_a_photo_and_unlike_neighbours(photo):
  """Lighter than a Gaussian's, as a pixel has its part in the deviation, and in the mean that it shares with others."""
  noise = 0.5 + 0.1 * jax.random.normal(jax.random.key(0), (64, 64, 1)) * jnp.ones(3)
  features = brisque_features(noise)
  assert 2 < features[0] < 3.5
  products = jnp.array([3, 7, 11, 15])  # Means over pairs of neighbours.
  assert (-0.2 < features[products]).all() and (features[products] < 0).all() and brisque_features(photo)[3] > 0
  assert brisque_features(photo)[0] < features[0]


def test_images_without_contrast_have_a_rating_and_unusable_ones_are_refused(photo, files):
  metric = load_brisque(*files)
  for level in (0.0, 0.5, 1.0):
    assert np.isfinite(metric(jnp.full((64, 64, 3), level)))
  with pytest.raises(ValueError, match="smaller than the 16"):
    metric(photo[:15])
  with pytest.raises(ValueError, match="one sRGB image"):
    metric(photo[None])
  with pytest.raises(ValueError, match="not finite"):
    metric(np.where(photo > 0.5, np.inf, photo))
  for bytes_ in (255 * photo, (255 * photo).astype(np.uint8)):
    with pytest.raises(ValueError, match="image must hold real numbers relative to white = 1.* Divide it by 255"):
      metric(bytes_)


@pytest.mark.parametrize("which, old, new, message", [
    (0, "epsilon_svr", "nu_svr", None), (0, "epsilon_svr", "c_svc", "svm_type c_svc"),
    (0, "rbf", "linear", "kernel_type linear"), (0, "total_sv 30", "total_sv 31", "announces 31 .* holds 30"),
    (0, "36:", "37:", "feature 37"), (0, " 36:", " 3x6:", "line 8: expected numbers"),
    (0, "gamma 0.05", "gamma", "gamma: expected numbers"), (0, "rho -41.5\n", "", "no complete model"),
    (0, "\nSV\n", "\n", "no complete model"), (1, "x\n", "y\n", "no range file"),
    (1, "\n36 ", "\n37 ", "each of 36 features"), (1, "\n7 ", "\n7 5 ", "those of 35 in 36"),
    (1, "-1 1\n", "", "\"lower upper\" after")])
def test_files_are_read_or_refused_with_what_is_wrong(files, photo, which, old, new, message):
  """Either kind of regression; whatever is missing or belongs to something else."""
  text = files[which].read_text()
  assert old in text
  files[which].write_text(text.replace(old, new))
  if message is None:
    assert np.isfinite(load_brisque(*files)(photo))
    return
  with pytest.raises(ValueError, match=message) as error:
    load_brisque(*files)
  assert files[which].name in str(error.value) and "release" in str(error.value)


@pytest.mark.parametrize("which, share", [(0, 0.02), (0, 0.5), (0, 0.97), (1, 0.0), (1, 0.004), (1, 0.5)])
def test_truncated_files_are_refused(files, which, share):
  text = files[which].read_text()
  files[which].write_text(text[:int(share * len(text))])
  with pytest.raises(ValueError, match=files[which].name):
    load_brisque(*files)


def test_missing_files_and_other_regressions_are_refused(files):
  model, range_ = files
  with pytest.raises(FileNotFoundError, match="allmodel and allrange"):
    load_brisque(model, range_.with_name("none"))
  lines = [line.split(" 36:")[0] for line in model.read_text().splitlines()]
  model.write_text("\n".join(lines) + "\n")
  with pytest.raises(ValueError, match="fewer than 36 features"):
    load_brisque(model, range_)


def test_addresses_homes_and_web_pages(tmp_path, files, photo, monkeypatch):
  """Paths are of this machine; what a download left there instead is named."""
  monkeypatch.setenv("HOME", str(tmp_path))
  assert np.isfinite(load_brisque("~/allmodel", "~/allrange")(photo))
  for paths, name in ((("s3://bucket/allmodel", files[1]), "model_path"), ((files[0], "gs://bucket/x"), "range_path")):
    with pytest.raises(ValueError, match=f"{name}=.*bucket.* is an address"):
      load_brisque(*paths)
  files[0].write_text("<!DOCTYPE html>\n")
  with pytest.raises(ValueError, match="allmodel is a web page"):
    load_brisque(*files)
