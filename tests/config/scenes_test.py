"""Where the scenes of a run come from: names in the config, a source of one's own, or sources that are given."""

import json
import pathlib
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.config import scenes as scenes_config
from debir_jax.config.scenes import batches_of, register_scenes, scene_sources_of
from debir_jax.runtime.mesh import make_mesh
from debir_jax.scenes import (
  CachedScenes,
  DeadLeavesScenes,
  FiledScenes,
  MixedScenes,
  PhotoMotionScenes,
  batches,
  builtin_photos,
  photo_splits,
)
from debir_jax.types import BurstTiming, CameraColor, Scene

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def config(monkeypatch):
  """The default config, with few small scenes."""
  monkeypatch.syspath_prepend(str(_ROOT))
  from configs import default  # pylint: disable=import-outside-toplevel
  config = default.get_config()
  config.data.update(dict(num_restore_scenes=10, num_bae_scenes=6, num_validation_scenes=3, num_test_scenes=5,
                          crop_size=32, photos="builtin"))
  return config


@pytest.fixture
def makers(monkeypatch):
  """The registry, as it is again after the test."""
  known = {name: scenes_config._MAKERS[name] for name in ("photos", "dead_leaves", "clips")}
  monkeypatch.setattr(scenes_config, "_MAKERS", known)
  return known


