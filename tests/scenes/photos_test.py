"""Laws of loading, splitting and cutting photos."""

import collections
import itertools
import struct

import cv2
import numpy as np
import pytest

from debir_jax.scenes import image_files, photos


def _pixels(height=40, width=60, seed=0):
  return cv2.blur(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), (3, 3))


def _encoded(suffix, height=40, width=60, seed=0):
  return cv2.imencode(suffix, _pixels(height, width, seed))[1].tobytes()


@pytest.fixture
def folder(tmp_path):
  for seed, name in enumerate(("b_left.png", "b_right.png", "a.jpg", "c.JPEG", "d.png")):
    (tmp_path / name).write_bytes(_encoded("." + name.split(".")[1].lower(), seed=seed))
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
  """A PNG of 16 bits, grey or in color, is the nearest of 255 levels, not white almost everywhere."""
  values = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
  for name, image in (("color.png", np.stack([values, values[::-1], values.T.reshape(48, 64)], -1)),
                      ("grey.png", values)):
    cv2.imwrite(str(tmp_path / name), image)
  color, grey = (photo.pixels() for photo in photos.photo_folder(tmp_path))
  np.testing.assert_array_equal(grey, np.round(values / 257)[..., None].repeat(3, -1))
  np.testing.assert_array_equal(color[..., ::-1], np.round(cv2.imread(str(tmp_path / "color.png"), -1) / 257))


def test_large_photos_are_reduced_in_linear_light(tmp_path):
  """A checkerboard of black and white becomes half the light of white, 188 in sRGB, not half its number."""
  rows, columns = np.mgrid[:3072, :3080]
  cv2.imwrite(str(tmp_path / "checks.png"), (255 * ((rows + columns) % 2)).astype(np.uint8))
  pixels = photos.photo_folder(tmp_path)[0].pixels()
  assert pixels.shape == (1536, 1540, 3)
  np.testing.assert_array_equal(pixels, np.full_like(pixels, 188))


def test_reducing_keeps_flat_photos(tmp_path):
  """Each of 256 levels, by a factor that is no whole number."""
  cv2.imwrite(str(tmp_path / "levels.png"), np.arange(256, dtype=np.uint8).repeat(7)[:, None].repeat(1792, 1))
  pixels = photos.photo_folder(tmp_path)[0].pixels()
  assert pixels.shape == (1536, 1536, 3)
  np.testing.assert_array_equal(pixels[3::6], np.arange(256)[:, None, None] * np.ones((1, 1536, 3)))


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


def test_damage_that_others_read_as_grey_is_refused(tmp_path):
  """A JPEG with a hole of zeros, by name."""
  data = _encoded(".jpg", 240, 320)
  (tmp_path / "hole.jpg").write_bytes(data[:4000] + bytes(512) + data[4512:])
  with pytest.raises(image_files.UnreadablePhotoError, match="hole.jpg is truncated, damaged.*Remove or replace"):
    photos.photo_folder(tmp_path)


def test_resource_forks_are_no_photos(folder):
  """macOS writes ._a.jpg beside a.jpg on foreign file systems."""
  (folder / "._a.jpg").write_bytes(b"\0\5\x16\7")
  assert len(photos.photo_folder(folder)) == 5


def test_home_folders_and_addresses(folder, monkeypatch):
  """~ is expanded, a bucket is refused before anything else happens."""
  monkeypatch.setenv("HOME", str(folder.parent))
  assert len(photos.photo_folder(f"~/{folder.name}")) == 5
  with pytest.raises(ValueError, match="s3://bucket/photos is an address"):
    photos.photo_folder("s3://bucket/photos")


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


def test_copies_are_one_group_whatever_their_names(tmp_path, capsys):
  """Renamed, reduced to a quarter, compressed again, in another format: one group, and the log says how many."""
  for seed in range(5):
    pixels = cv2.resize(_pixels(30, 40, seed), (480, 360), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / f"{seed}.png"), pixels)
    cv2.imwrite(str(tmp_path / f"renamed {9 - seed}.png"), pixels)
    cv2.imwrite(str(tmp_path / f"x{seed}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])
    quarter = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / f"small {seed * 7 % 5}.jpg"), quarter, [cv2.IMWRITE_JPEG_QUALITY, 75])
  listed = photos.photo_folder(tmp_path)
  of_group = collections.defaultdict(set)
  for photo in listed:
    of_group[photo.group].add(photo.name)
  assert of_group == {str(seed): {f"{seed}.png", f"renamed {9 - seed}.png", f"x{seed}.jpg", f"small {seed * 7 % 5}.jpg"}
                      for seed in range(5)}
  assert f"15 of the 20 photos in {tmp_path} are copies" in capsys.readouterr().err
  for seed in range(20):
    _check_disjoint(photos.split_photos(listed, seed=seed))


def test_copies_in_several_folders_stay_in_one_split(tmp_path):
  """Photos of two folders, the second with copies of the first."""
  for seed, name in itertools.product(range(4), ("a", "b")):
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / f"{name}{seed}.png").write_bytes(_encoded(".png", seed=seed))
  splits = photos.split_photos(photos.photo_folder(tmp_path / "a") + photos.photo_folder(tmp_path / "b"))
  for part in _parts(splits):
    first, second = part
    np.testing.assert_array_equal(first.pixels(), second.pixels())


