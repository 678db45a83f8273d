"""The experiment about interpolation: its truth is true, its measures are 0 for it, and it runs."""

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.scenes import builtin_photos
from debir_jax.scenes.camera_path import affine_motion, pixel_positions
from experiments import interpolation
from experiments.moving_photos import COVERAGES, frames, moving_photos, true_flow


@pytest.fixture(scope="module")
def scene():
  photos = builtin_photos()
  return moving_photos("object", (photos[0], photos[1]), 4.0, 48, 0)


def test_the_flow_is_that_of_the_camera_and_of_what_is_in_front(scene):
  """Of each where it is seen."""
  times = 0.5 / 1920, 0.5 / 1920, 8.5 / 1920
  flow = true_flow(scene, *times, crop=48)
  flows = [affine_motion(path, pixel_positions(48), times[0], times[2])[..., ::-1]
           for path in (scene.path, scene.front_path)]
  np.testing.assert_allclose(flow[24, 24], flows[1][24, 24], atol=1e-4)
  np.testing.assert_allclose(flow[0, 0], flows[0][0, 0], atol=1e-4)


def test_the_truth_has_no_error(scene):
  """And a cross-fade has, in every measure."""
  truth = np.asarray(frames(scene, count=interpolation.NUM_FRAMES, crop=48))
  none = interpolation.errors(truth, truth)
  assert none["psnr"] == none["blur_psnr"] == 100 and none["gradient_error"] == none["loss_gradient_error"] == 0
  found = np.stack([truth[8 * (k // 8)] for k in range(interpolation.NUM_FRAMES)])
  errors = interpolation.errors(truth, found)
  assert errors["psnr"] < 40 and errors["blur_psnr"] < 45 and errors["gradient_error"] > 0.1


@pytest.mark.parametrize("kind", COVERAGES)
def test_the_next_frame_is_the_first_one_moved(kind):
  """Along the true flow, but for what is covered."""
  photos = builtin_photos()
  its_scene = moving_photos(kind, (photos[0], photos[1]), 2.0, 32, 1)
  sequence = frames(its_scene, count=9, crop=32)
  assert sequence.shape == (9, 32, 32, 3) and float(jnp.mean(jnp.abs(sequence[8] - sequence[0]))) > 0.005
  with pytest.raises(ValueError, match="Unknown kind of motion 'zoom'"):
    moving_photos("zoom", (photos[0], photos[1]), 2.0, 32, 1)


def test_it_runs_and_writes_its_table(tmp_path, monkeypatch, capsys):
  """A cross-fade on one small scene of every kind."""
  monkeypatch.setattr(interpolation, "photo_folder", lambda _: builtin_photos())
  monkeypatch.setattr(interpolation, "methods_of", lambda _: dict(
      cross_fade=interpolation.interpolator_named("cross_fade")))
  interpolation.main(["--photos=.", "--scenes=1", "--speeds", "2", "--crop=32", f"--to={tmp_path}"])
  assert "| wires | 2 | cross_fade |" in (tmp_path / "table.md").read_text() in capsys.readouterr().out
  assert {path.name for path in tmp_path.iterdir()} == {"table.md", "scores.json", "interpolation.png"}
