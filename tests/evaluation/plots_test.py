"""Laws of the pictures: they are written, hold what they should, and refuse what makes no sense."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.evaluation import Example, Record, plots, summarize
from debir_jax.types import CameraColor


def _example(num_frames=2, side=8, psnr=31.5):
  image = lambda *axes: np.full((*axes, side, side, 4), 0.3, np.float32)
  return Example(
      method="DEBIR", scene_id=3, draw=0, psnr=psnr, previews=image(2), preview_gain=600.0, raw=image(num_frames),
      exposure_times=np.arange(1, num_frames + 1) * 8 / 1920, gains=1200 / np.arange(1, num_frames + 1),
      restored=image(), target=image(), color=CameraColor(white_balance=jnp.ones(3), ccm=jnp.eye(3)))


def _records(num_scenes=4):
  return [Record(method=method, scene_id=scene, draw=draw, psnr=30.0, ssim=0.9, l1=0.01,
                 exposure_times=((10 - scene) / 1920, 20 / 1920), preview_gain=600.0 + 10 * draw + scene,
                 motion_magnitude=0.1 * scene)
          for method in ("DEBIR", "bracket") for scene in range(num_scenes) for draw in range(2)]


def _log(path, lines):
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  return path


@pytest.fixture
def figures(monkeypatch):
  """The figures that were written; they are still saved."""
  saved = []
  save = plots._save
  monkeypatch.setattr(plots, "_save", lambda figure, path: (saved.append(figure), save(figure, path)))
  return saved


def _texts(figure):
  return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _is_png(path):
  return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_sheet_shows_all_images_with_times_gains_and_psnr(tmp_path, figures):
  """n + 4 images per row; each frame tells its time in 1/1920 s and its gain."""
  path = tmp_path / "new" / "sheet.png"
  plots.comparison_sheet(path, [_example(), _example(psnr=28.25)])
  assert _is_png(path)
  assert sum(len(axis.images) for axis in figures[0].axes) == 2 * 6
  texts = _texts(figures[0])
  for expected in ("8.0/1920 s, gain 1200", "16.0/1920 s, gain 600", "31.50 dB", "28.25 dB", "DEBIR\nscene 3"):
    assert expected in texts


def test_scatter_has_a_panel_per_frame_and_cause_with_its_correlation(tmp_path, figures):
  """The first frame falls with motion exactly, the second does not vary; other methods are left out."""
  plots.exposure_scatter(tmp_path / "scatter.png", _records())
  assert _is_png(tmp_path / "scatter.png")
  texts = _texts(figures[0])
  assert "frame 1:  r = -1.00 [-1.00, -1.00]" in texts and texts.count("frame 2:  r = n/a") == 2
  assert any("8 captures of 4 scenes" in text for text in texts)
  points = figures[0].axes[0].collections[0].get_offsets()
  np.testing.assert_allclose(sorted(points[:, 1]), np.repeat([7, 8, 9, 10], 2))


def test_times_that_hardly_differ_look_alike_in_the_scatter(tmp_path, figures):
  """Their axis does not blow up a ten-thousandth of 1/1920 s."""
  records = [dataclasses.replace(record, exposure_times=((27 + 1e-4 * record.scene_id) / 1920, 20 / 1920))
             for record in _records()]
  plots.exposure_scatter(tmp_path / "scatter.png", records)
  for axis in figures[0].axes[:4]:
    low, high = axis.get_ylim()
    assert low < 20 and high > 27.5


@pytest.mark.parametrize("scale", [7e-4, 0.1, 3.0])
def test_numbers_below_differences_do_not_run_into_each_other(tmp_path, figures, scale):
  """However many digits they have; with what their bars are."""
  other = "longest uniform exposure alone"
  records = [record if record.method == "DEBIR" else dataclasses.replace(
      record, method=other, psnr=30 - scale * (record.scene_id + 3)) for record in _records()]
  plots.differences(tmp_path / "differences.png", {"measured": summarize(records)}, reference="DEBIR")
  assert any("standard error" in text for text in _texts(figures[0]))
  for axis in figures[0].axes:
    low, high = axis.get_xlim()
    boxes = [label.get_window_extent() for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert len(boxes) > 1 and not any(first.overlaps(second) for first, second in zip(boxes, boxes[1:]))


def test_curves_show_every_point_and_a_mean_of_long_logs(tmp_path, figures):
  """A stage without PSNR has a loss only; a running mean appears above 40 points."""
  short = _log(tmp_path / "a.jsonl", [dict(stage="stage1", step=step, loss=0.1, psnr=20 + step) for step in range(5)])
  long = _log(tmp_path / "b.jsonl", [dict(stage="stage2_warmup", step=step, loss=1 / (1 + step)) for step in range(60)])
  plots.training_curves(tmp_path / "curves.png", [short, long])
  assert _is_png(tmp_path / "curves.png")
  (loss1, loss2), (psnr1, psnr2) = np.reshape(figures[0].axes, (2, 2))
  assert [len(axis.lines) for axis in (loss1, loss2, psnr1, psnr2)] == [1, 2, 1, 0]
  np.testing.assert_allclose(psnr1.lines[0].get_ydata(), np.arange(20, 25))
  assert loss1.get_title() == "stage1" and not psnr2.axison


def test_bad_input_is_refused(tmp_path):
  """Nothing to show, images that do not fit together, lines that are no log."""
  path = tmp_path / "x.png"
  with pytest.raises(ValueError, match="no examples"):
    plots.comparison_sheet(path, [])
  with pytest.raises(ValueError, match="one size and burst length"):
    plots.comparison_sheet(path, [_example(2), _example(4)])
  with pytest.raises(ValueError, match="no records of method 'oracle'"):
    plots.exposure_scatter(path, _records(), method="oracle")
  with pytest.raises(ValueError, match="no logs"):
    plots.training_curves(path, [])
  with pytest.raises(ValueError, match="empty"):
    plots.training_curves(path, [_log(tmp_path / "empty.jsonl", [])])
  with pytest.raises(ValueError, match="bad.jsonl:2 is not a line .*loss"):
    lines = [dict(stage="a", step=1, loss=1), dict(stage="a", step=2)]
    plots.training_curves(path, [_log(tmp_path / "bad.jsonl", lines)])
  assert not path.exists()


def test_differences_by_condition_are_means_of_bins(tmp_path, figures):
  """By hand: four bins of two captures along each axis, with the error over scenes."""
  records = [dataclasses.replace(record, psnr=record.psnr + (0.1 * record.scene_id**2 if record.method == "bracket"
                                                             else 0)) for record in _records(8)]
  plots.differences_by_condition(tmp_path / "by_condition.png", records)
  by_motion, by_gain = figures[-1].axes
  line = by_motion.containers[0][0]
  np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [0.05, 0.25, 0.45, 0.65])
  np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 0.1 * np.array([0.5, 6.5, 20.5, 42.5]), atol=1e-6)
  assert by_gain.containers[0].get_label() == "bracket" and (tmp_path / "by_condition.png").stat().st_size > 1000
  segment, *_ = by_motion.containers[0][2][0].get_segments()
  assert np.ptp(segment[:, 1]) == pytest.approx(2 * 0.05, rel=1e-3)  # Two scenes, 0.1 dB apart.


def test_differences_by_condition_need_two_methods(tmp_path):
  with pytest.raises(ValueError, match="'oracle'"):
    plots.differences_by_condition(tmp_path / "a.png", _records(), reference="oracle")
  with pytest.raises(ValueError, match="another method"):
    plots.differences_by_condition(tmp_path / "a.png", _records()[:8])
