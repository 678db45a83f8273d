"""Scenes that are rendered once and kept in files, for a run that goes on and for all runs of the same scenes."""

import dataclasses
import functools
import io
import pathlib
import shutil
from typing import Any
import zipfile

import jax
import numpy as np

from debir_jax.runtime.files import write_bytes
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.scenes.source import KeptScenes, SceneSource, check_index, encode_16_bits
from debir_jax.types import Scene


class FiledScenes(KeptScenes):
  """Keeps every rendered scene in a folder, its radiance rounded as `CachedScenes` does with 16 bits.

  Files are in `<folder>/<scenes>`, where the name <scenes> tells apart what sources say they are made of and how their
  first scene looks as it is rendered now: files of another version of the renderer are not taken. Several processes may
  fill a folder together. It takes as much memory as the system has to spare.
  """

  def __init__(self, source: SceneSource, folder: pathlib.Path):
    """A source whose scenes are to be kept, and the folder, which is made where it is absent."""
    super().__init__(source)
    self._folder = folder

  def kept_scene(self, index: int) -> Scene:
    """A scene as it is kept, see `decoded`, rendered where there is no file of it.

    Raises:
      ValueError: its file is damaged, or there is no room for all of them.
    """
    check_index(index, len(self))
    folder, structure = self._place
    radiance, others = folder / f"{index:06d}.npy", folder / f"{index:06d}.npz"
    if not others.exists():
      scene = self._rendered(index)
      write_bytes(radiance, _npy(scene.radiance))
      write_bytes(others, _npz(jax.tree.leaves(dataclasses.replace(scene, radiance=np.zeros(0)))))
    return dataclasses.replace(jax.tree.unflatten(structure, _read_npz(others)), radiance=_read_npy(radiance))

  @functools.cached_property
  def _place(self) -> tuple[pathlib.Path, Any]:
    """The folder of these scenes, and the structure of one."""
    first = self._rendered(0)
    leaves, structure = jax.tree.flatten(first)
    folder = self._folder / fingerprint(self.made_of(), leaves)
    folder.mkdir(parents=True, exist_ok=True)
    missing = len(self) - sum(1 for _ in folder.glob("*.npz"))
    needed, free = missing * sum(leaf.nbytes for leaf in leaves), shutil.disk_usage(folder).free
    if needed > free:
      raise ValueError(f"{missing} scenes take {needed / 2**30:.1f} GiB, but {self._folder} has {free / 2**30:.1f} GiB "
                       "left. Name another folder by config.data.cache_dir, or use fewer scenes.")
    return folder, structure

  def _rendered(self, index) -> Scene:
    scene = jax.device_get(self._source.scene(index))
    return dataclasses.replace(scene, radiance=encode_16_bits(scene.radiance))


def _npy(array) -> bytes:
  np.save(file := io.BytesIO(), array, allow_pickle=False)
  return file.getvalue()


def _npz(arrays) -> bytes:
  np.savez(file := io.BytesIO(), *arrays)
  return file.getvalue()


def _read_npy(path):
  try:
    return np.load(path, mmap_mode="r", allow_pickle=False)
  except (ValueError, EOFError, OSError) as error:
    raise _damaged(path, error) from error


def _read_npz(path):
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
  except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
    raise _damaged(path, error) from error


def _damaged(path, error):
  return ValueError(f"{path} is damaged ({error}). Delete its folder, and the scenes are rendered again.")
