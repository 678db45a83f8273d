"""Real processes on this machine: together they train as one does, stop together, and say who is missing."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from debir_jax.evaluation import read_records
from debir_jax.training.loop import INTERRUPTED

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# Those of a company, for web pages: what processes of a run tell each other must not go there.
_PROXIES = {name: "http://localhost:9" for name in ("http_proxy", "https_proxy", "grpc_proxy")}
_PATIENCE_S = 3600  # For what never takes so long, not even on a busy machine.


def _free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def _start(workdir, num_processes, *options, config="all_stages"):
  """Processes of one run of the smallest config, with a batch of four."""
  port, started = _free_port(), []
  for index in range(num_processes):
    together = [f"--coordinator=localhost:{port}", f"--num_processes={num_processes}", f"--process_id={index}",
                f"--connect_timeout_s={_PATIENCE_S}"]
    command = [sys.executable, "-m", "debir_jax.main", f"--config=configs/{config}.py:debug", f"--workdir={workdir}",
               "--config.batch_size=4", "--config.log_every_steps=1", *options]
    with open(workdir.with_name(f"{workdir.name}_{index}.txt"), "w") as output:
      started.append(subprocess.Popen(command + (together if num_processes > 1 else []), cwd=_ROOT, stdout=output,
                                      stderr=output, env=os.environ | _PROXIES))
  return started


def _finish(workdir, processes, code=0):
  try:
    codes = [process.wait(_PATIENCE_S) for process in processes]
  finally:
    for process in processes:
      process.kill()
  output = "\n".join(workdir.with_name(f"{workdir.name}_{index}.txt").read_text() for index in range(len(processes)))
  assert codes == [code] * len(processes), f"{codes}\n{output[-4000:]}"


def _losses(workdir, stage):
  return [json.loads(line)["loss"] for line in (workdir / stage / "log.jsonl").read_text().splitlines()]


_OPTIONS = ("--config.stage2.num_steps=2", "--config.bae.dropout_rate=0.2", "--config.comparison.finetune=False",
            "--config.evaluation.watched_scenes=0")


# All stages and a headroom take minutes to compile in every process.
@pytest.mark.parametrize("num_processes, stages, headroom_scenes", [
    (2, ("stage1",), 0),
    pytest.param(4, ("stage1", "stage2_warmup", "stage2"), 2, marks=pytest.mark.slow)])
def test_processes_together_train_as_one_does(tmp_path, num_processes, stages, headroom_scenes):
  """Each makes its own part of every batch; losses, labels, results and headroom are those of one process."""
  alone, workdir = tmp_path / "alone", tmp_path / "run"
  options = (*_OPTIONS, f"--config.stages={stages!r}", "--config.comparison.enabled=True",
             f"--config.comparison.headroom_scenes={headroom_scenes}")
  _finish(alone, _start(alone, 1, *options))
  _finish(workdir, _start(workdir, num_processes, *options))
  for stage in stages:
    assert _losses(workdir, stage) == pytest.approx(_losses(alone, stage), rel=1e-4)
    assert (workdir / stage / "checkpoints" / str(len(_losses(alone, stage)))).is_dir()
  if "stage2_warmup" in stages:
    labels, expected = [json.loads((folder / "stage2_warmup" / "labels.json").read_text())["best"]
                        for folder in (workdir, alone)]
    assert labels == expected
  records, expected = [sorted(read_records(folder / "results" / "records_stage_1_restorer.jsonl"),
                              key=lambda record: (record.method, record.scene_id)) for folder in (workdir, alone)]
  assert [(record.method, record.scene_id) for record in records] == [
      (record.method, record.scene_id) for record in expected]
  assert [record.psnr for record in records] == pytest.approx([record.psnr for record in expected], abs=1e-2)
  if not headroom_scenes:
    return
  headrooms = [json.loads((folder / "results" / "headroom.json").read_text())["mean_psnr"]
               for folder in (workdir, alone)]
  assert headrooms[0] == pytest.approx(headrooms[1], abs=1e-3)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
  """The step at hand is saved, all exit with the code of an interruption; one process can go on from there."""
  workdir, options = tmp_path / "run", ("--config.stages=('stage1',)", "--config.stage1.num_steps=100000",
                                        "--config.checkpoint_every_steps=100000")
  processes, log = _start(workdir, 2, *options), workdir / "stage1" / "log.jsonl"
  deadline = time.monotonic() + _PATIENCE_S
  while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
    time.sleep(0.2)
  processes[1].send_signal(signal.SIGTERM)
  _finish(workdir, processes, INTERRUPTED)
  step, = [int(path.name) for path in (workdir / "stage1" / "checkpoints").iterdir() if path.name.isdigit()]
  again = _start(workdir, 1, *options)
  while len(_losses(workdir, "stage1")) <= step and time.monotonic() < deadline:
    time.sleep(0.2)
  again[0].send_signal(signal.SIGTERM)
  _finish(workdir, again, INTERRUPTED)
  assert len(_losses(workdir, "stage1")) > step


@pytest.mark.slow
def test_a_damaged_checkpoint_stops_all_processes_and_an_older_one_can_be_chosen(tmp_path):
  """Each says which one it is; from the older one they go on together, and the damaged one is set aside."""
  workdir, options = tmp_path / "run", ("--config.stages=('stage1',)", "--config.stage1.num_steps=3")
  _finish(workdir, _start(workdir, 2, *options))
  checkpoints = workdir / "stage1" / "checkpoints"
  for file in (checkpoints / "3" / "restoration").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")
  expected = _losses(workdir, "stage1")
  _finish(workdir, _start(workdir, 2, *options), code=1)
  for index in range(2):
    output = workdir.with_name(f"run_{index}.txt").read_text()
    assert "3 cannot be read" in output and "--config.resume_from=stage1/2" in output and "Traceback" not in output
  _finish(workdir, _start(workdir, 2, *options, "--config.resume_from=stage1/2"))
  assert _losses(workdir, "stage1") == pytest.approx(expected, rel=1e-6)
  assert (workdir / "stage1" / "checkpoints_set_aside" / "3").is_dir()


def test_a_coordinator_that_does_not_answer_is_named(tmp_path):
  """After the time it was given, with the address and what to look at."""
  command = [sys.executable, "-m", "debir_jax.main", "--config=configs/stage1.py:debug", f"--workdir={tmp_path}",
             f"--coordinator=localhost:{_free_port()}", "--num_processes=2", "--process_id=1", "--connect_timeout_s=3"]
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
  assert done.returncode != 0
  assert "could not join the others through localhost" in done.stderr and "process 0 does not answer" in done.stderr
