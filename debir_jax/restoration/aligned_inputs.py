"""What a restorer sees of a burst whose frames have been moved to the instant that is restored.

Every frame is read along the motion between that instant and the middle of its exposure: the exact motion where the
burst brings it (`Burst.motion`, of scenes that know it), else the one that `found_motion` sees in the frames, and in
the preview before them.
The motion is a function of time: a longer exposure moves its frame's window and all later ones, and the flow follows,
so that gradients to the exposure times see blur and noise, and no misalignment that a longer exposure would not cause.
"""

import functools

import jax
import jax.numpy as jnp

from debir_jax.imaging.resample import warp
from debir_jax.motion.residual_flow import LocalMotion, find_local_motion
from debir_jax.types import Burst

NUM_ALIGNED_CHANNELS = 9
BLUR_UNIT_PX = 10.0  # Of the planes of the blur, so that they are about as large as the others.
_TINY_PX = 1e-3  # Keeps the gradient of a length finite where nothing moves.
LITTLE = 1e-4  # Weight of what lies outside of every frame.


def aligned_planes(burst: Burst) -> jax.Array:
  """Frames `[n, h, w, 9]` of one burst, each where the scene was at the instant that is restored.

  Planes: 4 of RAW; the standard deviation of its noise; 1 where it lies inside the frame and was taken, else 0; the
  blur of its exposure as its length and twice its direction, length * (1, cos 2a, sin 2a), in units of 10 packed px.

  The noise is the model's at the brightness of all frames together: at that of the frame itself, dark noise would count
  as certain.

  Raises:
    ValueError: the burst does not say when its frames were taken, or how noisy they are.
  """
  _check_told(burst)
  taken, motion = burst.frame_mask, found_motion(burst) if burst.motion is None else burst.motion
  middle_s, end_s = burst.start_s + burst.exposure_times / 2, burst.start_s + burst.exposure_times

  # Bilinear reading would blur, by how much depends on the exposure times: gradients would see that.
  raw, inside = jax.vmap(functools.partial(warp, cubic=True))(burst.raw, motion.at(middle_s).astype(burst.raw.dtype))
  valid = (inside * taken[:, None, None])[..., None]
  weights = frame_precision(burst)[:, None, None, None] * (valid + LITTLE)
  signal = jnp.sum(weights * raw, 0) / jnp.sum(weights, 0)
  std = jnp.sqrt(jnp.mean(_variance_at(burst, signal), -1, keepdims=True))
  blur = (motion.at(end_s) - motion.at(burst.start_s)) / BLUR_UNIT_PX
  return jnp.concatenate([raw, std, valid, _blur_planes(blur)], -1).astype(burst.raw.dtype)


def found_motion(burst: Burst) -> LocalMotion:
  """The motion of a burst from the instant that is restored, as its frames show it, each as much as it is certain.

  The preview is one frame more to this search, and a short one: long frames alone hide how things move in their blur.

  Raises:
    ValueError: as for `aligned_planes`.
  """
  return find_local_motion(*searched_frames(burst))


def searched_frames(burst: Burst) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """What `find_local_motion` takes of a burst: all frames, the preview first where there is one, and their precision.

  Raises:
    ValueError: as for `aligned_planes`.
  """
  _check_told(burst)
  raw, start_s, exposure_s, precision = burst.raw, burst.start_s, burst.exposure_times, frame_precision(burst)
  if (preview := burst.preview) is not None:
    before = lambda of_preview, of_frames: jnp.concatenate([jnp.asarray(of_preview, of_frames.dtype)[None], of_frames])
    raw, start_s = before(preview.raw, raw), before(preview.start_s, start_s)
    exposure_s, precision = before(preview.exposure_time, exposure_s), before(_preview_precision(burst), precision)
  return raw, start_s + exposure_s / 2, exposure_s, precision


def frame_precision(burst: Burst) -> jax.Array:
  """What the frames weigh, `[n]`: one over the variance of their noise at the mean brightness; 0 of none."""
  return burst.frame_mask / _variance_at(burst, jnp.mean(burst.raw)).reshape(-1)


def _preview_precision(burst):
  """As `frame_precision`; by the first frame's camera, where every frame has one of its own."""
  noise_model = burst.preview.noise_model or burst.noise_model
  return 1 / jnp.ravel(noise_model.variance(jnp.maximum(jnp.mean(burst.raw), 0), burst.preview.gain))[0]


def _variance_at(burst, signal):
  """Of the noise of every frame at a signal, `[n, h, w, 4]` or with axes of 1."""
  gains = jnp.where(burst.frame_mask, burst.gains, burst.gains[0])
  return burst.noise_model.variance(jnp.maximum(signal, 0), gains[:, None, None, None])


def _check_told(burst):
  if burst.start_s is None or burst.noise_model is None:
    missing = "start_s" if burst.start_s is None else "noise_model"
    raise ValueError("This restorer aligns frames by when they were taken and how noisy they are, but the burst has "
                     f"no {missing}.")


def _blur_planes(blur):
  x, y = blur[..., 0], blur[..., 1]
  length = jnp.sqrt(x**2 + y**2 + (_TINY_PX / BLUR_UNIT_PX)**2)
  return jnp.stack([length, (x**2 - y**2) / length, 2 * x * y / length], -1)