def test_groups_by_name_and_by_content_are_joined(tmp_path, capsys):
  """A copy of the left image of a stereo pair stays with the right one as well; without copies nothing is said."""
  for name, seed in (("m_left", 0), ("m_right", 1), ("z", 2)):
    (tmp_path / f"{name}.png").write_bytes(_encoded(".png", seed=seed))
  assert [photo.group for photo in photos.photo_folder(tmp_path)] == ["m", "m", "z"]
  assert not capsys.readouterr().err
  (tmp_path / "copy.png").write_bytes(_encoded(".png", seed=0))
  assert [photo.group for photo in photos.photo_folder(tmp_path)] == ["copy", "copy", "copy", "z"]


def _made_up(groups):
  return [photos.Photo(path=None, group=group, size=(99, 99)) for group in groups]


def _parts(splits):
  return [splits.restore, splits.bae, splits.validation, splits.test]


def _check_disjoint(splits):
  groups = [{photo.group for photo in part} for part in _parts(splits)]
  assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))
  return groups


@pytest.mark.parametrize("num_groups", [4, 5, 7, 40])
@pytest.mark.parametrize("fractions", [
    (0.5, 0.2, 0.1, 0.2), (1, 1, 1, 97), (97, 1, 1, 1), (1, 97, 1, 1), (1, 1, 97, 1)])
def test_splits_are_disjoint_in_groups_and_complete(num_groups, fractions):
  """Every photo is in exactly one split, every split has some, and no group is torn apart."""
  collection = _made_up([f"{i}" for i in range(num_groups) for _ in range(1 + i % 3)])
  splits = photos.split_photos(collection, fractions=fractions, seed=3)
  _check_disjoint(splits)
  assert sum(len(part) for part in _parts(splits)) == len(collection)


@pytest.mark.parametrize("num_groups, counts", [
    (4, [1, 1, 1, 1]), (5, [2, 1, 1, 1]), (6, [2, 1, 1, 2]), (7, [3, 1, 1, 2]), (10, [5, 2, 1, 2]), (40, [20, 8, 4, 8]),
    (1000, [500, 200, 100, 200])])
def test_splits_have_their_shares(num_groups, counts):
  """Half for restoration, a fifth for BAENet and for the test, a tenth for validation; few groups rather test more."""
  splits = photos.split_photos(_made_up([f"{i}" for i in range(num_groups)]))
  assert [len(part) for part in _parts(splits)] == counts


def test_splits_depend_on_the_seed_alone():
  """Same seed, same splits; the order in which photos are listed does not matter; another seed deals anew."""
  collection = _made_up([f"{i}" for i in range(12)])
  def dealt(given, seed):
    return [{photo.group for photo in part} for part in _parts(photos.split_photos(given, seed=seed))]
  assert dealt(collection, seed=1) == dealt(collection[::-1], seed=1)
  assert len({frozenset(dealt(collection, seed=seed)[3]) for seed in range(5)}) > 1


def test_too_few_groups_are_an_error_with_a_remedy(tmp_path):
  """Four splits need four groups, and copies are no further group."""
  for num_groups, names in ((0, []), (3, ["x", "y", "z", "z"])):
    with pytest.raises(ValueError, match=rf"{num_groups} group\(s\) of photos cannot be dealt into four.*Add photos"):
      photos.split_photos(_made_up(names))
  for name, seed in zip("abcd", (0, 1, 2, 2)):
    (tmp_path / f"{name}.png").write_bytes(_encoded(".png", seed=seed))
  with pytest.raises(ValueError, match=r"3 group\(s\).*copies of a photo"):
    photos.split_photos(photos.photo_folder(tmp_path))


@pytest.mark.parametrize("fractions", [(0.5, 0.25, 0.25), (1, 0, 1, 1), (1, 1, 1, float("nan")), (1, 1, 1, -1)])
def test_fractions_that_cannot_be_are_named(fractions):
  """Three, zero, negative or no number."""
  with pytest.raises(ValueError, match="fractions must be four positive numbers"):
    photos.split_photos(_made_up("abcd"), fractions=fractions)


def test_builtin_splits_test_on_two_things():
  """Of the six things, two serve restoration, one BAENet, one validation, and two the test."""
  splits = photos.split_photos(photos.builtin_photos())
  assert [len(groups) for groups in _check_disjoint(splits)] == [2, 1, 1, 2]


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


def test_the_rocket_is_converted_from_adobe_rgb():
  """One of the built-in photos states a wider gamut; its colors are stronger in sRGB's numbers."""
  rocket, = (photo for photo in photos.builtin_photos() if photo.name == "rocket.jpg")
  stated = cv2.imread(str(rocket.path))[..., ::-1].astype(int)
  assert np.ptp(rocket.pixels(), axis=2).mean() > 1.1 * np.ptp(stated, axis=2).mean()


def test_photos_reported_to_others_are_skippable(shared_dir):
  """What cannot be read raises the error that on_unreadable=skip counts, however large or damaged the file is."""
  folder = shared_dir / "data" / "reports"
  if not folder.is_dir():
    pytest.skip(f"no {folder}")
  read = {}
  for path in image_files.image_files(folder):
    try:
      read[path.name] = photos.Photo(path=path, group="", size=(1, 1)).pixels()
    except image_files.UnreadablePhotoError as error:
      assert path.name in str(error)
  assert sorted(read) == ["linear_gama_1.png", "whole.jpg", "wide_gamut_icc.png"]


def test_real_photos_pass(shared_dir):
  """A mixed collection from 13 cameras is read; sizes are as stated up to a turn, or reduced to 1536 pixels."""
  listed = photos.photo_folder(shared_dir / "data" / "photos")
  assert len(listed) >= 20
  for photo in listed[:3] + listed[-1:]:
    short, long = sorted(photo.size)
    scale = min(1, 1536 / short)
    assert sorted(photo.pixels().shape[:2]) == [round(scale * short), round(scale * long)]
