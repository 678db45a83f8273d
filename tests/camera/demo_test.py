"""The whole way on a simulated camera: the restored image is nearer to the truth than the first frame."""

import pathlib

import pytest

from debir_jax.camera import demo
from debir_jax.camera.plan import read_plan
from debir_jax.camera.raw_files import read_raw

pytest.importorskip("rawpy")


@pytest.mark.filterwarnings("ignore")
def test_a_simulated_burst_is_restored_by_3_db_or_more(tmp_path):
  """From preview to DNG, through files; a folder that is not empty is left alone."""
  folder = tmp_path / "my demo"
  scores = demo.run(demo.parser().parse_args(["--out", str(folder), "--size", "128", "--speed", "200"]))
  assert scores["restored"] > scores["frame"] + 3
  plan = read_plan(folder / "plan.json")
  assert all(frame.fits(frame.actual) for frame in plan.frames)
  assert read_raw(folder / "restored.dng").size == (64, 64)
  assert {path.name for path in pathlib.Path(folder).iterdir()} == {
      "plan.json", "restored.dng", "comparison.png", *(f"frame_{n}.dng" for n in range(4)),
      *(f"preview_{n}.dng" for n in range(2))}
  with pytest.raises(SystemExit, match="not empty"):
    demo.main(["--out", str(folder)])
