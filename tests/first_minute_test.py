"""The first minute: what is shown is what was measured, and bad options end in a sentence."""

import re

import numpy as np
import pytest

from debir_jax import demo


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
  """The demo on a small scene: its images and its folder."""
  folder = tmp_path_factory.mktemp("demo") / "out"
  return demo.run(demo.parser().parse_args(["--size=56", "--speed=200", f"--out={folder}"])), folder


def test_the_table_has_what_the_images_say(shown):
  """PSNR of every restored image against the true one, without the border; times within the budget."""
  examples, folder = shown
  table = (folder / "table.md").read_text()
  assert [example.method for example in examples] == ["DEBIR", "bracketing", "uniform {16}", "uniform {32}"]
  for example in examples:
    error = np.clip(example.restored, 0, 1)[8:-8, 8:-8] - example.target[8:-8, 8:-8]
    psnr = -10 * np.log10(np.mean(np.square(error, dtype=np.float64)))
    assert psnr == pytest.approx(example.psnr, abs=1e-3)
    assert re.search(rf"\| {re.escape(example.method)} \|.*\| {psnr:.2f} \|", table)
    assert 0 < example.exposure_times.sum() * 1920 <= 128.01
  assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_all_bursts_are_of_one_scene_and_preview(shown):
  """What differs is what the exposure times change."""
  examples, _ = shown
  for example in examples[1:]:
    np.testing.assert_array_equal(example.target, examples[0].target)
    np.testing.assert_array_equal(example.previews, examples[0].previews)
    assert np.abs(example.raw - examples[0].raw).max() > 0


@pytest.mark.parametrize("options, message", [
    (("--weights=nothing",), "There are no weights 'nothing'"), (("--size=4000",), "None of"),
    (("--size=50",), "multiple"), (("--gain=0",), "gain"), (("--gain=nan",), "gain"), (("--speed=-3",), "speed"),
    (("--photos=/nowhere",), "is not a folder"), (("--seed=-1",), "seed")])
def test_bad_options_end_in_a_sentence(options, message, tmp_path):
  with pytest.raises(SystemExit, match=message):
    demo.main([*options, f"--out={tmp_path / 'out'}"])
  assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(SystemExit, match="notes.txt"):
    demo.main([f"--out={tmp_path}"])