class Grey:
  """Grey scenes, numbered by their brightness."""

  def __init__(self, num_scenes, num_subframes, crop_size=32):
    self._num_scenes, self.num_subframes, self.crop_size = num_scenes, num_subframes, crop_size

  def __len__(self):
    return self._num_scenes

  def scene(self, index):
    radiance = jnp.full((self.num_subframes, self.crop_size // 2, self.crop_size // 2, 4), index / 100)
    return Scene(radiance=radiance, color=CameraColor.neutral(), scene_id=jnp.asarray(index, jnp.int32))


def _parts(source):
  """Class and number of scenes of each source behind a mixed one."""
  return [(type(part), len(part)) for part in (source._sources if isinstance(source, MixedScenes) else [source])]


def test_photos_and_dead_leaves_are_the_default_and_held_out_scenes_are_photos(config):
  """A fourth of the training scenes are dead leaves; sequences hold what is exposed in each split."""
  sources = scene_sources_of(config)
  assert _parts(sources["restore"]) == [(PhotoMotionScenes, 8), (DeadLeavesScenes, 2)]
  assert _parts(sources["bae"]) == [(PhotoMotionScenes, 4), (DeadLeavesScenes, 2)]
  assert _parts(sources["validation"]) == [(PhotoMotionScenes, 3)]
  assert _parts(sources["test"]) == [(PhotoMotionScenes, 5)]
  assert {name: source.num_subframes for name, source in sources.items()} == dict(
      restore=358, bae=230, validation=230, test=230)
  assert {source.crop_size for source in sources.values()} == {32}


def test_no_two_splits_share_a_photo_or_a_seed(config, makers):
  """Otherwise held-out scenes would have been seen."""
  asked = {}

  def make(data, request):
    asked[request.split] = request
    return Grey(request.num_scenes, request.num_subframes, data.crop_size)

  register_scenes("asked", make)
  config.data.source, config.data.seed = "asked", 7
  scene_sources_of(config)
  assert set(asked) == {"restore", "bae", "validation", "test"}
  assert len({request.seed for request in asked.values()}) == 4
  groups = {split: {photo.group for photo in request.photos()} for split, request in asked.items()}
  assert all(groups.values()) and len(set.union(*groups.values())) == sum(map(len, groups.values()))
  config.data.bae_photos = "training"
  scene_sources_of(config)
  shared = {split: {photo.group for photo in request.photos()} for split, request in asked.items()}
  assert shared == groups | {"bae": groups["restore"] | groups["bae"]}


def test_sources_of_one_split_draw_other_paths_and_colors(config):
  """A photo and dead leaves at the same place of their sources do not move alike, in the same colors."""
  config.data.source = "photos+dead_leaves"
  photos, leaves = scene_sources_of(config)["restore"]._sources
  ours, theirs = photos.params(0), leaves.params(0)
  assert np.all(ours.color.white_balance[0] != theirs.color.white_balance[0])
  assert not np.allclose(jax.tree.leaves(ours.path)[0], jax.tree.leaves(theirs.path)[0])


def test_names_of_one_split_get_other_seeds(config, makers):
  """Also sources of one's own, whatever they make of it; and the same ones in every start."""
  def seeds():
    asked = []
    for name in ("mine", "yours"):
      makers[name] = lambda data, request: asked.append(request.seed) or Grey(request.num_scenes, 358)
    scene_sources_of(config)
    return asked

  config.data.source = "mine+yours"
  assert len(set(seeds())) == 8 and seeds() == seeds()


def test_without_photos_training_is_refused(config):
  """The paper's configs name none: three photos that come with a package are no training set."""
  config.data.photos = ""
  with pytest.raises(ValueError, match="config.data.photos names no photos.*--config.data.photos=FOLDER.*builtin"):
    scene_sources_of(config)
  config.data.update(dict(source="dead_leaves", validation_source="dead_leaves", test_source="dead_leaves"))
  scene_sources_of(config)


@pytest.mark.parametrize("fraction, expected", [
    (0.0, [(PhotoMotionScenes, 10)]), (0.25, [(PhotoMotionScenes, 8), (DeadLeavesScenes, 2)]),
    (0.5, [(PhotoMotionScenes, 5), (DeadLeavesScenes, 5)]), (1.0, [(DeadLeavesScenes, 10)])])
def test_dead_leaves_have_their_fraction_of_the_scenes(config, fraction, expected):
  config.data.dead_leaves_fraction = fraction
  assert _parts(scene_sources_of(config)["restore"]) == expected


def test_dead_leaves_alone_need_no_photos(config):
  """They are all of the scenes, whatever their fraction is otherwise; held-out ones have to be asked for."""
  config.data.update(dict(source="dead_leaves", validation_source="dead_leaves", test_source="dead_leaves",
                          photos="nowhere"))
  sources = scene_sources_of(config)
  assert {split: _parts(source) for split, source in sources.items()} == {
      "restore": [(DeadLeavesScenes, 10)], "bae": [(DeadLeavesScenes, 6)], "validation": [(DeadLeavesScenes, 3)],
      "test": [(DeadLeavesScenes, 5)]}
  for split in ("test", "validation"):
    config.data[f"{split}_source"] = None
    with pytest.raises(ValueError, match=f"no {split} scenes unless .* set config.data.{split}_source"):
      scene_sources_of(config)


@pytest.mark.parametrize("source, num_scenes, expected", [
    ("mine", 10, [("mine", 10)]), ("mine+yours", 10, [("mine", 5), ("yours", 5)]),
    ("mine+yours+theirs", 10, [("mine", 4), ("yours", 3), ("theirs", 3)]),
    ("mine+dead_leaves", 10, [("mine", 8), ("dead_leaves", 2)]),
    ("dead_leaves+mine+yours", 10, [("dead_leaves", 2), ("mine", 4), ("yours", 4)]),
    ("mine+yours", 1, [("mine", 1)])])
def test_joined_names_share_the_scenes(config, makers, source, num_scenes, expected):
  """Dead leaves have their fraction, all others share the rest evenly; together they are what was asked for."""
  made = []

  def maker(name):
    def make(data, request):
      if request.split == "restore":
        made.append((name, request.num_scenes))
      return Grey(request.num_scenes, request.num_subframes, data.crop_size)
    return make

  for name in ("mine", "yours", "theirs"):
    register_scenes(name, maker(name))
  makers["dead_leaves"] = maker("dead_leaves")
  config.data.update(dict(source=source, num_restore_scenes=num_scenes))
  assert len(scene_sources_of(config)["restore"]) == num_scenes
  assert made == expected


def test_a_source_of_one_s_own_is_asked_for_what_the_run_needs(config, makers):
  """It sees `config.data`, the split, the timing and the length of sequences; held-out scenes come from it too."""
  asked = []

  def make(data, request):
    asked.append((data.crop_size, request.split, request.num_scenes, request.num_subframes, request.timing))
    return Grey(request.num_scenes, request.num_subframes, data.crop_size)

  register_scenes("grey", make)
  config.data.source, config.capture.timing = "grey+dead_leaves", "release"
  sources = scene_sources_of(config)
  timing = BurstTiming.release()
  assert asked == [(32, "restore", 8, timing.num_subframes(4 * timing.max_exposure_s), timing),
                   (32, "bae", 4, 179, timing), (32, "validation", 3, 179, timing), (32, "test", 5, 179, timing)]
  assert _parts(sources["restore"]) == [(Grey, 8), (DeadLeavesScenes, 2)] and _parts(sources["test"]) == [(Grey, 5)]
  scene = sources["restore"].scene(7)
  assert scene.radiance[0, 0, 0, 0] == jnp.float32(0.07) and scene.scene_id == 7
  config.data.test_source = "grey+photos"
  assert _parts(scene_sources_of(config)["test"]) == [(Grey, 3), (PhotoMotionScenes, 2)]


@pytest.mark.parametrize("name", ["photos", "dead_leaves", "clips", "", "a+b"])
def test_names_that_are_taken_or_no_names_cannot_be_registered(makers, name):
  with pytest.raises(ValueError, match="a name of its own without '\\+'"):
    register_scenes(name, lambda data, request: None)
  register_scenes("fresh", lambda data, request: None)
  with pytest.raises(ValueError, match="got 'fresh'; there are photos, dead_leaves, clips, fresh"):
    register_scenes("fresh", lambda data, request: None)


@pytest.mark.parametrize("field, value", [
    ("source", "fotos"), ("source", "photos+fotos"), ("source", "photos+photos"), ("source", "photos+"),
    ("test_source", "gopro"), ("validation_source", "gopro"), ("source", "")])
def test_unknown_and_repeated_names_are_refused(config, field, value):
  """With the field, all names that there are, and how a source of one's own gets one."""
  config.data[field] = value
  with pytest.raises(ValueError, match=f"config.data.{field}='{value}'".replace("+", r"\+")) as error:
    scene_sources_of(config)
  assert "'photos', 'dead_leaves', 'clips'" in str(error.value) and "register_scenes" in str(error.value)


def test_sources_that_are_given_take_the_place_of_the_config_s(config):
  """By split; of the others nothing is changed, and nothing of the config is made for those."""
  given = dict(restore=Grey(3, 358), validation=Grey(2, 230), test=Grey(2, 230))
  sources = scene_sources_of(config, given)
  assert sources["restore"] is given["restore"] and sources["test"] is given["test"]
  assert _parts(sources["bae"]) == [(PhotoMotionScenes, 4), (DeadLeavesScenes, 2)]
  config.data.photos = "nowhere"
  assert scene_sources_of(config, given | dict(bae=Grey(4, 230)))["bae"].num_subframes == 230
  with pytest.raises(ValueError, match="no splits 'eval', 'train'; scenes can be given for 'restore', 'bae', 'valid"):
    scene_sources_of(config, dict(train=Grey(1, 358), eval=Grey(1, 358)))


@pytest.mark.parametrize("split, num_subframes, needed", [
    ("restore", 357, 358), ("bae", 229, 230), ("validation", 229, 230), ("test", 100, 230)])
def test_sequences_that_are_too_short_are_refused(config, makers, split, num_subframes, needed):
  """Whether they are given or made: a burst would be cut silently. Longer ones are fine."""
  lengths = dict(restore=400, bae=400, validation=400, test=400)
  given = lambda lengths: {split: Grey(2, length) for split, length in lengths.items()}
  assert scene_sources_of(config, given(lengths))[split].num_subframes == 400
  with pytest.raises(ValueError, match=f"Sequences have {num_subframes} subframes, .* need {needed}"):
    scene_sources_of(config, given(lengths | {split: num_subframes}))
  register_scenes("short", lambda data, request: Grey(2, (lengths | {split: num_subframes})[request.split]))
  config.data.source = "short"
  with pytest.raises(ValueError, match=f"Sequences have {num_subframes} subframes, .* need {needed}"):
    scene_sources_of(config)


@pytest.mark.parametrize("name", ["photos", "dead_leaves"])
def test_scenes_move_as_fast_as_the_config_says(config, name):
  """In px/s whatever the crop, along the same paths; only training scenes may stand still."""
  def shifts(split="restore", **fields):
    config.data.update(dict(source=name, validation_source=name, test_source=name, static_fraction=0.0,
                            median_speed_px_s=100.0, crop_size=32) | fields)
    return scene_sources_of(config)[split].params(1).path.amplitude[:2]

  plain = shifts()
  assert np.abs(plain).min() > 0
  np.testing.assert_allclose(shifts(median_speed_px_s=300.0), 3 * plain, rtol=1e-4)
  np.testing.assert_allclose(shifts(crop_size=64), plain, rtol=1e-4)
  np.testing.assert_allclose(shifts("test", median_speed_px_s=300.0), 3 * shifts("test"), rtol=1e-4)
  for split in ("restore", "bae"):
    assert not np.any(shifts(split, static_fraction=1.0))
  for split in ("validation", "test"):
    assert np.any(shifts(split, static_fraction=1.0))
    assert not np.any(shifts(split, held_out_static_fraction=1.0))
    config.data.held_out_static_fraction = 0.0


def test_layers_are_as_frequent_as_the_config_says(config):
  """Near ones and objects each by its own field."""
  for shares in ((1, 0), (0, 1)):
    config.data.update(dict(source="photos", parallax_fraction=float(shares[0]), object_fraction=float(shares[1])))
    layers = scene_sources_of(config)["restore"].params(1).layers
    assert tuple(float(layer.visible) for layer in layers) == shares


def test_photos_come_from_several_folders_and_a_list_says_which_is_where(config, tmp_path):
  """Dealt together without a list; with one as it says, and without what it does not name."""
  for number, photo in enumerate(builtin_photos()):
    folder = tmp_path / str(number % 2)
    folder.mkdir(exist_ok=True)
    shutil.copy(photo.path, folder)
  config.data.update(dict(source="photos", photos=f"{tmp_path / '0'},{tmp_path / '1'}"))
  groups = lambda: {split: {source.group(index) for index in range(len(source))}
                    for split, source in scene_sources_of(config).items()}
  assert len(set().union(*groups().values())) == 6
  photo_splits.main([str(tmp_path / "0"), str(tmp_path / "1"), "--to", str(tmp_path / "list.json"), "--seed=5"])
  config.data.photo_list = str(tmp_path / "list.json")
  listed = json.loads((tmp_path / "list.json").read_text())["photos"]
  for split, found in groups().items():
    assert found <= {entry["group"] for entry in listed.values() if entry["split"] == split}


def test_scenes_are_kept_in_memory_on_request(config):
  """All that the config makes; what is given stays as it is."""
  config.data.cache = True
  sources = scene_sources_of(config, dict(test=Grey(2, 230)))
  assert {split: type(source) for split, source in sources.items()} == dict(
      restore=CachedScenes, bae=CachedScenes, validation=CachedScenes, test=Grey)
  config.data.cache_dir = "~/scenes"  # Goes before memory.
  assert type(scene_sources_of(config)["bae"]) is FiledScenes


@pytest.mark.parametrize("timing, second_start", [("paper", 176), ("release", 179)])
def test_held_out_scenes_are_windows_of_clips_on_request(config, tmp_path, timing, second_start):
  """Paper: a burst starts 80 subframes into a window, at a frame that is no interpolation. Release: windows as cut."""
  (tmp_path / "clip").mkdir()
  frame = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
  for number in range(3 * 179):
    (tmp_path / "clip" / f"{number:06d}.png").write_bytes(frame)
  config.data.update(dict(test_clips=str(tmp_path), num_test_scenes=5))
  config.capture.timing = timing
  source = scene_sources_of(config)["test"]
  assert [source.window(i) for i in range(len(source))] == [("clip", 0), ("clip", second_start)]
  assert source.scene(1).radiance.shape == (dict(paper=230, release=179)[timing], 16, 24, 4)
  config.data.test_source = "photos"  # Named, they come before the clips.
  assert _parts(scene_sources_of(config)["test"]) == [(PhotoMotionScenes, 5)]


@pytest.mark.parametrize("values", [dict(source="photos+clips"), dict(test_source="clips")])
def test_clips_are_held_out_scenes_of_a_folder(config, values):
  """Not training scenes, and nothing without their folder."""
  config.data.update(values)
  with pytest.raises(ValueError, match="Clips are test scenes: set config.data.test_clips to their folder"):
    scene_sources_of(config)


def test_batches_of_a_run_depend_on_its_seed_and_step_alone(config):
  """Those of `scenes.batches` at the config's size and seed, from any step onwards."""
  config.batch_size, config.seed, source = 2, 5, Grey(7, 2, 8)
  expected = batches(source, 2, 5)
  expected = [next(expected) for _ in range(5)]
  for num_threads in (None, 2):
    config.data.num_threads = num_threads
    stream = batches_of(config, source, 3, make_mesh(1))
    for batch in expected[3:]:
      jax.tree.map(np.testing.assert_array_equal, next(stream), batch)
    stream.close()


def test_a_split_without_scenes_is_named(config):
  config.data.num_bae_scenes = 0
  with pytest.raises(ValueError, match="config.data.num_bae_scenes=0 must be at least 1"):
    scene_sources_of(config)


class _Entries:
  """Data sets of the paper's sizes, of which nothing can be read."""

  sizes = dict(gopro_debir=dict(restore=3728, bae=1036, test=532), realblur_debir=dict(restore=364, bae=91))

  def __init__(self, data_dir, name):
    assert str(data_dir) == "/data"
    self._sizes = self.sizes[name]

  def size(self, split, validation_groups):
    held_out = (40 if validation_groups is None else 0) if "test" in self._sizes else 0
    return dict(validation=held_out, bae=self._sizes["bae"] - held_out).get(split, self._sizes.get(split, 0))


@pytest.fixture
def paper_data(config, makers, monkeypatch):
  """What is asked of which data set, by split."""
  asked = {}
  monkeypatch.setattr(scenes_config, "PreparedData", _Entries)
  for name in ("gopro_debir", "realblur_debir"):
    makers[name] = lambda data, request, name=name: asked.setdefault(request.split, {}).update(
        {name: request.num_scenes}) or Grey(request.num_scenes, request.num_subframes, data.crop_size)
  config.data.update(dict(source="gopro_debir+realblur_debir", data_dir="/data", num_restore_scenes=4092,
                          num_bae_scenes=1127, num_validation_scenes=64, num_test_scenes=532))
  return asked


def test_data_sets_have_the_papers_counts(config, paper_data):
  """4,092 / 1,127 / 532, each data set as many as it has; validation takes a clip of BAENet's unless told otherwise."""
  config.data.update(dict(validation_clips="", validation_source="photos"))
  scene_sources_of(config)
  assert paper_data == dict(restore=dict(gopro_debir=3728, realblur_debir=364),
                            bae=dict(gopro_debir=1036, realblur_debir=91), test=dict(gopro_debir=532))
  config.data.update(dict(validation_clips=None, validation_source=None))
  scene_sources_of(config)
  assert paper_data["validation"] == dict(gopro_debir=40) and paper_data["bae"]["gopro_debir"] == 996


@pytest.mark.parametrize("source, wanted, expected", [
    ("gopro_debir+realblur_debir", 1023, dict(gopro_debir=932, realblur_debir=91)),
    ("gopro_debir+realblur_debir", 9999, dict(gopro_debir=3728, realblur_debir=364)),
    ("gopro_debir+realblur_debir+photos", 300, dict(gopro_debir=182, realblur_debir=18)),
    ("gopro_debir+dead_leaves", 1000, dict(gopro_debir=750))])
def test_data_sets_share_by_their_sizes(config, paper_data, source, wanted, expected):
  """In proportion to what they have, and no more than that; beside what is drawn each name has its part."""
  config.data.update(dict(source=source, num_restore_scenes=wanted))
  sources = scene_sources_of(config, dict(bae=Grey(2, 230), validation=Grey(2, 230), test=Grey(2, 230)))
  assert paper_data["restore"] == expected and len(sources["restore"]) == min(wanted, max(
      sum(expected.values()), wanted if source.count("+") > 1 or "leaves" in source else 0))


def test_a_split_that_no_data_set_has_is_named(config, paper_data):
  config.data.test_source = "realblur_debir"
  with pytest.raises(ValueError, match="realblur_debir have no scenes for test.*config.data.test_source"):
    scene_sources_of(config)


def test_missing_data_sets_say_where_they_are_to_be_had(config, tmp_path):
  """As configs/stage1.py does on a machine that has none."""
  config.data.update(dict(source="gopro_debir", data_dir=str(tmp_path)))
  with pytest.raises(ValueError, match="There is no data set gopro_debir in .*--manual_dir=.*CC BY 4.0"):
    scene_sources_of(config)
