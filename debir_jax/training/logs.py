"""Where a run tells how it is doing: TensorBoard event files, JSON lines for scripts, and a line on the screen."""

import json
import pathlib
import sys
import time

from absl import logging
import numpy as np

from debir_jax.files import write_text


class TensorBoardWriter:
  """Event files without TensorFlow; the method names are those of clu's `MetricWriter`."""

  def __init__(self, directory: pathlib.Path):
    from tensorboardX import SummaryWriter  # Imported here: only training needs it.
    self._writer = SummaryWriter(str(directory))

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

  def write_texts(self, step: int, texts: dict[str, str]) -> None:
    """Markdown."""
    for name, text in texts.items():
      self._writer.add_text(name, text, step)

  def flush(self) -> None:
    """Writes out what is buffered."""
    self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    self._writer.close()


class StageLog:
  """Log of one stage: event files, `log.jsonl`, and progress with the seconds left."""

  def __init__(self, directory: pathlib.Path, name: str, num_steps: int, first_step: int):
    directory.mkdir(parents=True, exist_ok=True)
    self.tensorboard = TensorBoardWriter(directory / "tensorboard")
    self._jsonl = directory / "log.jsonl"
    self._name, self._num_steps, self._first_step = name, num_steps, first_step
    self._start_s = None
    keep_until(self._jsonl, first_step)

  def first_step_done(self) -> None:
    """Starts the clock after the first step, which compiles."""
    self._start_s, self._clock_step = time.perf_counter(), self._first_step + 1

  def seconds_left(self, step: int) -> float:
    """Expected time to the end of the stage."""
    done = step - self._clock_step
    return float("nan") if done < 1 else (time.perf_counter() - self._start_s) / done * (self._num_steps - step)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Logs the means since the last call."""
    scalars = {name: float(value) for name, value in scalars.items()}
    self.tensorboard.write_scalars(step, scalars)
    with open(self._jsonl, "a") as file:
      file.write(json.dumps({"stage": self._name, "step": step, **scalars}) + "\n")
    shown = "  ".join(f"{name} {scalars[name]:.{digits}f}" for name, digits in
                      (("loss", 4), ("psnr", 2), ("label_error", 2), ("mean_exposure", 1)) if name in scalars)
    say(f"{self._name:14s} step {step:>{len(str(self._num_steps))}}/{self._num_steps}  {shown}  "
        f"data wait {100 * scalars.get('data_wait_share', 0):.1f} %  {self.seconds_left(step):.0f} s left")

  def close(self) -> None:
    """Closes the event file."""
    self.tensorboard.close()


def say(text: str) -> None:
  """A line for the person at the screen; also in absl's log where one is written."""
  print(text, file=sys.stderr, flush=True)
  logging.debug("%s", text)


def keep_until(jsonl: pathlib.Path, step: int) -> None:
  """Drops the lines of later steps, which a resumed run writes again; atomic."""
  if not jsonl.exists():
    return
  kept = [line for line in jsonl.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= step]
  write_text(jsonl, "".join(line + "\n" for line in kept))
