"""Laws of loading, splitting and cutting photos."""

import struct

import cv2
import numpy as np
import pytest

from debir_jax.scenes import photos


def _encoded(suffix, height=40, width=60, seed=0):
  pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
  return cv2.imencode(suffix, cv2.blur(pixels, (3, 3)))[1].tobytes()


@pytest.fixture
def folder(tmp_path):
  for name in ("b_left.png", "b_right.png", "a.jpg", "c.JPEG", "d.png"):
    (tmp_path / name).write_bytes(_encoded("." + name.split(".")[1].lower()))
  (tmp_path / "notes.txt").write_text("not a photo")
  return tmp_path


def test_builtin_photos_are_real_and_large_enough():
  """Seven color photos of six things, their stated size is that of their pixels; both motorcycles are one thing."""
  builtin = photos.builtin_photos()
  assert len(builtin) == 7 and len({photo.group for photo in builtin}) == 6
  for photo in builtin:
    pixels = photo.pixels()
    assert pixels.shape == (*photo.size, 3) and pixels.dtype == np.uint8 and min(photo.size) >= 256
    assert np.ptp(pixels.astype(int), axis=2).max() > 50  # In color.


def test_folder_lists_photos_in_order(folder):
  """Files come sorted; other files are left out; a stereo pair shares its group."""
  listed = photos.photo_folder(folder)
  assert [photo.name for photo in listed] == ["a.jpg", "b_left.png", "b_right.png", "c.JPEG", "d.png"]
  assert [photo.group for photo in listed] == ["a", "b", "b", "c", "d"]
  assert all(photo.size == (40, 60) for photo in listed)


def test_pixels_are_rgb(tmp_path):
  """Red stays red: OpenCV's channel order does not leak."""
  cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 200), np.uint8))
  np.testing.assert_array_equal(photos.photo_folder(tmp_path)[0].pixels()[0, 0], [200, 0, 0])


def test_pixels_of_16_bits_keep_their_upper_8(tmp_path):
  """A grey PNG of 16 bits has the same picture in 8, not one that is white almost everywhere."""
  values = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
  cv2.imwrite(str(tmp_path / "deep.png"), values)
  pixels = photos.photo_folder(tmp_path)[0].pixels()
  np.testing.assert_array_equal(pixels, np.repeat((values >> 8)[..., None], 3, -1))


