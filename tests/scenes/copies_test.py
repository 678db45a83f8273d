"""Laws of finding copies by their content."""

import io

import cv2
import numpy as np
from PIL import Image
import pytest

from debir_jax.scenes import copies, image_files


def _natural(seed, height=256, width=384):
  """Details of all sizes, as in photos."""
  noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, height, width)))
  frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
  image = np.fft.irfft2(noise / (frequency + 1 / height), s=(height, width)).transpose(1, 2, 0)
  return np.clip(128 + 50 * image / image.std(), 0, 255).astype(np.uint8)


def _smaller(pixels, factor, method=Image.Resampling.LANCZOS):
  return np.asarray(Image.fromarray(pixels).resize((pixels.shape[1] // factor, pixels.shape[0] // factor), method))


def _compressed(pixels, quality):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=quality)
  return np.asarray(Image.open(file))


_COPIES = {
    "the same": lambda pixels: pixels, "JPEG": lambda pixels: _compressed(pixels, 75),
    "half": lambda pixels: _smaller(pixels, 2), "quarter": lambda pixels: _smaller(pixels, 4),
    "quarter, averaged": lambda pixels: cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
    "quarter, then JPEG": lambda pixels: _compressed(_smaller(pixels, 4, Image.Resampling.BILINEAR), 75),
    "grey": lambda pixels: np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))}


def _labels(images):
  return copies.same_content([copies.fingerprint(image) for image in images])


@pytest.mark.parametrize("copy", _COPIES)
def test_copies_have_the_label_of_their_original(copy):
  """And of no other photo."""
  originals = [_natural(seed) for seed in range(20)]
  labels = _labels(originals + [_COPIES[copy](pixels) for pixels in originals])
  np.testing.assert_array_equal(labels[:20], labels[20:])
  assert len(set(labels[:20])) == 20


def test_what_real_photos_have_in_common_makes_no_copies():
  """The same horizon, vignette, evening sky, white frame or black bars; flat photos have nothing to compare."""
  noise = np.random.default_rng(0).standard_normal((5, 32, 32, 1)).repeat(8, 1).repeat(8, 2)
  y, x = np.mgrid[-1:1:256j, -1:1:256j][..., None]
  pad = lambda seed, height, width, level: np.pad(_natural(seed, height, width), (
      (128 - height // 2,) * 2, (128 - width // 2,) * 2, (0, 0)), constant_values=level)
  for kind in ([np.where(y < 0, 190, 70) + 4 * noise[seed] + 0 * x for seed in range(5)],
               [160 - 90 * (x**2 + y**2) + _natural(seed, 256, 256) / 4. for seed in range(5)],
               [135 + 70 * y + 0 * x + _natural(seed, 256, 256) / 8. for seed in range(5)],
               [pad(seed, 96, 96, 255) for seed in range(5)], [pad(seed, 160, 256, 0) for seed in range(5)],
               [np.full((256, 256, 1), level) for level in (0, 0, 128, 200, 255)]):
    images = [np.clip(np.broadcast_to(image, (256, 256, 3)), 0, 255).astype(np.uint8) for image in kind]
    assert len(set(_labels(images))) == 5


def test_copies_of_copies_are_one_in_many_blocks(monkeypatch):
  """Chains a-b, b-c are one, wherever blocks begin; photos without a fingerprint are no copies."""
  monkeypatch.setattr(copies, "_BLOCK", 3)
  monkeypatch.setattr(copies, "_LIKENESS", 0.5)
  rng = np.random.default_rng(0)
  steps = np.eye(7)[[0, 1, 2, 3, 4, 5, 6]]
  chain = np.stack([steps[0], steps[0] + steps[1], steps[1], steps[3], steps[4] + steps[1], steps[4], steps[6]])
  monkeypatch.setattr(copies, "_steps", lambda thumbnails: (chain / np.linalg.norm(chain, axis=1, keepdims=True))[
      thumbnails[:, 0]])
  order = rng.permutation(7)
  given = [bytes([place]) for place in order] + [b"", b""]
  labels = copies.same_content(given)
  of = {int(place): label for place, label in zip(order, labels)}
  assert len({of[place] for place in (0, 1, 2, 4, 5)}) == 1
  assert len({of[0], of[3], of[6], *labels[7:]}) == 5


def test_ten_thousand_photos_take_seconds():
  """Compared by products of matrices; also if all are one photo."""
  random = np.random.default_rng(0).integers(0, 256, (10_000, 256)).astype(np.uint8)
  assert len(set(copies.same_content([values.tobytes() for values in random]))) == 10_000
  assert len(set(copies.same_content([random[0].tobytes()] * 3000))) == 1


def test_groups_are_joined_in_chains():
  """Items that share a label of either kind, directly or by others, are one group."""
  joined = copies.joined_groups([0, 0, 1, 1, 2, 3], ["a", "b", "b", "c", "d", "d"])
  assert len(set(joined[:4])) == 1 and joined[4] == joined[5] != joined[0]


def test_real_photos_are_no_copies_of_each_other(shared_dir):
  """230 photos of three collections; but each one, reduced to a quarter and compressed, is found."""
  folders = [shared_dir / "data" / name for name in ("photos", "photos_clic", "photos_cid22")]
  files = [file for folder in folders if folder.is_dir() for file in image_files.image_files(folder)]
  pixels = [image_files.read(file, least_side=copies.LEAST_SIDE).pixels for file in files]
  labels = _labels(pixels + [_compressed(_smaller(image, 4), 75) for image in pixels])
  assert len(files) >= 20 and len(set(labels)) == len(files)
  np.testing.assert_array_equal(labels[:len(files)], labels[len(files):])
