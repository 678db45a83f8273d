"""Where a run tells how it is doing: TensorBoard event files, JSON lines for scripts, and a line on the screen."""

import json
import pathlib
import resource
import struct
import sys
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from debir_jax.runtime.files import write_bytes, write_text
from debir_jax.runtime.progress import log
from debir_jax.types import SUBFRAME_RATE_HZ

_RECORD_HEAD, _RECORD_TAIL = 12, 4  # Bytes around an event: its length and a checksum of that, and one of the event.


class TensorBoardWriter:
  """Event files without TensorFlow; the method names are those of clu's `MetricWriter`."""

  def __init__(self, directory: pathlib.Path):
    from tensorboardX import SummaryWriter  # Imported here: only training needs it.
    # Files are named by the second: one that was begun in the same one would be written over.
    number = len(list(directory.glob("events.out.tfevents.*")))
    self._writer = SummaryWriter(str(directory), filename_suffix=f".{number}")

  def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    """One curve per name."""
    for name, value in scalars.items():
      self._writer.add_scalar(name, float(value), step)

  def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
    """Images `[N, H, W, 3]` in [0, 1], or uint8."""
    for name, image in images.items():
      image = np.asarray(image)
      image = image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
      self._writer.add_images(name, image, step, dataformats="NHWC")

  def write_histograms(self, step: int, arrays: dict[str, np.ndarray]) -> None:
    """One histogram per name."""
    for name, array in arrays.items():
      self._writer.add_histogram(name, np.asarray(array).ravel(), step)

  def flush(self) -> None:
    """Writes out what is buffered."""
    self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    self._writer.close()


class StageLog:
  """Log of one stage: event files, `log.jsonl`, progress with the seconds left, and a summary at its end."""

  def __init__(self, directory: pathlib.Path, name: str, num_steps: int, first_step: int, *, writes: bool = True):
    """With `writes=False`, for all processes but one, nothing is written."""
    self.directory, self.writes = directory, writes
    self._name, self._num_steps, self._first_step = name, num_steps, first_step
    self._start_s = self._last = self._times = None
    if writes:
      directory.mkdir(parents=True, exist_ok=True)
      keep_events_until(directory / "tensorboard", first_step)
      self.tensorboard = TensorBoardWriter(directory / "tensorboard")
      self._jsonl = directory / "log.jsonl"
      keep_until(self._jsonl, first_step)

  def first_step_done(self) -> None:
    """Starts the clock after the first step, which compiles."""
    self._start_s, self._clock_step = time.perf_counter(), self._first_step + 1

  def seconds_left(self, step: int) -> float:
    """Expected time to the end of the stage."""
    done = step - self._clock_step
    return float("nan") if done < 1 else (time.perf_counter() - self._start_s) / done * (self._num_steps - step)

  def write(self, step: int, scalars: dict[str, float], times: np.ndarray,
            images: dict[str, np.ndarray] | None = None) -> None:
    """Logs a step.

    Args:
      step: as counted from 1.
      scalars: means since the last call; what was seen of the scenes that are watched, if they were.
      times: exposure times since then `[m, n]`, s, for histograms.
      images: of the watched scenes, `[N, H, W, 3]`.
    """
    scalars = {name: float(value) for name, value in (scalars | memory()).items()}
    self._last, self._times = scalars, times * SUBFRAME_RATE_HZ
    if not self.writes:
      return
    # A mean over no step at all is NaN: a gap in the curve, and null in JSON, which has no NaN.
    known = {name: value if np.isfinite(value) else None for name, value in scalars.items()}
    self.tensorboard.write_scalars(step, {name: value for name, value in known.items() if value is not None})
    self.tensorboard.write_histograms(
        step, {f"exposure_times/t{i + 1}": column for i, column in enumerate(self._times.T)})
    self.tensorboard.write_images(step, images or {})
    with open(self._jsonl, "a") as file:
      file.write(json.dumps({"stage": self._name, "step": step, **known}) + "\n")
    digits_of = dict(loss=4, psnr=2, watched_psnr=2, label_error=2, mean_exposure=1)
    shown = "  ".join(f"{name} {scalars[name]:.{digits}f}" for name, digits in digits_of.items() if name in scalars)
    log(f"{self._name:14s} step {step:>{len(str(self._num_steps))}}/{self._num_steps}  {shown}  "
        f"data wait {100 * scalars.get('data_wait_fraction', 0):.1f} %{self._outlook(step)}")

  def _outlook(self, step) -> str:
    seconds = self.seconds_left(step)
    return f"  {seconds:.0f} s left" if np.isfinite(seconds) else ""

  def write_summary(self, num_skipped: int, num_replaced: int, checkpoints: pathlib.Path) -> None:
    """The stage in a few lines, on the screen and in `summary.txt`."""
    if not self.writes or self._last is None:
      return
    seconds, steps = time.perf_counter() - self._start_s, self._num_steps - self._clock_step
    number = lambda name: f"{self._last.get(name, float('nan')):.4g}"
    watched = f"{number('watched_psnr')} dB" if "watched_psnr" in self._last else "not measured"
    restored = f", PSNR {number('psnr')} dB" if "psnr" in self._last else ""
    times = " ".join(f"{mean:.1f}±{sd:.1f}" for mean, sd in zip(self._times.mean(0), self._times.std(0)))
    speed = f", {steps / max(seconds, 1e-9):.2f} a second" if steps > 0 else ""
    text = (f"{self._name}: {self._num_steps} steps{speed}\n"
            f"  last: loss {number('loss')}{restored}, gradient norm {number('grad_norm')}\n"
            f"  watched scenes: {watched}\n"
            f"  exposure times, 1/1920 s, mean±sd: {times}\n"
            f"  steps skipped: {num_skipped}, scenes replaced: {num_replaced}\n"
            f"  checkpoints: {checkpoints}")
    write_text(self.directory / "summary.txt", text + "\n")
    log(text)

  def close(self) -> None:
    """Closes the event file."""
    if self.writes:
      self.tensorboard.close()


