"""The same training on 1 and 8 devices; where arrays lie; batches that cannot be cut."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from debir_jax.runtime import mesh as mesh_lib

_HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def on_devices():
  """What `on_devices.py` found with eight devices."""
  environment = os.environ | {"PYTHONPATH": str(_HERE.parents[1])}
  done = subprocess.run([sys.executable, _HERE / "on_devices.py"], env=environment, capture_output=True, text=True,
                        check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", [
    "restoration, eight", "restoration, eight, sharded state", "warmup, eight",
    "exposure, eight, sharded state", "warmup, eight, microbatches", "alignment, restoration, eight"])
def test_the_first_gradient_does_not_depend_on_the_number_of_devices(on_devices, case):
  """To 1e-10 in float64, with BatchNorm over the whole batch and dropout by example; outputs too, in order."""
  found = on_devices["differences"][case]
  assert found["gradient"] < 1e-10 and found["outputs"] < 1e-9


def test_the_first_losses_do_not_depend_on_the_number_of_devices(on_devices):
  """To 1e-4 in float32; later ones drift, as AdamW amplifies rounding."""
  losses = {name: program["losses"] for name, program in on_devices["programs"].items()}
  assert losses["copies"] == pytest.approx(losses["one"], rel=1e-4)
  assert losses["sharded"] == pytest.approx(losses["one"], rel=1e-4)
  assert losses["one"][-1] < losses["one"][0]


@pytest.mark.parametrize("state, kinds", [("copies", {"all-reduce", "all-gather"}), (
    "sharded", {"all-reduce", "all-gather", "reduce-scatter"})])
def test_the_compiled_step_holds_the_expected_collectives_only(on_devices, state, kinds):
  """Means over all devices, and numbers of examples gathered; no callback to Python; the old state is given away."""
  program = on_devices["programs"][state]
  assert "all-reduce" in program["collectives"] and set(program["collectives"]) <= kinds
  assert program["callbacks"] == 0
  assert program["aliases"] > 0.5 * program["num_leaves"]
  assert (program["cut"] > 0) == (state == "sharded")
  if state == "copies":  # The five numbers of every example; weights stay where they are.
    assert program["collectives"]["all-gather"] <= 5


def test_devices_share_the_batches_of_an_evaluation(on_devices):
  """Ten scenes at a time become sixteen on eight devices, two for each; the scores are those of one device."""
  one, eight = on_devices["evaluation"]["1"], on_devices["evaluation"]["8"]
  assert one["seen"] == [10] and eight["seen"] == [2]
  assert one["of"] == eight["of"] and len(one["of"]) == 2 * 13
  assert eight["psnr"] == pytest.approx(one["psnr"], abs=1e-3)


def test_large_arrays_are_cut_along_their_longest_axis_that_can_be():
  """Small ones, and those that cannot be cut evenly, lie on every device."""
  mesh = jax.sharding.AbstractMesh((8,), (mesh_lib.AXIS,))
  spec = lambda *shape, shard=True: tuple(mesh_lib.sharding_of(shape, mesh, shard).spec)
  assert spec(3, 3, 96, 512) == (None, None, None, "data")
  assert spec(1024, 20) == ("data", None)
  assert spec(3, 7, 5, 1001) == spec(16, 8) == spec() == spec(1024, 1024, shard=False) == ()


@pytest.mark.parametrize("batch_size, num_microbatches", [(6, 1), (12, 2), (0, 1), (4, 0)])
def test_a_batch_that_cannot_be_cut_is_refused_with_those_that_can(batch_size, num_microbatches):
  """The message has batch, devices and the nearest sizes."""
  mesh = jax.sharding.AbstractMesh((4,), (mesh_lib.AXIS,))
  with pytest.raises(ValueError, match=f"batch_size={batch_size} is not a multiple of.*4 devices"):
    mesh_lib.check_batch_size(batch_size, mesh, num_microbatches)


def test_more_devices_than_there_are_cannot_be_used():
  """The message has both numbers."""
  with pytest.raises(ValueError, match="num_devices=99, but there are"):
    mesh_lib.make_mesh(99)
