"""Laws of the batches of scenes."""

import dataclasses
import itertools
import threading
import time
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax import scenes
from debir_jax.scenes import BatchOptions
from debir_jax.types import BurstTiming, CameraColor, Scene

_MANY = BatchOptions(num_threads=3, num_prefetched=5)


class _Numbered:
  """A source whose scenes hold nothing but their number."""

  crop_size, num_subframes = 8, 2

  def __init__(self, num_scenes, delay_s=0.0):
    self._num_scenes, self._delay_s, self.num_rendered = num_scenes, delay_s, 0

  def __len__(self):
    return self._num_scenes

  def scene(self, index):
    self.num_rendered += 1
    time.sleep(self._delay_s)
    return Scene(radiance=jnp.full((2, 4, 4, 4), index / 7, jnp.float32), scene_id=jnp.asarray(index, jnp.int32),
                 color=CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3)))


def _ids(source, batch_size, seed, num_steps, **options):
  stream = scenes.batches(source, batch_size, seed, **options)
  return np.array([np.asarray(next(stream).scene_id) for _ in range(num_steps)])


@pytest.fixture(scope="module")
def photo_source():
  return _photo_source(1)


def _photo_source(seed):
  return scenes.PhotoMotionScenes(scenes.builtin_photos()[:3], scenes.SceneSettings(
      crop_size=16, num_subframes=4, num_scenes=7, seed=seed, target_index=0))


def _assert_equal(first, second):
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(a, b)


def test_batches_of_rendered_scenes_are_the_same_after_resuming(photo_source):
  """Batch s of a run that starts at s equals, bit for bit, batch s of a run that starts at 0."""
  stream = scenes.batches(photo_source, 2, 5)
  whole = [next(stream) for _ in range(6)]
  resumed = scenes.batches(photo_source, 2, 5, start_step=4)
  assert resumed.step == 4
  _assert_equal([next(resumed) for _ in range(2)], whole[4:])
  assert resumed.step == 6
  assert whole[0].radiance.shape == (2, 4, 8, 8, 4) and whole[0].color.ccm.shape == (2, 3, 3)


def test_scene_is_a_function_of_seed_and_index(photo_source):
  """An equal source gives equal scenes in any order; another seed gives others."""
  again = _photo_source(1)
  _assert_equal([again.scene(i) for i in (6, 0)], [photo_source.scene(i) for i in (6, 0)])
  assert np.abs(_photo_source(2).scene(0).radiance - again.scene(0).radiance).max() > 0.02


def test_every_epoch_shows_every_scene_once_in_a_new_order():
  """Seven scenes in batches of one: each seven steps are a permutation, and not always the same."""
  epochs = _ids(_Numbered(7), 1, 0, 28).reshape(4, 7)
  np.testing.assert_array_equal(np.sort(epochs, axis=1), np.broadcast_to(np.arange(7), (4, 7)))
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_order_depends_on_the_seed_alone():
  """Threads and prefetching do not change it; the seed does."""
  order = _ids(_Numbered(20), 4, 3, 10)
  np.testing.assert_array_equal(_ids(_Numbered(20), 4, 3, 10, options=_MANY), order)
  assert np.any(_ids(_Numbered(20), 4, 4, 10) != order)


def test_scenes_of_a_batch_are_made_side_by_side():
  """Each of two scenes waits for the other one to be begun."""
  source, both = _Numbered(4), threading.Barrier(2)
  scene_of = source.scene

  def scene(index):
    both.wait(timeout=3600)
    return scene_of(index)

  source.scene = scene
  stream = scenes.batches(source, 4, 0, options=BatchOptions(num_threads=2))
  assert sorted(next(stream).scene_id.tolist()) == [0, 1, 2, 3]
  stream.close()


def test_beside_a_batch_only_a_few_of_its_scenes_are_in_memory():
  """One that is being put into the batch, and one per thread; a batch of 16 does not take its memory twice."""
  source, made, most = _Numbered(16), [], []
  scene_of = source.scene

  def scene(index):
    most.append(sum(reference() is not None for reference in made))
    new = scene_of(index)
    made.append(weakref.ref(new.radiance))
    return new

  source.scene = scene
  stream = scenes.batches(source, 16, 0, options=BatchOptions(num_threads=2, num_prefetched=1))
  next(stream)
  stream.close()
  assert max(most[:16]) <= 3, most


def test_a_batch_on_a_mesh_is_the_same_batch():
  """With a sharding the arrays lie as it says; what is in them does not change. Several devices: `processes_test`."""
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  stream = scenes.batches(_Numbered(20), 4, 3, sharding=sharding)
  assert next(stream).radiance.sharding == sharding
  np.testing.assert_array_equal(_ids(_Numbered(20), 4, 3, 10, sharding=sharding), _ids(_Numbered(20), 4, 3, 10))


