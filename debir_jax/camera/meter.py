"""Plans a burst from two preview frames: prints it, and writes it for the camera.

  python -m debir_jax.camera.meter PREVIEW1.dng PREVIEW2.dng --out plan.json
  python -m debir_jax.camera.meter PREVIEW1.dng PREVIEW2.dng --out plan.json --camera limits.json --noise camera.json

The previews are RAW files of one exposure time and ISO, the earlier one first. The plan (docs/capture_plan.schema.json)
has the exposure time and ISO of every frame: as the policy wants it, and as the camera can take it. Needs
`pip install -e ".[camera]"`.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.camera.coarse_motion import reduced_planes
from debir_jax.camera.dng import check_new, write_new
from debir_jax.camera.limits import NS_PER_S, CameraLimits, read_limits
from debir_jax.camera.noise_calibration import NoiseCalibration, equivalent_gain, read_calibration
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.plan import MOST_FRAMES, CapturePlan, Expectations, plan_frames, plan_json, plan_table
from debir_jax.camera.raw_files import read_raw
from debir_jax.camera.raw_frame import RawFrame
from debir_jax.motion import develop_previews, mean_flow_magnitude
from debir_jax.policies import MotionMetering, Policy, bracket, is_pytree, uniform
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.progress import log
from debir_jax.simulator import IsoNoise
from debir_jax.types import BurstTiming, Observation
from debir_jax.weights.model import Debir, load

POLICIES = ("baenet", "bracket", "uniform", "motion")
_CROP = 256  # Packed px a side of what BAENet sees of a large preview: networks are trained on crops.
_MAX_BLUR_PX = 2.0  # Of motion metering.
_DARK, _CLIPPED = 1e-3, 0.5  # Mean signal, and share of clipped samples, of previews that say too little.
_SPARE_NS = 5 * NS_PER_S  # Of the timeout.


def main(argv: Sequence[str]) -> None:
  """Reads the options and plans; what is wrong is told in a line, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError):
    run(options)


def run(options: argparse.Namespace) -> None:
  """The command.

  Raises:
    ValueError, OSError, ImportError: with what is wrong, and the way on.
  """
  if options.out:
    check_new(options.out, overwrite=options.overwrite)
  limits = read_limits(options.camera) if options.camera else CameraLimits()
  calibration = read_calibration(options.noise) if options.noise else None
  previews = [_with_exposure(read_raw(path), options) for path in options.previews]
  plan = meter(load(options.weights), previews, limits, policy=options.policy, calibration=calibration,
               interval_s=options.interval, num_frames=options.num_frames)
  print(plan_table(plan))
  if options.out:
    write_new(options.out, (json.dumps(plan_json(plan), indent=2, allow_nan=False) + "\n").encode(),
              overwrite=options.overwrite)
    print(f"Written: {options.out}")


def _with_exposure(frame, options) -> RawFrame:
  """The frame with what its file does not say and the options do."""
  return dataclasses.replace(frame, exposure_time=frame.exposure_time or options.exposure_time,
                             iso=frame.iso or options.iso)


def meter(model: Debir, previews: Sequence[RawFrame], limits: CameraLimits, *, policy: str = "baenet",
          calibration: NoiseCalibration | None = None, interval_s: float | None = None,
          num_frames: int | None = None) -> CapturePlan:
  """A plan for the burst after two previews.

  Args:
    model: with a BAENet, where the policy is that.
    previews: two of one camera, the earlier one first.
    limits: of the camera.
    policy: one of `POLICIES`.
    calibration: of the camera's noise; without one it is taken to be that of the networks' training.
    interval_s: from the start of one preview to that of the other; None: that of the networks' training.
    num_frames: of the burst; None: as many as the networks are for, or choose.

  Raises:
    ValueError: a BAENet that does not know bursts of so many frames; previews that say nothing of exposure or ISO,
      differ, or are black or clipped.
  """
  exposure_time, iso = _check_previews(previews)
  brightness = exposure_time * iso
  gain = brightness / (limits.base_iso * model.timing.preview_exposure_s)  # As if taken like the networks' previews.
  planes = np.clip(np.stack([_crop(preview.packed()) for preview in previews]), 0, 1)
  signal = float(np.mean(planes[1]))
  noise_model = calibration.noise_model(limits.base_iso) if calibration else model.noise_model or IsoNoise()
  if calibration:
    gain = equivalent_gain(NoiseProfile.of_model(noise_model, gain), model.noise_model or IsoNoise(), signal)
  mean_flow_px, observation = _observe(model, previews, planes, gain, interval_s)
  chooser, timing = _policy(model, policy, num_frames)
  choose = _chosen if is_pytree(chooser) else _chosen_by_function
  times = np.asarray(choose(chooser, observation, timing))
  interval = interval_s or model.timing.preview_exposure_s + model.timing.preview_gap_s
  expected = Expectations(speed_px_s=mean_flow_px / interval, noise_std=lambda iso: NoiseProfile.of_model(
      noise_model, iso / limits.base_iso).std_at(signal))
  budget_ns = round(model.timing.with_frames(int(np.count_nonzero(times))).budget_s * NS_PER_S)
  frames = plan_frames(times.tolist(), brightness, limits, expected, budget_ns)
  duration_ns = sum(frame.frame_duration_ns for frame in frames)
  return CapturePlan(frames=frames, limits=limits, budget_ns=budget_ns, timeout_ns=10 * duration_ns + _SPARE_NS,
                     policy=policy, preview_gain=float(gain), mean_flow_px=mean_flow_px)


