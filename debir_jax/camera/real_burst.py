"""A burst out of frames of a camera: one brightness, the noise of every frame, and which one is restored.

The brightness of a frame is that of its exposure time and ISO, else as measured. Frames keep their own counts;
`RealBurst.scales` are the factors to the brightness of the reference, which is frame 0.
"""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np

from debir_jax.camera.coarse_motion import reduced_gray
from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.camera.raw_frame import RawFrame

MOST_FRAMES = 64
_REDUCED = 8  # Packed px, of squares whose means are compared.
_CLIPPED = 0.9  # Means of squares from here on may hold clipped samples.
_LARGEST_SCALE = 64.0  # Six stops: a frame so much darker is no frame of this burst.

Profiles = Callable[[RawFrame], NoiseProfile | None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RealPreview:
  """The frame right before a burst: it shows the motion, and is not restored.

  Attributes:
    frame: of the burst's size and camera.
    exposure_time: s.
    scale: factor to the brightness of the reference.
    noise: of the frame once it is scaled; None: nobody says.
  """

  frame: RawFrame
  exposure_time: float
  scale: float
  noise: NoiseProfile | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RealBurst:
  """Frames, the reference first.

  Attributes:
    frames: of one size and camera.
    exposure_times: `[n]`, s, as they were taken.
    scales: `[n]`, factors to the reference's brightness; 1 of the reference.
    noise: of the frames once they are scaled; None of those of whom nobody says.
    measured_scales: `[n]`, what the frames themselves say of `scales`; NaN where they are too dark or clipped.
    gap_s: from the end of an exposure to the start of the next; None: that of the networks' training.
    starts_s: `[n]`, of the exposures, s after that of the first, where the camera says them; None: by the gap.
    preview: the frame before the first one, by the gap; None: there is none, or another frame is the reference.
  """

  frames: tuple[RawFrame, ...]
  exposure_times: np.ndarray
  scales: np.ndarray
  noise: tuple[NoiseProfile | None, ...]
  measured_scales: np.ndarray
  gap_s: float | None = None
  starts_s: np.ndarray | None = None
  preview: RealPreview | None = None

  def start_s(self, default_gap_s: float, num_frames: int) -> np.ndarray:
    """Starts `[num_frames]` of the exposures, s after that of the reference; those of frames not taken are its end."""
    gap_s = default_gap_s if self.gap_s is None else self.gap_s
    following = np.cumsum(self.exposure_times + gap_s)
    starts = np.concatenate([[0.0], following[:-1]]) if self.starts_s is None else self.starts_s
    end = starts[-1] + self.exposure_times[-1] + gap_s
    return np.concatenate([starts, np.full(num_frames - len(self.frames), end)]).astype(np.float32)


def real_burst(frames: Sequence[RawFrame], *, exposure_times: Sequence[float] | None = None,
               reference: str = "first", gap_s: float | None = None, starts_s: Sequence[float] | None = None,
               preview: RawFrame | None = None, profile_of: Profiles = lambda frame: frame.noise) -> RealBurst:
  """Checks that frames belong together and says how.

  Args:
    frames: in the order in which they were taken.
    exposure_times: s, of files that do not say them.
    reference: "first", or "sharpest".
    gap_s, starts_s: see `RealBurst`; starts hold only where the first frame is the reference.
    preview: the frame that was taken right before the first one.
    profile_of: the noise of a frame, where it is known.

  Raises:
    ValueError: frames that are no burst; the message names the frame and the way on.
  """
  _check_frames(frames)
  times = _exposure_times(frames, exposure_times)
  first = _reference(frames, times, reference)
  order = [first, *(place for place in range(len(frames)) if place != first)]
  frames, times = tuple(frames[place] for place in order), times[order]
  measured = measured_scales(frames)
  scales = _scales(frames, times, measured)
  noise = tuple(profile and profile.scaled(scale) for profile, scale in zip(map(profile_of, frames), scales))
  return RealBurst(frames=frames, exposure_times=times, scales=scales, noise=noise, measured_scales=measured,
                   gap_s=gap_s, starts_s=_starts(starts_s, times) if first == 0 else None,
                   preview=_preview(preview, frames[0], times[0], profile_of) if preview and first == 0 else None)


def measured_scales(frames: Sequence[RawFrame]) -> np.ndarray:
  """Factors `[n]` to the brightness of the first frame, by the ratio of what is clipped in neither."""
  grays = [reduced_gray(frame, min(_REDUCED, *frame.size)) for frame in frames]
  scales = []
  for gray in grays:
    usable = (gray < _CLIPPED) & (grays[0] < _CLIPPED)
    total = float(np.sum(gray[usable])), float(np.sum(grays[0][usable]))
    scales.append(total[1] / total[0] if min(total) > 0 else np.nan)
  return np.array(scales)


def sharpness(frame: RawFrame) -> float:
  """How much detail a frame has relative to its brightness: of finer squares than noise, of coarser ones than blur."""
  gray = reduced_gray(frame, 2)
  steps = np.abs(np.diff(gray, axis=0)[:, :-1]) + np.abs(np.diff(gray, axis=1)[:-1])
  return float(np.quantile(steps, 0.95) / max(gray.mean(), 1e-6))


def _check_frames(frames):
  if not 2 <= len(frames) <= MOST_FRAMES:
    raise ValueError(f"A burst has 2 frames or more, and {MOST_FRAMES} at most; got {len(frames)}. One frame alone is "
                     "no burst: develop it with any RAW converter.")
  first = frames[0]
  for frame in frames[1:]:
    for what, of in (("sizes", lambda f: f.size), ("color filter arrays", lambda f: f.cfa),
                     ("cameras", lambda f: f.camera), ("orientations", lambda f: f.orientation)):
      if of(frame) != of(first):
        raise ValueError(f"{first.source} and {frame.source} are of different {what}: {of(first)} and {of(frame)}. "
                         "All frames must be of one burst of one camera.")


def _exposure_times(frames, given) -> np.ndarray:
  if given is not None:
    if len(given) != len(frames) or not all(0 < time < 1e3 for time in given):
      raise ValueError(f"--exposure_times needs one positive time in s for each of the {len(frames)} frames, got "
                       f"{', '.join(map(str, given))}.")
    return np.asarray(given, np.float64)
  missing = [frame.source for frame in frames if frame.exposure_time is None]
  if missing:
    others = f", nor do {len(missing) - 1} others" if len(missing) > 1 else ""
    raise ValueError(f"{missing[0]} does not say its exposure time{others}. Give all of them, in s: --exposure_times="
                     f"{','.join(['0.01'] * len(frames))}")
  return np.array([frame.exposure_time for frame in frames])


def _starts(starts_s, times) -> np.ndarray | None:
  """Relative to the first; as the camera's clock has them, if frames follow each other by it."""
  if starts_s is None:
    return None
  starts = np.asarray(starts_s, np.float64) - starts_s[0]
  if len(starts) != len(times) or np.any(np.diff(starts) < 0.99 * times[:-1]):
    raise ValueError(f"Exposures that start at {starts.tolist()} s overlap, or are not {len(times)}: frames of a burst "
                     "follow each other.")
  return starts


def _preview(preview, first, first_time, profile_of) -> RealPreview:
  _check_frames([first, preview])
  times = np.array([first_time, *_exposure_times([preview], None)])
  pair = [first, preview]
  scale = float(_scales(pair, times, measured_scales(pair))[1])
  profile = profile_of(preview)
  return RealPreview(frame=preview, exposure_time=float(times[1]), scale=scale,
                     noise=profile and profile.scaled(scale))


def _reference(frames, times, reference) -> int:
  if reference == "first":
    return 0
  if reference != "sharpest":
    raise ValueError(f"--reference={reference}: there are first and sharpest.")
  return int(np.argmax([sharpness(frame) for frame in frames]))


def _scales(frames, times, measured) -> np.ndarray:
  if all(frame.iso is not None for frame in frames):
    brightness = times * [frame.iso for frame in frames]
    scales = brightness[0] / brightness
  elif np.all(np.isfinite(measured)):
    scales = measured
  else:
    raise ValueError(f"{frames[0].source} and the others do not say their ISO, and are too dark or too bright to be "
                     "compared. Give files that say it, such as the camera's own RAW.")
  if not np.all((scales < _LARGEST_SCALE) & (scales > 1 / _LARGEST_SCALE)):
    worst = int(np.argmax(np.abs(np.log(scales))))
    raise ValueError(f"{frames[worst].source} is {1 / scales[worst]:.3g} times as bright as {frames[0].source}: these "
                     "are no frames of one burst.")
  return scales