def test_exif_orientation_is_respected(tmp_path):
  """Orientation 6 turns the image clockwise by 90 degrees."""
  data = _encoded(".jpg")
  tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
  exif = b"Exif\0\0" + tiff
  (tmp_path / "turned.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
  (tmp_path / "upright.jpg").write_bytes(data)
  turned, upright = (photo.pixels() for photo in photos.photo_folder(tmp_path))
  np.testing.assert_array_equal(turned, np.rot90(upright, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.95])
def test_truncated_photo_is_named(tmp_path, suffix, kept):
  """A file that ends early raises ValueError with its name, though OpenCV may decode it without a word."""
  data = _encoded(suffix)
  (tmp_path / f"half{suffix}").write_bytes(data[:int(kept * len(data))])
  with pytest.raises(ValueError, match=f"half{suffix} is truncated.*Remove or replace"):
    photos.photo_folder(tmp_path)


def test_damaged_png_is_named(tmp_path):
  """A changed byte in the data is noticed by the checksum."""
  data = bytearray(_encoded(".png"))
  data[200] ^= 1
  (tmp_path / "bad.png").write_bytes(data)
  with pytest.raises(ValueError, match="bad.png.*damaged"):
    photos.photo_folder(tmp_path)


def test_trailing_data_after_a_jpeg_is_allowed(tmp_path):
  """Phones append previews and depth maps."""
  (tmp_path / "phone.jpg").write_bytes(_encoded(".jpg") + b"anything")
  assert photos.photo_folder(tmp_path)[0].size == (40, 60)


def test_missing_empty_and_wrong_folders_are_named(tmp_path):
  """No folder, no photos, or a text file with a photo's suffix: each says what to do."""
  with pytest.raises(ValueError, match="nowhere is not a folder"):
    photos.photo_folder(tmp_path / "nowhere")
  with pytest.raises(ValueError, match="No .png, .jpg or .jpeg file.*builtin_photos"):
    photos.photo_folder(tmp_path)
  (tmp_path / "fake.png").write_text("no photo at all")
  with pytest.raises(ValueError, match="fake.png.*neither PNG nor JPEG"):
    photos.photo_folder(tmp_path)


def test_photo_smaller_than_the_crop_is_named(folder):
  """The message has the photo's size and the crop's."""
  with pytest.raises(ValueError, match="a.jpg has 40x60 pixels, less than crop_size=48"):
    photos.check_large_enough(photos.photo_folder(folder), 48)


def _made_up(groups):
  return [photos.Photo(path=None, group=group, size=(99, 99)) for group in groups]


@pytest.mark.parametrize("num_groups", [3, 4, 7, 40])
def test_splits_are_disjoint_in_groups_and_complete(num_groups):
  """Every photo is in exactly one split, every split has some, and no group is torn apart."""
  collection = _made_up([f"{i}" for i in range(num_groups) for _ in range(1 + i % 3)])
  splits = photos.split_photos(collection, seed=3)
  parts = [splits.restore, splits.bae, splits.held_out]
  groups = [{photo.group for photo in part} for part in parts]
  assert all(groups) and sum(len(part) for part in parts) == len(collection)
  assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_splits_depend_on_the_seed_alone():
  """Same seed, same splits; the order in which photos are listed does not matter; another seed deals anew."""
  collection = _made_up([f"{i}" for i in range(12)])
  held_out = lambda *args, **kwargs: {photo.group for photo in photos.split_photos(*args, **kwargs).held_out}
  assert held_out(collection, seed=1) == held_out(collection[::-1], seed=1)
  assert len({frozenset(held_out(collection, seed=seed)) for seed in range(5)}) > 1


def test_two_groups_share_training_but_not_evaluation():
  """With two groups, restoration and BAENet share one and the other is held out; one group is an error."""
  splits = photos.split_photos(_made_up(["x", "y"]))
  assert splits.restore == splits.bae and splits.held_out[0].group != splits.bae[0].group
  with pytest.raises(ValueError, match=r"1 group\(s\) of photos cannot be split"):
    photos.split_photos(_made_up(["x", "x"]))


def test_builtin_splits_hold_out_two_things():
  """Of the six things, three serve restoration, one BAENet, and two evaluation."""
  splits = photos.split_photos(photos.builtin_photos())
  assert [len({p.group for p in part}) for part in (splits.restore, splits.bae, splits.held_out)] == [3, 1, 2]


@pytest.mark.parametrize("height, width, crop_size", [(300, 500, 32), (70, 90, 64), (64, 64, 64), (700, 300, 40)])
def test_cutout_is_a_square_of_linear_values(height, width, crop_size):
  """Side 4 x crop, float32 in [0, 1], and a constant photo stays constant at its linear value."""
  rng = np.random.default_rng(0)
  constant = photos.random_crop_downscale(rng, np.full((height, width, 3), 128, np.uint8), crop_size=crop_size)
  assert constant.shape == (4 * crop_size, 4 * crop_size, 3) and constant.dtype == np.float32
  np.testing.assert_allclose(constant, ((128 / 255 + 0.055) / 1.055)**2.4, atol=1e-6)
  noise = photos.random_crop_downscale(rng, rng.integers(0, 256, (height, width, 3), np.uint8), crop_size=crop_size)
  assert noise.min() >= 0 and noise.max() <= 1 and noise.std() > 0.05


def test_crop_lies_within_the_photo():
  """Along a ramp, the middle of the cut-out (the crop) rises throughout: nothing in it is mirrored."""
  ramp = np.broadcast_to(np.linspace(0, 255, 100)[None, :, None], (80, 100, 3)).astype(np.uint8)
  for seed in range(20):
    cutout = photos.random_crop_downscale(np.random.default_rng(seed), ramp, crop_size=64)
    line = cutout[128, 64 + 4:192 - 4:8, 0]
    assert np.all(np.diff(line) > 0)


def test_cutout_is_reproducible():
  """The same generator state gives the same piece."""
  pixels = photos.builtin_photos()[0].pixels()
  cut = lambda seed: photos.random_crop_downscale(np.random.default_rng(seed), pixels, crop_size=16)
  np.testing.assert_array_equal(cut(5), cut(5))
  assert np.abs(cut(5) - cut(6)).max() > 0.05


def test_real_photos_pass(shared_dir):
  """A mixed collection from 13 cameras is read; sizes are as stated up to a turn, or reduced to 1536 pixels."""
  listed = photos.photo_folder(shared_dir / "data" / "photos")
  assert len(listed) >= 20
  for photo in listed[:3] + listed[-1:]:
    short, long = sorted(photo.size)
    scale = min(1, 1536 / short)
    assert sorted(photo.pixels().shape[:2]) == [round(scale * short), round(scale * long)]
