"""Numbers that go wrong: found, told with the step and the scenes, and acted upon.

The compiled step finds what is wrong with a step (`Limits`) and does not apply it; here it is told and decided whether
the run goes on. What is found goes to the screen and into `events.jsonl`, one JSON object per event.
"""

import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np

from debir_jax.runtime.progress import log
from debir_jax.training.logs import keep_until
from debir_jax.types import SUBFRAME_RATE_HZ


@dataclasses.dataclass(frozen=True)
class Limits:
  """Beyond these a step is not applied.

  Attributes:
    max_grad_norm: of the gradient, before clipping.
    max_grad_norm_ratio: the same over its usual size, see `optimizer.usual_grad_norm`.
    max_saturated_fraction: of the targets' values that are at white or above, in the mean over the batch.
    min_mean_intensity: mean of the targets, white = 1.
  """

  max_grad_norm: float = float("inf")
  max_grad_norm_ratio: float = float("inf")
  max_saturated_fraction: float = 1.0
  min_mean_intensity: float = 0.0


def limits_of(config: ml_collections.ConfigDict) -> Limits:
  """Beyond what a step is not applied, of `config.guard`."""
  guard = config.guard
  or_none = lambda limit: float("inf") if limit is None else limit
  return Limits(max_grad_norm=or_none(guard.max_grad_norm), max_grad_norm_ratio=or_none(guard.max_grad_norm_ratio),
                max_saturated_fraction=guard.max_saturated_fraction, min_mean_intensity=guard.min_mean_intensity)


class StoppedError(RuntimeError):
  """A run cannot go on with the numbers it has; the last checkpoint is from before they went wrong."""


class NonFiniteError(StoppedError):
  """A loss or gradient is not finite."""


class Guard:
  """Watches a stage."""

  def __init__(self, section: ml_collections.ConfigDict, limits: Limits, directory: pathlib.Path, first_step: int, *,
               writes: bool = True):
    """
    Args:
      section: `config.guard`.
      limits: of the compiled steps.
      directory: of the stage.
      first_step: events behind it, of a run that was killed, are dropped.
      writes: whether this process writes the file.
    """
    self._section, self._limits, self._path, self._writes = section, limits, directory / "events.jsonl", writes
    for field, choices in (("on_nonfinite", ("stop", "skip")), ("on_bad_batch", ("stop", "skip")),
                           ("on_collapse", ("stop", "log"))):
      if section[field] not in choices:
        raise ValueError(f"config.guard.{field}={section[field]!r}; choose one of {', '.join(choices)}.")
    self._bad_in_a_row, self._collapsed, self._looks_at_one_frame = 0, False, False
    self.num_skipped = 0
    if writes:
      keep_until(self._path, first_step)

  def check_step(self, outputs: dict[str, Any] | None, step: int) -> None:
    """Tells what was wrong with a step that was not applied.

    Raises:
      StoppedError: the config says to stop, or too many steps in a row were bad.
    """
    if outputs is None:
      return
    if outputs["applied"]:
      self._bad_in_a_row = 0
      return
    what, scene_ids, is_finite = self._reason(outputs)
    self._bad_in_a_row += 1
    stop = self._section["on_bad_batch" if is_finite else "on_nonfinite"] == "stop"
    too_many = self._bad_in_a_row > self._section.max_bad_steps
    self._tell(step, what, scene_ids, "stopped" if stop or too_many else "skipped")
    if stop or too_many:
      reason = "" if stop else f" This is bad step number {self._bad_in_a_row} in a row (config.guard.max_bad_steps)."
      raise (StoppedError if is_finite else NonFiniteError)(
          f"Step {step}: {what}; scenes {', '.join(map(str, scene_ids))}.{reason} The last checkpoint is from before "
          "that step. Start again with a lower learning rate or a smaller clip_norm, look at those scenes, or skip "
          "such steps: config.guard.on_nonfinite and on_bad_batch.")
    self.num_skipped += 1

  def check_times(self, times: np.ndarray, step: int) -> None:
    """Tells if predicted exposure times `[m, n]` of many scenes, in s, are all the same.

    Raises:
      StoppedError: they are, and the config says to stop.
    """
    spread = float(np.max(np.std(times, axis=0))) * SUBFRAME_RATE_HZ
    collapsed = len(times) > 1 and spread < self._section.min_times_spread
    if collapsed and not self._collapsed:
      what = (f"BAENet predicts the same exposure times for all scenes: they spread by {spread:.2g}/1920 s, less than "
              "config.guard.min_times_spread")
      self._collapse(step, what, "Lower the learning rate, or warm up longer")
    self._collapsed = collapsed

  def check_alternate_frames(self, effect: float, step: int) -> None:
    """Tells if the restorer looks at the first frame alone: `Example.alternate_frame_sensitivity` is next to nothing.

    Raises:
      StoppedError: it does, and the config says to stop.
    """
    alone = effect < self._section.min_alternate_frame_sensitivity
    if alone and not self._looks_at_one_frame:
      self._collapse(step, "the restored image owes nothing to the frames behind the first: they make up "
                     f"{effect:.2g} of it, less than config.guard.min_alternate_frame_sensitivity",
                     "The alignment's offsets may have left the image: lower the learning rate, or "
                     "config.restoration_optimizer.offset_rate, and start from an earlier checkpoint")
    self._looks_at_one_frame = alone

  def _collapse(self, step, what, remedy):
    stop = self._section.on_collapse == "stop"
    self._tell(step, what, [], "stopped" if stop else "logged")
    if stop:
      raise StoppedError(f"Step {step}: {what}. {remedy}.")

  def _reason(self, outputs):
    """What is wrong, with which scenes, and whether all numbers are finite."""
    known = {name: np.asarray(values) for name, values in outputs["scenes"].items()}
    ids = known["scene_id"]
    bad = [name for name in ("loss", "grad_norm") if not np.isfinite(outputs[name])]
    if bad:
      offending = ids[~np.isfinite(known["loss"])]
      return " and ".join(bad) + " not finite", (offending if len(offending) else ids).tolist(), False
    if outputs["grad_norm"] > self._limits.max_grad_norm:
      return f"gradient norm {float(outputs['grad_norm']):.3g} above {self._limits.max_grad_norm:g}", ids.tolist(), True
    usual = outputs["usual_grad_norm"]
    if outputs["grad_norm"] > self._limits.max_grad_norm_ratio * usual:
      return (f"gradient norm {float(outputs['grad_norm']):.3g}, more than {self._limits.max_grad_norm_ratio:g} times "
              f"the usual {float(usual):.3g}"), ids.tolist(), True
    saturated, mean_intensity = known["saturated_fraction"], known["mean_intensity"]
    if saturated.mean() > self._limits.max_saturated_fraction:
      offending = ids[saturated > self._limits.max_saturated_fraction]
      return f"{saturated.mean():.0%} of the targets at white", offending.tolist(), True
    dark = ids[mean_intensity < self._limits.min_mean_intensity]
    return f"targets with a mean of {mean_intensity.mean():.2g}", dark.tolist(), True

  def _tell(self, step, what, scene_ids, action):
    log(f"step {step}: {what}; {action}" + (f", scenes {scene_ids}" if scene_ids else ""))
    if self._writes:
      with open(self._path, "a") as file:
        file.write(json.dumps(dict(step=step, event=what, scenes=scene_ids, action=action)) + "\n")