def _unreadable(number):
  """A source of which one scene cannot be read any more."""
  source = _Numbered(8)
  scene_of = source.scene

  def scene(index):
    if index == number:
      raise scenes.UnreadablePhotoError("photo.jpg is truncated")
    return scene_of(index)

  source.scene = scene
  return source


def test_an_unreadable_scene_stops_the_run_or_is_replaced_and_counted():
  """By default its error is raised; on request the next scene stands in its place, at every epoch, and is counted."""
  stream = scenes.batches(_unreadable(5), 4, 0)
  with pytest.raises(scenes.UnreadablePhotoError, match="photo.jpg is truncated"):
    [next(stream) for _ in range(2)]
  whole = _ids(_Numbered(8), 4, 0, 2)
  found = _ids(_unreadable(5), 4, 0, 2, options=BatchOptions(on_unreadable="skip"))
  np.testing.assert_array_equal(found, np.where(whole == 5, 6, whole))
  stream = scenes.batches(_unreadable(7), 8, 0, options=BatchOptions(on_unreadable="skip"))
  next(stream)
  assert stream.replaced >= 1


def test_a_photo_that_is_truncated_during_a_run_is_named(tmp_path):
  """OpenCV would fill what is missing with grey."""
  path = tmp_path / "photo.png"
  path.write_bytes(scenes.builtin_photos()[0].path.read_bytes())
  photo, = scenes.photo_folder(tmp_path)
  path.write_bytes(path.read_bytes()[:-1000])
  with pytest.raises(scenes.UnreadablePhotoError, match="photo.png is truncated"):
    photo.pixels()
  path.unlink()
  with pytest.raises(scenes.UnreadablePhotoError, match="photo.png"):
    photo.pixels()


def test_waiting_time_is_counted():
  """A consumer faster than a source that sleeps 20 ms per scene waits; after a pause the next batch is ready."""
  stream = scenes.batches(_Numbered(50, delay_s=0.02), 1, 0)
  for _ in range(11):
    next(stream)
  waited_s = stream.wait_s
  assert waited_s > 0.1
  time.sleep(0.3)
  next(stream)
  assert 0 < stream.wait_s - waited_s < waited_s


def test_error_in_a_thread_reaches_the_consumer():
  """A scene that cannot be rendered stops the run with its own error, and closing twice is harmless."""
  source = _Numbered(4)
  source.scene = lambda index: (_ for _ in ()).throw(ValueError(f"bad scene {index}"))
  stream = scenes.batches(source, 2, 0)
  with pytest.raises(ValueError, match="bad scene"):
    next(stream)
  stream.close()
  stream.close()


def test_cache_renders_each_scene_once_and_changes_nothing(photo_source):
  """Batches through the cache equal those without, and no scene is rendered twice."""
  direct = scenes.batches(photo_source, 2, 0)
  cached = scenes.batches(scenes.CachedScenes(photo_source), 2, 0)
  _assert_equal([next(cached) for _ in range(8)], [next(direct) for _ in range(8)])
  counted = _Numbered(5)
  cache = scenes.CachedScenes(counted)
  for _ in range(3):
    [cache.scene(i) for i in range(5)]
  assert counted.num_rendered == 5


def test_16_bit_cache_rounds_alike_every_time(photo_source):
  """The first and later copies are equal, within 1/131070 of the rendered scene."""
  cache = scenes.CachedScenes(photo_source, use_16_bits=True)
  first = cache.scene(3)
  _assert_equal(first, cache.scene(3))
  assert first.radiance.dtype == jnp.float32
  np.testing.assert_allclose(first.radiance, photo_source.scene(3).radiance, atol=7.8e-6)


@pytest.mark.parametrize("reorient", [False, True])
def test_batches_of_scenes_kept_in_16_bits_are_those_of_the_scenes_to_the_bit(photo_source, reorient):
  """Which are decoded and turned on their way into the batch."""
  class Plain:
    """The same scenes, of a source that keeps none."""

    def __init__(self, source):
      self.crop_size, self.num_subframes, self.scene = source.crop_size, source.num_subframes, source.scene

    def __len__(self):
      return len(photo_source)

  cache, options = scenes.CachedScenes(photo_source, use_16_bits=True), BatchOptions(reorient=reorient)
  kept, plain = (scenes.batches(source, 2, 0, options=options) for source in (cache, Plain(cache)))
  for _ in range(6):
    _assert_equal(next(kept), next(plain))
  kept.close(), plain.close()


