"""Scenes in files are those that were rendered, once for all runs, and nothing else is taken for them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.scenes import CachedScenes, DeadLeavesScenes, FiledScenes
from debir_jax.scenes.source import SceneSettings, scenes_made_of


def _source(num_scenes=3, seed=0):
  return DeadLeavesScenes(SceneSettings(
      crop_size=16, num_subframes=8, num_scenes=num_scenes, seed=seed, target_index=2))


class _Counted:
  """A source that counts what it renders, and can render it brighter, as another version might."""

  def __init__(self, source, more=0.0):
    self._source, self._more, self.rendered = source, more, []
    self.crop_size, self.num_subframes = source.crop_size, source.num_subframes

  def __len__(self):
    return len(self._source)

  def made_of(self):
    return scenes_made_of(self._source)

  def group(self, index):
    return f"group {index}"

  def scene(self, index):
    self.rendered.append(index)
    scene = self._source.scene(index)
    return dataclasses.replace(scene, radiance=scene.radiance + self._more)


def _assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_scenes_are_those_of_a_cache_in_memory_to_the_bit(tmp_path):
  """With motion, colour and number, when first rendered and when read again; two sources have folders of their own."""
  for seed in (0, 1):
    in_memory = CachedScenes(_source(seed=seed), use_16_bits=True)
    for _ in range(2):
      filed = FiledScenes(_source(seed=seed), tmp_path)
      assert len(filed) == 3 and filed.made_of() == in_memory.made_of()
      for index in (2, 0, 1):
        _assert_equal(filed.scene(index), in_memory.scene(index))
        assert filed.scene(index).radiance.dtype == jnp.float32
  assert len(list(tmp_path.iterdir())) == 2


def test_another_run_renders_the_first_scene_alone(tmp_path):
  """By which it knows the others; groups are those of the source, and a number beyond the last is refused."""
  FiledScenes(_Counted(_source()), tmp_path).scene(1)
  filed = FiledScenes(counted := _Counted(_source()), tmp_path)
  filed.scene(1), filed.scene(1)
  assert counted.rendered == [0] and filed.group(2) == "group 2"
  filed.scene(2), filed.scene(2)
  assert counted.rendered == [0, 2]
  with pytest.raises(ValueError, match="There is no scene 3"):
    filed.scene(3)


def test_scenes_of_another_renderer_are_not_taken(tmp_path):
  """The same settings, but images that differ: as after an update of the package."""
  FiledScenes(_Counted(_source()), tmp_path).scene(1)
  brighter = FiledScenes(_Counted(_source(), more=0.1), tmp_path)
  _assert_equal(brighter.scene(1), CachedScenes(_Counted(_source(), more=0.1), use_16_bits=True).scene(1))
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_damaged_file_is_named(tmp_path, ending):
  """Cut short, as by a disk that lost its end."""
  filed = FiledScenes(_source(), tmp_path)
  filed.scene(1)
  (path,) = tmp_path.glob(f"*/000001.{ending}")
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(ValueError, match=rf"000001.{ending} is damaged .* Delete its folder"):
    filed.scene(1)


def test_what_does_not_fit_on_the_disk_is_refused_before_the_first_file(tmp_path, monkeypatch):
  """With both sizes; what is there already does not count."""
  FiledScenes(_source(), tmp_path).scene(1)
  monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), dict(free=12_000)))
  FiledScenes(_source(), tmp_path).scene(1)  # Two scenes of 4 KB are missing.
  with pytest.raises(ValueError, match="9 scenes take .* GiB, but .* has .* config.data.cache_dir"):
    FiledScenes(_source(num_scenes=9, seed=1), tmp_path).scene(0)
  assert len(list(tmp_path.glob("*/*.npz"))) == 1
