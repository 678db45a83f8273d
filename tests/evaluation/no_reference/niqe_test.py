"""NIQE against a slow version from its definition; good photos are nearer than spoilt ones; files, and refusals."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import io
from skimage import data
import slow_statistics

from debir_jax.evaluation.no_reference.niqe import Niqe, fit_niqe, load_niqe, niqe_of, save_niqe


def _photo(image, rows, columns):
  return (image[rows:rows + 96, columns:columns + 288] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def photos():
  """`[96, 288, 3]`, of one size so that they share a program."""
  return [_photo(data.astronaut(), 50, 100), _photo(data.chelsea(), 90, 80), _photo(data.coffee(), 100, 150)]


@pytest.fixture(scope="module")
def metric(photos):
  """Fitted on them."""
  return fit_niqe(photos, stride=8)


def test_it_is_the_published_distance(photos, metric):
  """Features of all blocks at both scales, and the distance, by loops in float64; what fills no block is cut off."""
  for image in (photos[0], photos[1][:, :96]):
    expected = slow_statistics.niqe_distance(slow_statistics.grey_of(image), metric.mean, metric.covariance)
    assert metric(image) == pytest.approx(expected, rel=2e-3)
    assert metric(np.pad(image, ((3, 9), (3, 7), (0, 0))), border=3) == pytest.approx(float(metric(image)))


def test_a_pristine_model_is_that_of_sharp_blocks(photos):
  """Of each photo the blocks above 0.75 of its sharpest one; here twelve copies of each make enough of them."""
  kept = []
  for photo in photos:
    features, sharpness = slow_statistics.niqe_features(slow_statistics.grey_of(photo))
    kept += 12 * list(features[sharpness > 0.75 * sharpness.max()])
  fitted = fit_niqe(12 * photos)
  np.testing.assert_allclose(fitted.mean, np.mean(kept, 0), rtol=2e-3, atol=2e-3)
  np.testing.assert_allclose(fitted.covariance, np.cov(np.transpose(kept)), rtol=1e-2, atol=2e-3)


def test_noise_and_blur_lead_away_from_the_photos_it_was_fitted_on(photos, metric):
  """The more, the farther."""
  rng = np.random.default_rng(0)
  noise = [rng.normal(size=photo.shape).astype(np.float32) for photo in photos]
  mean = lambda images: np.mean([metric(image) for image in images])
  as_they_are = mean(photos)
  noisy = [mean([photo + level * grain for photo, grain in zip(photos, noise)]) for level in (0.04, 0.12)]
  blurred = [mean([cv2.GaussianBlur(photo, (0, 0), sigma) for photo in photos]) for sigma in (1, 3)]
  assert as_they_are < noisy[0] < noisy[1] and as_they_are < blurred[0] < blurred[1]


def test_precision_and_jit_do_not_matter(photos, metric):
  """float32 against float64, plain against inside of a compiled program, where what is not finite stays so."""
  image = photos[1]
  plain = float(metric(image))
  with jax.enable_x64(True):
    assert metric(image.astype(np.float64)) == pytest.approx(plain, rel=2e-3)
  compiled = jax.jit(lambda metric, image: metric(image))
  assert compiled(metric, image) == pytest.approx(plain, rel=1e-3)
  assert np.isnan(compiled(metric, np.where(image > 0.5, np.nan, image)))


def test_the_whitening_undoes_the_covariance(metric):
  unit = metric.whitening.T @ metric.covariance @ metric.whitening
  np.testing.assert_allclose(unit, np.eye(len(unit)), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_blocks_without_contrast_do_not_count_and_a_grey_image_has_a_number(photos, metric):
  """The last of three blocks is black; nothing but one color is far away, but finite."""
  image = photos[0].copy()
  image[:, 150:] = 0
  expected = slow_statistics.niqe_distance(slow_statistics.grey_of(image), metric.mean, metric.covariance)
  assert metric(image) == pytest.approx(expected, rel=2e-3)
  grey = metric(jnp.full((96, 288, 3), 0.5))
  assert np.isfinite(grey) and grey > 2 * metric(photos[0])


def test_images_that_cannot_be_measured_are_refused(photos, metric):
  image = photos[0]
  with pytest.raises(ValueError, match="smaller than the 96"):
    metric(image[:95])
  with pytest.raises(ValueError, match="border of 1 is smaller than the 96"):
    metric(image, border=1)
  with pytest.raises(ValueError, match="not finite"):
    metric(np.where(image > 0.5, np.nan, image))
  for bytes_ in (255 * image, (255 * image).astype(np.uint8)):
    for measure in (metric, lambda image: fit_niqe([image])):
      with pytest.raises(ValueError, match="image must hold real numbers relative to white = 1.* Divide it by 255"):
        measure(bytes_)
  with pytest.raises(ValueError, match="give no covariance of 36 features"):
    fit_niqe(photos)
  with pytest.raises(ValueError, match="even number"):
    fit_niqe(photos, stride=7)


def test_both_widespread_files_are_read(tmp_path, photos, metric):
  """What was saved gives the same numbers, as MATLAB's file or as NumPy's."""
  expected = float(metric(photos[0]))
  io.savemat(tmp_path / "modelparameters.mat",
             dict(mu_prisparam=metric.mean[None], cov_prisparam=metric.covariance))
  save_niqe(tmp_path / "niqe_pris_params.npz", metric)
  for name in ("modelparameters.mat", "niqe_pris_params.npz"):
    found = load_niqe(tmp_path / name)
    assert isinstance(found, Niqe) and float(found(photos[0])) == expected


@pytest.mark.parametrize("content, message", [
    (dict(weights=np.ones(3)), "holds weights, not mu_prisparam"),
    (dict(mu_pris_param=np.ones(35), cov_pris_param=np.eye(35)), r"mean \(35,\) and a covariance \(35, 35\)"),
    (dict(mu_pris_param=np.full(36, np.nan), cov_pris_param=np.eye(36)), "not finite"),
    (dict(mu_pris_param=np.ones(36), cov_pris_param=-np.eye(36)), "negative variances"),
    (dict(mu_pris_param=np.ones(36), cov_pris_param=np.triu(np.ones((36, 36)))), "not symmetric")])
def test_files_that_hold_something_else_are_refused(tmp_path, content, message):
  np.savez(tmp_path / "model.npz", **content)
  with pytest.raises(ValueError, match=f"model.npz.*{message}|{message}.*model.npz|{message}") as error:
    load_niqe(tmp_path / "model.npz")
  assert "modelparameters.mat" in str(error.value) and "model.npz" in str(error.value)


def test_missing_and_damaged_files_say_what_to_do(tmp_path):
  with pytest.raises(FileNotFoundError, match="modelparameters.mat"):
    load_niqe(tmp_path / "none.mat")
  for name in ("bad.mat", "bad.npz"):
    (tmp_path / name).write_bytes(b"not a file of numbers")
    with pytest.raises(ValueError, match=f"{name} is no readable"):
      load_niqe(tmp_path / name)


def test_features_that_never_vary_do_not_count():
  """A direction without variance has no distance, whatever the scale of the others."""
  variances = np.array([0.0, *np.geomspace(1e-6, 1e2, 35)])
  metric = niqe_of(np.zeros(36), np.diag(variances))
  assert metric.whitening.shape == (36, 35) and not metric.whitening[0].any()


def test_addresses_homes_and_web_pages(tmp_path, metric, monkeypatch):
  """Paths are of this machine, for reading and writing; what a download left there instead is named."""
  monkeypatch.setenv("HOME", str(tmp_path))
  save_niqe("~/model.npz", metric)
  np.testing.assert_array_equal(load_niqe("~/model.npz").mean, metric.mean)
  for function in (load_niqe, lambda path: save_niqe(path, metric)):
    with pytest.raises(ValueError, match="path=s3://bucket/model.npz is an address"):
      function("s3://bucket/model.npz")
  (tmp_path / "page.mat").write_text("<html>")
  with pytest.raises(ValueError, match="page.mat is a web page"):
    load_niqe(tmp_path / "page.mat")