def test_cache_refuses_what_does_not_fit():
  """The message has both sizes."""
  with pytest.raises(ValueError, match=r"Caching 5 scenes takes .* GiB, more than max_bytes"):
    scenes.CachedScenes(_Numbered(5), max_bytes=1000)


def test_mixture_shows_all_scenes_under_new_numbers():
  """Scenes of the second source follow those of the first; ids stay unique."""
  mixture = scenes.MixedScenes([_Numbered(3), _Numbered(2)])
  mixed = [mixture.scene(i) for i in range(len(mixture))]
  assert [int(scene.scene_id) for scene in mixed] == [0, 1, 2, 3, 4]
  np.testing.assert_allclose([scene.radiance[0, 0, 0, 0] for scene in mixed], np.array([0, 1, 2, 0, 1]) / 7)


def test_mixture_of_unlike_sources_is_refused(photo_source):
  """Sequences of different shape cannot share a batch."""
  with pytest.raises(ValueError, match=r"common \(crop_size, num_subframes\), got \[\(8, 2\), \(16, 4\)\]"):
    scenes.MixedScenes([_Numbered(3), photo_source])


@pytest.mark.parametrize("arguments, message", [
    (dict(batch_size=0), "batch_size=0"),
    (dict(batch_size=9), "batch_size=9 exceeds the 8 scenes"),
    (dict(batch_size=2, start_step=-1), "start_step must not be negative, got -1")])
def test_impossible_batches_are_named(arguments, message):
  """Each raises ValueError with the value seen."""
  with pytest.raises(ValueError, match=message):
    scenes.batches(_Numbered(8), seed=0, **arguments)


@pytest.mark.parametrize("options, message", [
    (dict(on_unreadable="ignore"), "on_unreadable must be 'stop' or 'skip', got 'ignore'"),
    (dict(num_threads=0), "num_threads=0 and num_prefetched=2 must be positive")])
def test_impossible_options_are_named(options, message):
  """Before anything is made."""
  with pytest.raises(ValueError, match=message):
    BatchOptions(**options)


class _Texture(_Numbered):
  """Scenes of one texture, which tells the orientation."""

  def scene(self, index):
    scene = super().scene(index)
    radiance = jnp.broadcast_to(jnp.arange(64.0).reshape(4, 4, 4), (2, 4, 4, 4))
    return dataclasses.replace(scene, radiance=radiance)


def test_scenes_are_turned_anew_in_every_epoch_and_alike_after_resuming():
  """On request; an epoch still has every scene once, and all orientations occur."""
  turned = lambda start, count: list(itertools.islice(scenes.batches(
      _Texture(6), 3, 1, start_step=start, options=BatchOptions(reorient=True)), count))
  whole = turned(0, 20)
  _assert_equal(turned(7, 3), whole[7:10])
  seen = {}
  for step, batch in enumerate(whole):
    for number, scene_id in enumerate(batch.scene_id.tolist()):
      seen.setdefault(scene_id, []).append(batch.radiance[number].tobytes())
    if step % 2:
      assert {len(images) for images in seen.values()} == {(step + 1) // 2}
  assert len({image for images in seen.values() for image in images}) == 8
  assert all(len(set(images)) > 2 for images in seen.values())
  plain = scenes.batches(_Texture(6), 3, 1)
  assert all(next(plain).radiance[0, 0, 0, 0, 1] == 1 for _ in range(5))


@pytest.mark.parametrize("changes, message", [
    (dict(crop_size=20), "multiple of 8 mosaic pixels, got 20"),
    (dict(crop_size=512), "chelsea.png has 300x451 pixels, less than crop_size=512"),
    (dict(num_subframes=0), "must be positive, got 0 and 4"),
    (dict(target_index=4), "target_index=4 is not in a sequence of 4 subframes"),
    (dict(photos=[]), "No photos")])
def test_impossible_photo_sources_are_named(changes, message):
  """Each raises ValueError with the value seen and the remedy."""
  settings = dict(crop_size=16, num_subframes=4, num_scenes=4) | changes
  photos = settings.pop("photos", scenes.builtin_photos())
  with pytest.raises(ValueError, match=message):
    scenes.PhotoMotionScenes(photos, scenes.SceneSettings(**settings))


def test_short_sequences_are_refused():
  """A source for evaluation (230 subframes) cannot serve stage 1 (358); the message has both numbers."""
  source, timing = _Numbered(3), BurstTiming.paper()
  source.num_subframes = 230
  scenes.check_sequence_length(source, timing, 128 / 1920)
  with pytest.raises(ValueError, match="have 230 subframes.*need 358. Set num_subframes=358"):
    scenes.check_sequence_length(source, timing, 256 / 1920)
