"""Folders of real captures: read, refused with what is wrong, measured and drawn; nothing is trained for them."""

import json
import shutil

import cv2
import numpy as np
import pytest
from skimage import data

from debir_jax.evaluation import niqe_of, save_niqe
from debir_jax.scenes import image_files
from experiments import captures, figures, scales, table2


def _write(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  assert cv2.imwrite(str(path), (255 * np.clip(image[..., ::-1], 0, 1)).round().astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
  """Three captures of 96x96 px by two methods, one of them noisy."""
  rng = np.random.default_rng(0)
  for index in range(3):
    image = data.astronaut()[96 * index:96 * index + 96, 150:246] / 255
    _write(tmp_path / "captures" / "bracketing" / f"capture{index}.png", image + 0.2 * rng.normal(size=image.shape))
    _write(tmp_path / "captures" / "DEBIR" / f"capture{index}.png", image)
  return tmp_path / "captures"


def test_captures_come_by_name_and_debir_first(folder):
  """As sRGB in [0, 1], in full size."""
  found = dict(captures.read(folder))
  assert list(found) == ["capture0", "capture1", "capture2"] and list(found["capture1"]) == ["DEBIR", "bracketing"]
  np.testing.assert_allclose(found["capture1"]["DEBIR"], data.astronaut()[96:192, 150:246] / 255, atol=1e-6)


def test_folders_of_another_kind_are_refused(folder):
  with pytest.raises(ValueError, match="is no folder"):
    list(captures.read(folder / "none"))
  with pytest.raises(ValueError, match="no subfolders"):
    list(captures.read(folder / "DEBIR"))
  _write(folder / "DEBIR" / "capture0.png", np.ones((96, 100, 3)))
  with pytest.raises(ValueError, match="capture0 .* differ in size: DEBIR 96x100, bracketing 96x96"):
    list(captures.read(folder))
  (folder / "DEBIR" / "capture2.png").rename(folder / "DEBIR" / "other.png")
  with pytest.raises(ValueError, match="same names, but 2 are in one only, such as capture2"):
    list(captures.read(folder))
  truncated = folder / "bracketing" / "capture0.png"
  truncated.write_bytes(truncated.read_bytes()[:-30])
  with pytest.raises(ValueError, match="capture0.png is truncated"):
    list(captures.read(folder))


def test_table2_and_figure4_of_real_captures(folder, tmp_path):
  """A table with the paper's beside it, JSON lines, CSV and figures; what is left out says how to get it."""
  save_niqe(tmp_path / "model.npz", niqe_of(np.linspace(0, 2, 36), np.diag(np.linspace(0.1, 1, 36))))
  table = table2.run(scales.config_of("tiny"), tmp_path, table2.Files(niqe=tmp_path / "model.npz"), folder)
  assert "| DEBIR |" in table and "PSNR" not in table and "fitted" not in table
  assert "--brisque allmodel allrange" in table and "pip install pyiqa" in table
  results = tmp_path / "table2"
  assert "6.34 | 46.9" in (results / "table.md").read_text()
  rows = [json.loads(line) for line in (results / "images.jsonl").read_text().splitlines()]
  assert [(row["image"], row["method"]) for row in rows[:2]] == [("capture0", "DEBIR"), ("capture0", "bracketing")]
  found = json.loads((results / "table2.json").read_text())["metrics"]["NIQE"]
  assert found[0]["mean"] == pytest.approx(np.mean([row["scores"]["NIQE"] for row in rows[::2]]))
  other = next(row for row in found if row["method"] != found[0]["method"])
  assert f"{other['difference']:+.2f} ± {other['difference_error']:.2f}" in table
  assert (results / "table2.csv").read_text().startswith("metric,method,mean")
  figures.of_captures(folder, tmp_path)
  for picture in (results / "differences.png", tmp_path / "figures" / "figure4.png"):
    assert picture.read_bytes().startswith(b"\x89PNG")
  assert not (tmp_path / "networks").exists()


def test_captures_beside_true_images_have_psnr(folder, tmp_path):
  """By hand; the true images are no method, and alone they are nothing to measure."""
  save_niqe(tmp_path / "model.npz", niqe_of(np.linspace(0, 2, 36), np.diag(np.linspace(0.1, 1, 36))))
  files = table2.Files(niqe=tmp_path / "model.npz")
  shutil.copytree(folder / "DEBIR", folder / "reference")
  names = sorted(path.name for path in (folder / "reference").iterdir())
  for name in names:
    truth = 0.9 * image_files.read_pixels(folder / "DEBIR" / name) / 255
    _write(folder / "reference" / name, truth)
  table2.run(scales.config_of("tiny"), tmp_path, files, folder)
  rows = [json.loads(line) for line in (tmp_path / "table2" / "images.jsonl").read_text().splitlines()]
  assert [row["method"] for row in rows[:3]] == ["DEBIR", "bracketing", "true image"]
  truth, ours = (image_files.read_pixels(folder / kind / names[0]) / 255 for kind in ("reference", "DEBIR"))
  assert rows[0]["scores"]["PSNR"] == pytest.approx(-10 * np.log10(np.mean((truth - ours)**2)), abs=1e-3)
  assert "PSNR" not in rows[2]["scores"] and "NIQE" in rows[2]["scores"]
  for method in ("DEBIR", "bracketing"):
    shutil.rmtree(folder / method)
  with pytest.raises(ValueError, match="holds true images alone"):
    table2.run(scales.config_of("tiny"), tmp_path, files, folder)


def test_files_of_metrics_are_checked_before_anything_is_trained(tmp_path):
  with pytest.raises(FileNotFoundError, match="modelparameters.mat"):
    table2.run(scales.config_of("tiny"), tmp_path, table2.Files(niqe=tmp_path / "none.mat"), None)
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("scale, side", [("tiny", 128), ("small", 256), ("paper", 256)])
def test_large_scenes_are_as_fast_as_those_of_training(scale, side):
  """In px/s, whatever their size; NIQE has blocks of 96 px."""
  config = scales.config_of(scale)
  large = scales.for_viewing(config)
  assert large.data.crop_size == side and large.batch_size == 1
  assert large.data.median_speed_px_s == config.data.median_speed_px_s