def _policy(model, name, num_frames) -> tuple[Policy, BurstTiming]:
  """The policy, and the timing of the bursts that it is asked for."""
  if name == "baenet":
    if model.policy is None:
      raise ValueError("These weights hold no BAENet. Give others (--weights), or another --policy.")
    return model.policy if num_frames is None else model.policy.for_frames(num_frames), model.timing
  if num_frames is not None and not 1 <= num_frames <= MOST_FRAMES:
    raise ValueError(f"--num_frames={num_frames} must be 1 to {MOST_FRAMES}.")
  timing = model.timing.with_frames(num_frames or model.timing.num_frames)
  longest_s = timing.budget_s / timing.num_frames
  others = dict(bracket=bracket(timing), uniform=uniform(longest_s), motion=MotionMetering(max_blur_px=_MAX_BLUR_PX))
  if name not in others:
    raise ValueError(f"--policy={name}: there are {', '.join(POLICIES)}.")
  return others[name], timing


def _observe(model, previews, planes, gain, interval_s) -> tuple[float, Observation]:
  """Mean flow between the previews in packed px, and what a policy sees: the flow as it is in the networks' interval.
  """
  factor = max(1, -(-max(previews[0].size) // _CROP))
  reduced = np.clip(np.stack([reduced_planes(preview, factor) for preview in previews]), 0, 1)
  color = previews[1].color
  mean_flow_px = factor * float(_mean_flow_px(model.motion, reduced, color))
  trained_s = model.timing.preview_exposure_s + model.timing.preview_gap_s
  seen_px = mean_flow_px * trained_s / (interval_s or trained_s)
  if model.policy is not None:
    model.policy.inputs.warn_outside(gain)
  return mean_flow_px, Observation(
      previews=jnp.asarray(planes), preview_gain=jnp.float32(gain), mean_flow_px=jnp.float32(seen_px),
      motion_magnitude=jnp.float32(np.clip(seen_px / (model.motion.full_scale_px_per_s * trained_s), 0, 1)),
      color=color)


@jax.jit
def _mean_flow_px(motion, previews, color) -> jax.Array:
  estimator = motion.estimator
  return mean_flow_magnitude(estimator.apply(motion.variables, *develop_previews(previews, color, estimator)))


def _chosen_by_function(policy, observation, timing) -> jax.Array:
  return policy(jax.random.key(0), observation, timing)


_chosen = jax.jit(_chosen_by_function)


def _crop(planes):
  """The middle, with sides that are multiples of 8."""
  starts, sides = zip(*(((side - cut) // 2, cut) for side in planes.shape[:2] for cut in (min(side, _CROP) // 8 * 8,)))
  return planes[starts[0]:starts[0] + sides[0], starts[1]:starts[1] + sides[1]]


def _check_previews(previews) -> tuple[float, float]:
  """Exposure time, s, and ISO of both."""
  if len(previews) != 2:
    raise ValueError(f"Metering takes two previews, got {len(previews)}.")
  first, second = previews
  for what, of in (("sizes", lambda f: f.size), ("cameras", lambda f: f.camera),
                   ("exposure times", lambda f: f.exposure_time), ("ISOs", lambda f: f.iso)):
    if of(first) != of(second):
      raise ValueError(f"{first.source} and {second.source} are of different {what}: {of(first)} and {of(second)}. "
                       "Take both previews alike.")
  if second.exposure_time is None or second.iso is None:
    raise ValueError(f"{second.source} does not say its exposure time and ISO, which the burst is planned by. Give "
                     "them: --exposure_time=0.008 --iso=3200.")
  planes = second.packed()
  if planes.mean() < _DARK:
    raise ValueError(f"{second.source} is black (mean {planes.mean():.2g} of white). Take brighter previews.")
  if np.mean(planes >= 0.98) > _CLIPPED:
    raise ValueError(f"{second.source} is clipped in {100 * np.mean(planes >= 0.98):.0f} % of its samples. Take darker "
                     "previews.")
  if np.array_equal(first.mosaic, second.mosaic):
    raise ValueError(f"{first.source} and {second.source} hold the very same pixels: motion cannot be seen in one "
                     "frame that is given twice.")
  return second.exposure_time, second.iso


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.camera.meter", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("previews", nargs=2, help="RAW files, the earlier one first")
  add("--out", help="the JSON file to write")
  add("--weights", help="a name, folder or file, see debir_jax.load; default: the package's own")
  add("--policy", default="baenet", help=", ".join(POLICIES))
  add("--camera", help="JSON file with the camera's limits, see docs/camera.md")
  add("--noise", help="the file of debir_jax.camera.calibrate")
  add("--num_frames", type=int, help="of the burst, where the weights are for several; default: as they choose")
  add("--exposure_time", type=float, help="s, of previews that do not say it")
  add("--iso", type=float, help="of previews that do not say it")
  add("--interval", type=float, help="s from the start of one preview to that of the other; default: the networks'")
  add("--overwrite", action="store_true", help="replace a plan that is there")
  return parser


if __name__ == "__main__":
  warnings.showwarning = lambda message, *_: log(f"Warning: {message}")
  main(sys.argv[1:])
