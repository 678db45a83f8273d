"""What the documentation shows works as it stands there."""

import pathlib
import re

import numpy as np
import pytest

from debir_jax.pipeline import capture
from debir_jax.simulator import IsoNoise

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_MAX_LINES = 20


def _blocks(path, heading=""):
  """Python blocks of a page, those below a heading."""
  text = (_ROOT / path).read_text()
  start = text.index(heading)
  end = text.find("\n## ", start + 1)
  return re.findall(r"```python\n(.*?)```", text[start:end if heading and end > 0 else None], re.DOTALL)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
  """Runs write into a folder of their own; configs are found."""
  monkeypatch.syspath_prepend(str(_ROOT))
  monkeypatch.chdir(tmp_path)
  return tmp_path


def _debug_config(**changes):
  from configs import quickstart
  config = quickstart.get_config("debug")
  config.compilation_cache = ""
  config.comparison.headroom_scenes = 0
  config.update_from_flattened_dict(changes)
  return config


def test_the_readmes_lines_use_the_weights(in_folder):
  """Load, ask for exposure times, restore; and the simulator with a gradient-ready burst."""
  names = {}
  front, simulator = [block for block in _blocks("README.md") if "MyNetwork" not in block]
  exec(simulator, names)
  assert names["raw"].shape == (4, 32, 32, 4) and names["previews"].shape == (2, 32, 32, 4)
  exec(front, names)
  assert names["times"].shape == (4,) and names["image"].shape == (32, 32, 4)


def test_the_parts_of_a_model_are_as_documented(in_folder):
  """The lines of docs/use.md, on a burst of the simulator."""
  import jax
  import jax.numpy as jnp
  first, parts = _blocks("docs/use.md")
  radiance, names = jnp.full((230, 16, 16, 4), 0.2), {}
  names["previews"] = np.full((2, 16, 16, 4), 0.2, np.float32)
  names["raw"] = np.full((4, 16, 16, 4), 0.2, np.float32)
  exec(first, names)
  names["burst"] = capture(jax.random.key(0), radiance, names["times"], 700.0, IsoNoise(), names["model"].timing)
  exec(parts, names)
  assert names["image"].shape == (16, 16, 4)


def test_a_restorer_of_ones_own_trains(in_folder):
  """With its BatchNorm, as docs/extend.md shows; `training/runner_test.py` takes one through all stages."""
  block, = _blocks("docs/extend.md", "## A restorer")
  assert len(block.splitlines()) <= _MAX_LINES
  names = dict(config=_debug_config(**{"comparison.enabled": False, "stages": ("stage1",)}))
  exec(block, names)
  assert (in_folder / "runs" / "my_network" / "stage1" / "summary.txt").exists()


def test_a_policy_of_ones_own_is_compared(in_folder):
  block, = _blocks("docs/extend.md", "## A policy")
  assert len(block.splitlines()) <= _MAX_LINES
  names = dict(config=_debug_config(**{"comparison.finetune": False, "stages": ("stage1",)}))
  exec(block, names)
  assert "| by brightness " in (in_folder / "runs" / "my_policy" / "results" / "table.md").read_text()


def test_scenes_of_ones_own_are_evaluated_on(in_folder):
  """Handed in, and named in the config."""
  given, named = _blocks("docs/extend.md", "## Scenes")
  assert max(len(block.splitlines()) for block in (given, named)) <= _MAX_LINES
  config = _debug_config(**{"comparison.enabled": False, "stages": ("stage1",)})
  names = dict(config=config)
  exec(given, names)
  assert (in_folder / "runs" / "my_scenes" / "stage1" / "summary.txt").exists()
  exec(named, names)
  from debir_jax.config.scenes import scene_sources_of
  assert isinstance(scene_sources_of(config)["test"]._source, names["Ramps"])  # Cached.


def test_every_page_is_in_the_menu():
  """And every link between pages leads somewhere."""
  menu = (_ROOT / "mkdocs.yml").read_text()
  for page in (_ROOT / "docs").glob("*.md"):
    assert page.name in menu
    for target in re.findall(r"\]\(([\w./]+\.md)\)", page.read_text()):
      assert (page.parent / target).exists(), f"{page.name} links to {target}"
  for target in re.findall(r"\]\(([\w./]+)\)", (_ROOT / "README.md").read_text()):
    assert (_ROOT / target).exists(), f"README links to {target}"


def test_commands_of_the_docs_name_what_is_there():
  """Modules, configs and fields in commands exist."""
  text = "\n".join(path.read_text() for path in [_ROOT / "README.md", *(_ROOT / "docs").glob("*.md")])
  for path in set(re.findall(r"configs/[\w/]+\.py", text)):
    assert (_ROOT / path).exists(), path
  for module in set(re.findall(r"python -m (debir_jax[\w.]*|experiments[\w.]*)", text)):
    path = _ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
  config = _debug_config().to_dict()
  for field in set(re.findall(r"--config\.([\w.]+)", text)):
    node = config
    for name in field.split("."):
      assert name in node, field
      node = node[name]


def test_a_data_set_of_ones_own_is_prepared_and_read(in_folder, monkeypatch):
  """The builder of docs/data.md and what reads it, each below 30 lines."""
  import cv2

  from debir_jax.config import scenes as scenes_config
  monkeypatch.setattr(scenes_config, "_MAKERS", dict(scenes_config._MAKERS))
  frames = np.random.default_rng(0).integers(0, 256, (181, 32, 40, 3)).astype(np.uint8)
  for clip in ("t1", "x1"):
    (in_folder / "clips" / clip).mkdir(parents=True)
    for number, frame in enumerate(frames):
      cv2.imwrite(str(in_folder / "clips" / clip / f"{number:04d}.png"), frame)
  builder, use = _blocks("docs/data.md", "## A data set of your own")
  assert len(builder.splitlines()) + len(use.splitlines()) <= 35 and len(builder.splitlines()) <= 30
  exec(builder + use, {})
  config = _debug_config(**{"data.source": "my_clips"})
  request = scenes_config.SceneRequest(split="restore", num_scenes=9, num_subframes=358, seed=0, timing=None,
                                       photos=list)
  source = scenes_config._MAKERS["my_clips"](config.data, request)
  assert len(source) == 1 and source.scene(0).radiance.shape == (358, 16, 16, 4)
