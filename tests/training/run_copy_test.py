"""A copy of a run (`experiments/run_copy.py`) goes on as the run itself does, and nothing is overwritten."""

import io
import tarfile

import jax
import numpy as np
import pytest
from toy import toy_experiment, toy_state, toy_step

from debir_jax.training.loop import StageRun, train_stage
from debir_jax.training.stages import STAGES
from experiments import run_copy


class _MachineIsLostError(Exception):
  """Where the first machine's time ends."""


def _train(workdir, end_step=None):
  def step_fn(state, batch):
    if int(state.step) + 1 == end_step:
      raise _MachineIsLostError
    return toy_step(state, batch)

  run = StageRun(stage=STAGES["stage1"], directory=workdir / "stage1", num_steps=10, step_fn=step_fn,
                 policy_of=lambda state: None)
  return train_stage(toy_experiment(), run, toy_state())


@pytest.fixture
def lost(tmp_path):
  """The workdir of a run that ended in the middle."""
  with pytest.raises(_MachineIsLostError):
    _train(tmp_path / "first", end_step=7)
  return tmp_path / "first"


def test_a_run_that_goes_on_from_its_copy_ends_with_the_same_numbers(tmp_path, lost):
  """Bit for bit, on a machine that has nothing else of it; packing again takes the place of the older copy."""
  file = tmp_path / "copies" / "run.tar"
  for _ in range(2):
    (packed,) = run_copy.pack(lost, file)
  assert packed.startswith("stage1/") and [path.name for path in file.parent.iterdir()] == ["run.tar"]
  run_copy.unpack(file, tmp_path / "second")
  jax.tree.map(np.testing.assert_array_equal, _train(tmp_path / "second"), _train(tmp_path / "whole"))


def test_a_copy_holds_the_newest_checkpoint_of_the_stage_at_work_or_of_all(tmp_path, lost):
  """Earlier stages on request."""
  (lost / "stage2" / "checkpoints" / "5").mkdir(parents=True)
  (lost / "stage2" / "checkpoints" / "5" / "data").write_text("x")
  (lost / "stage2" / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
  assert run_copy.pack(lost, tmp_path / "run.tar") == ["stage2/5"]
  both = run_copy.pack(lost, tmp_path / "run.tar", all_stages=True)
  assert [name.partition("/")[0] for name in both] == ["stage1", "stage2"]


def test_nothing_is_overwritten_and_nothing_half_done(tmp_path, lost, capsys):
  """An existing workdir, a file that is cut, one that is something else, and a run without a checkpoint."""
  file = tmp_path / "run.tar"
  run_copy.main(["pack", str(lost), str(file)])
  assert "run.tar: stage1/" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="first is there already"):
    run_copy.main(["unpack", str(file), str(lost)])
  (tmp_path / "cut.tar").write_bytes(file.read_bytes()[:5000])
  (tmp_path / "page.tar").write_text("<html>" * 300)
  with tarfile.open(tmp_path / "other.tar", "w") as archive:
    archive.addfile(tarfile.TarInfo("readme.txt"), io.BytesIO())
  with tarfile.open(tmp_path / "outside.tar", "w") as archive:
    archive.addfile(tarfile.TarInfo("../outside.txt"), io.BytesIO())
  for name, message in (("cut", "is damaged"), ("page", "is damaged"), ("other", "no checkpoint"),
                        ("outside", "is damaged")):
    with pytest.raises(SystemExit, match=f"{name}.tar.*{message}"):
      run_copy.main(["unpack", str(tmp_path / f"{name}.tar"), str(tmp_path / "new")])
  with pytest.raises(SystemExit, match="holds no finished checkpoint"):
    run_copy.main(["pack", str(tmp_path / "absent"), str(tmp_path / "absent.tar")])
  assert sorted(path.name for path in tmp_path.iterdir()) == [
      "cut.tar", "first", "other.tar", "outside.tar", "page.tar", "run.tar"]
