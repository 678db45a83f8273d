"""Pictures of the experiments are written and hold what they should."""

import numpy as np
import pytest

from debir_jax.evaluation import Example, Record, summarize
from debir_jax.types import CameraColor
from experiments import plots


def example(psnr=31.5):
  image = lambda *axes: np.full((*axes, 8, 8, 4), 0.3, np.float32)
  return Example(method="DEBIR", scene_id=3, draw=0, psnr=psnr, previews=image(2), preview_gain=600.0, raw=image(2),
                 exposure_times=np.array([8, 16]) / 1920, gains=np.array([1200, 600]), restored=image(),
                 target=image(), color=CameraColor.neutral())


def _records(methods=("DEBIR",), psnr=30.0):
  return [Record(method=method, scene_id=scene, draw=draw, psnr=psnr - place - 0.1 * scene, ssim=0.9, l1=0.01,
                 exposure_times=((10 - scene) / 1920, 20 / 1920), preview_gain=600.0 + 10 * draw + scene,
                 motion_magnitude=0.1 * scene)
          for place, method in enumerate(methods) for scene in range(4) for draw in range(2)]


@pytest.fixture
def figures(monkeypatch):
  """The figures that were written; they are still saved."""
  saved, save = [], plots.save
  monkeypatch.setattr(plots, "save", lambda figure, path: (saved.append(figure), save(figure, path)))
  return saved


def _texts(figure):
  return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _is_png(path):
  return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_sheet_of_methods_shows_each_result_beside_the_target(tmp_path, figures):
  """A row per scene: first frame, methods, target; PSNR and times below."""
  plots.method_sheet(tmp_path / "sheet.png", {"A": [example(), example()], "B": [example(psnr=20.5), example()]})
  assert _is_png(tmp_path / "sheet.png")
  assert sum(len(axis.images) for axis in figures[0].axes) == 2 * 4
  assert {"A", "B", "target", "20.50 dB  {8,16}"} <= set(_texts(figures[0]))


def test_times_at_gains_stand_against_motion_and_in_histograms(tmp_path, figures):
  """All captures of the first gain in each panel; the first frame of every gain in the last one."""
  records = _records()
  plots.times_at_gains(tmp_path / "times.png", {512.0: records, 1024.0: records[:4]})
  *panels, histogram = figures[0].axes
  assert len(panels) == 2 and all(len(panel.collections[0].get_offsets()) == 8 for panel in panels)
  heights = [sum(bar.get_height() for bar in container) for container in histogram.containers]
  assert heights == [8, 4]


def test_lines_keep_a_name_s_color_in_all_panels(tmp_path, figures):
  values = [1.0, 2.0, 3.0]
  panels = {"first": {"a": (values, None), "b": (values, [0.1] * 3)},
            "second": {"b": (values, [0.1] * 3), "c": (values, None)}}
  plots.lines(tmp_path / "lines.png", [1, 2, 4], panels, x_label="x", log_x=True, shaded=(1, 2))
  colors = [[container.lines[0].get_color() for container in axis.containers] for axis in figures[0].axes]
  assert colors == [["C0", "C1"], ["C1", "C2"]]


def test_the_legend_of_lines_names_all_of_them_and_hides_none(tmp_path, figures):
  """Also those of the second panel alone; it stands above the panels, not in them."""
  panels = {"first": {"a": ([1.0, 1.0], [0.5, 0.5])}, "second": {"a": ([1.0, 1.0], None), "b": ([1.0, 1.0], None)}}
  plots.lines(tmp_path / "lines.png", [1, 2], panels, x_label="x")
  figure, = figures
  legend, = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
  assert not any(axis.get_window_extent().overlaps(legend.get_window_extent()) for axis in figure.axes)


def test_trade_offs_and_differences_have_a_line_per_name(tmp_path, figures):
  """Against the time of the burst in all, with its gaps on request; and condition by condition, less the reference."""
  groups = {"all": summarize(_records(("DEBIR", "other")))}
  for gap_s, expected in ((None, 28.5), (7 / 1920, 35.5)):
    plots.trade_off(tmp_path / "new" / "trade_off.png", groups, frame_gap_s=gap_s)
    assert figures[-1].axes[0].containers[0].lines[0].get_xdata() == pytest.approx([expected, expected])
    assert "difference" in figures[-1].axes[0].get_ylabel()  # Bars are not those of PSNR itself.
  conditions = {name: summarize(_records(("DEBIR", "other"), psnr)) for name, psnr in (("day", 30.0), ("night", 25.0))}
  plots.differences_by_condition(tmp_path / "conditions.png", conditions, reference="DEBIR")
  assert _is_png(tmp_path / "new" / "trade_off.png") and _is_png(tmp_path / "conditions.png")
  other, = figures[-1].axes[0].containers
  assert other.lines[0].get_xdata() == pytest.approx([-1, -1]) and other.get_label() == "other"
  assert {"day", "night"} <= set(_texts(figures[-1]))


def test_pictures_of_derivatives_show_every_frame(tmp_path, figures):
  """Bars per frame; the landscape without what has no loss; maps on one scale beside the images."""
  row = dict(times=[8.0, 16.0], mean=[-1.0, 2.0], deviation=[0.1, 0.2])
  plots.gradient_bars(tmp_path / "bars.png", {"1 x": row, "2 x": row})
  assert [len(axis.patches) for axis in figures[0].axes] == [2, 2]
  times = np.arange(3.0)
  loss = np.where(times[:, None] + times > 3, np.nan, 1 + times)
  plots.landscape(tmp_path / "landscape.png", times, times, loss, np.array([[0, 0], [1, 1]]), np.array([1, 2]))
  descent, predicted = figures[1].axes[0].lines
  np.testing.assert_array_equal(descent.get_xydata(), [[0, 0], [1, 1]])
  np.testing.assert_array_equal(predicted.get_xydata(), [[1, 2]])
  maps = np.stack([np.ones((4, 4)), np.eye(4)])
  plots.derivative_maps(tmp_path / "maps.png", {"restored": np.zeros((8, 8, 3))}, maps, [8.0, 16.0])
  shown = [axis.images[0] for axis in figures[2].axes if axis.images]
  assert len(shown) == 3 and shown[1].get_clim() == shown[2].get_clim()
  assert "|dI/dt2|, t2 = 16.0" in _texts(figures[2])