class Profiler:
  """Traces some steps with JAX's profiler, for TensorBoard and Perfetto, into the stage's `profile`."""

  def __init__(self, section: ml_collections.ConfigDict, log: StageLog):
    self._first, self._last = section.first_step, section.first_step + section.num_steps - 1
    self._log, self._running = log, False

  def before(self, step: int) -> None:
    """Begins at the first of the steps."""
    if self._log.writes and step == self._first <= self._last:
      jax.profiler.start_trace(str(self._log.directory / "profile"))
      self._running = True

  def after(self, step: int, outputs: Any) -> None:
    """Ends with the last of them."""
    if self._running and step == self._last:
      jax.block_until_ready(outputs)
      jax.profiler.stop_trace()
      self._running = False
      folder = self._log.directory
      log(f"{folder.name:14s} profile of steps {self._first} to {step} in {folder / 'profile'}")


def memory() -> dict[str, float]:
  """Most memory used so far, GB: of the first device where it tells, and of this process."""
  stats = jax.local_devices()[0].memory_stats() or {}
  of_device = {"device_peak_gb": stats["peak_bytes_in_use"] / 1e9} if "peak_bytes_in_use" in stats else {}
  kilobyte = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in kB on Linux, in bytes on macOS.
  return of_device | {"process_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9}


def keep_events_until(folder: pathlib.Path, step: int) -> None:
  """Drops what TensorBoard's event files say of later steps, which a resumed run writes again; atomic."""
  for path in folder.glob("events.out.tfevents.*"):
    content, kept = path.read_bytes(), []
    for event, record in _events(content):
      if event.step <= step:
        kept.append(record)
    if (shorter := b"".join(kept)) != content:
      write_bytes(path, shorter)


def _events(content: bytes):
  """Events of a file and the bytes that stand for them, up to where it was cut."""
  from tensorboardX.proto.event_pb2 import Event
  start = 0
  while start + _RECORD_HEAD <= len(content):
    size, = struct.unpack_from("<Q", content, start)
    end = start + _RECORD_HEAD + size + _RECORD_TAIL
    if end > len(content):
      return
    yield Event.FromString(content[start + _RECORD_HEAD:end - _RECORD_TAIL]), content[start:end]
    start = end


def keep_until(jsonl: pathlib.Path, step: int) -> None:
  """Drops the lines of later steps, which a resumed run writes again; atomic."""
  if not jsonl.exists():
    return
  kept = [line for line in jsonl.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= step]
  write_text(jsonl, "".join(line + "\n" for line in kept))
