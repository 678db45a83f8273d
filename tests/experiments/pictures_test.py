"""Pictures of three scenes are written, with every method's image, and its burst as an animation."""

import dataclasses

import numpy as np
from PIL import Image
import pytest

from debir_jax.policies import BAENetPolicy
from experiments import pictures
from tests.experiments.experiment_plots_test import example


def test_every_scene_has_its_images_and_the_last_one_moves(tmp_path, monkeypatch):
  """Three scenes of different speeds; restored.jpg, burst.gif with previews and frames, a table for each scene. Where a
  policy of one time for all frames is named it takes them too."""
  speeds = []

  def compared(model, scene, gain, *, seed, others):
    del model, gain, seed
    assert list(others) == ["one time"] and isinstance(others["one time"], BAENetPolicy)
    speeds.append(float(scene.radiance.std(0).mean()))
    brighter = example().raw * np.arange(1, 3)[:, None, None, None]
    return [dataclasses.replace(example(), raw=brighter), example(psnr=20.5)]

  monkeypatch.setattr(pictures, "compare", compared)
  pictures.main(["--to", str(tmp_path / "out"), "--size", "64", "--one_time", "small"])
  assert speeds[0] == pytest.approx(0, abs=1e-6) and 0 < speeds[1] < speeds[2]
  with Image.open(tmp_path / "out" / "restored.jpg") as picture:
    assert picture.format == "JPEG" and picture.width > 500
  with Image.open(tmp_path / "out" / "burst.gif") as animation:
    assert animation.n_frames == 2  # Both previews and the first frame are alike.
  text = (tmp_path / "out" / "table.md").read_text()
  assert all(name in text for name in ("Still: 0 px/s", "Slow: 120 px/s", "Fast: 600 px/s"))
