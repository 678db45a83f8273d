"""Pictures of captures hold what they should, and the detail is where there is most to see."""

import dataclasses

import numpy as np
import pytest

from debir_jax.evaluation import Example
from debir_jax.types import CameraColor
from experiments import capture_plots
from experiments.image_scores import ImageScores, summarize_scores


@pytest.fixture
def figures(monkeypatch):
  """The figures that were written; they are still saved."""
  saved, save = [], capture_plots.save
  monkeypatch.setattr(capture_plots, "save", lambda figure, path: (saved.append(figure), save(figure, path)))
  return saved


def _texts(figure):
  return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_a_sheet_of_bursts_shows_frames_results_and_the_truth(tmp_path, figures):
  """Per method every frame with its time and gain, the restored image and a detail; one true image per scene."""
  image = lambda *axes: np.full((*axes, 16, 16, 4), 0.3, np.float32)
  first = Example(method="DEBIR", scene_id=3, draw=0, psnr=31.5, previews=image(2), preview_gain=600.0, raw=image(2),
                  exposure_times=np.array([8, 16]) / 1920, gains=np.array([1200, 600]), restored=image(),
                  target=image(), color=CameraColor.neutral())
  other = dataclasses.replace(first, method="bracketing", psnr=28.25)
  capture_plots.burst_sheet(tmp_path / "new" / "sheet.png", [first, other])
  assert (tmp_path / "new" / "sheet.png").read_bytes().startswith(b"\x89PNG")
  assert sum(len(axis.images) for axis in figures[0].axes) == 2 * 4 + 2
  assert {"8.0/1920 s, gain 1200", "16.0/1920 s, gain 600", "31.50 dB", "28.25 dB", "true image", "DEBIR\nscene 3",
          "bracketing\nscene 3"} <= set(_texts(figures[0]))
  with pytest.raises(ValueError, match="no examples"):
    capture_plots.burst_sheet(tmp_path / "x.png", [])


def test_the_detail_is_the_same_place_in_every_image_of_a_capture(tmp_path, figures):
  """A fourth of the shorter side, around the only structure."""
  image = np.full((40, 60, 3), 0.5)
  image[12:20, 40:48:2] = 1
  capture_plots.capture_sheet(tmp_path / "sheet.png", {"street": {"A": image, "B": image / 2}})
  assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
  axes = np.array(figures[0].axes)
  boxes = [axis.patches[0] for axis in axes[[0, 2]]]
  assert boxes[0].get_xy() == boxes[1].get_xy() and boxes[0].get_width() == 10
  (x, y), side = boxes[0].get_xy(), 10
  assert y <= 12 and 20 <= y + side + 1 and x <= 40 and 47 <= x + side + 1
  for axis, shown in zip(axes[[1, 3]], (image, image / 2)):
    np.testing.assert_array_equal(axis.images[0].get_array(), shown[int(y + .5):int(y + .5) + side,
                                                                    int(x + .5):int(x + .5) + side])
  assert {"A", "B", "street"} <= set(_texts(figures[0]))
  with pytest.raises(ValueError, match="no captures"):
    capture_plots.capture_sheet(tmp_path / "x.png", {})


def test_differences_of_scores_have_a_panel_per_metric(tmp_path, figures):
  """With the direction in which they are better; of a single image too, without intervals."""
  for count in (4, 1):
    rows = [ImageScores(method=method, image=str(index), scores={"NIQE": 4.0 + index, "TOPIQ": 0.3})
            for method in ("DEBIR", "bracketing") for index in range(count)]
    summaries = {metric: summarize_scores(rows, metric, reference="DEBIR") for metric in ("NIQE", "TOPIQ")}
    capture_plots.score_differences(tmp_path / "differences.png", summaries, reference="DEBIR")
  assert {"NIQE, lower is better", "TOPIQ, higher is better",
          "NIQE less that of DEBIR\n[95 % interval]"} <= set(_texts(figures[0]))
