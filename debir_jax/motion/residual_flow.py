"""The global motion of a burst and, on top of it, what moves differently: a local residual with its confidence.

`find_motion` gives every window one motion. Layers near the camera and objects that move on their own are what it
leaves out, and sometimes it errs. Here small networks look at the ratios of `local_ratios` around each place, for
residual velocities in many directions at first, then around what was chosen, and say what the residual is and how much
it may err. They were trained on scenes whose motion is known (`experiments/residual_motion`).
"""

import dataclasses
import functools
import pathlib
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from debir_jax.motion.burst_flow import ACCELERATION_SCALE, UNIT_S, WindowedMotion, detail_of, find_motion
from debir_jax.motion.local_ratios import STRIDE, local_ratios
from debir_jax.motion.residual_network import FAR, NEAR, Chooser

_FAR_BLUR_PX, _NEAR_BLUR_PX = 2.2, 1.3  # Of the frames whose ratios are taken.
_FAR_WINDOWS, _NEAR_WINDOWS = (1.5, 3.0), (1.0, 2.5)  # In steps of `STRIDE` px.
_CLOSE_LOOKS = 2
_LEAST_SCALE = 0.03  # Of errors, packed px per 10 ms: nothing is claimed to be known better.
_DOUBT = 0.25  # Residuals of less than so many expected errors are none.

_WEIGHTS = pathlib.Path(__file__).with_name("residual.safetensors")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalMotion:
  """A global motion plus a residual of its own at each px.

  Attributes:
    base: the global motion.
    residual: `[h, w, 4]`, velocity (x, y), packed px per 10 ms, and acceleration, see `burst_flow`.
    error: `[h, w]`, how much the velocity is expected to err, packed px per 10 ms.
  """

  base: WindowedMotion
  residual: jax.Array
  error: jax.Array

  def at(self, times_s: jax.Array) -> jax.Array:
    """Flow `[m, h, w, 2]` (x, y) until times `[m]`, s after the instant that is restored; differentiable in them."""
    return self.base.at(times_s) + residual_flow(self.residual, jnp.asarray(times_s) / UNIT_S)


def residual_flow(residual: jax.Array, elapsed: jax.Array) -> jax.Array:
  """Flow `[m, ..., 2]` of a residual `[..., 4]` until `elapsed` `[m]`, 10 ms."""
  elapsed = elapsed.reshape(-1, *(1,) * residual.ndim)
  return elapsed * residual[..., :2] + elapsed**2 / ACCELERATION_SCALE * residual[..., 2:]


def find_local_motion(raw: jax.Array, times_s: jax.Array, exposure_s: jax.Array, weights: jax.Array) -> LocalMotion:
  """The motion of a burst from the instant that is restored. No gradient flows through the search.

  Args:
    raw: `[n, h, w, 4]`, packed frames of one brightness.
    times_s: `[n]`, middle of each frame's exposure, s after the instant that is restored.
    exposure_s: `[n]`, how long each was exposed.
    weights: `[n]`, how much a frame counts: the inverse of its noise's variance up to a factor; 0 leaves it out.

  Raises:
    ValueError: for shapes that do not fit.
  """
  if exposure_s.shape != times_s.shape:
    raise ValueError(f"Expected an exposure time for each frame, got {exposure_s.shape} and times {times_s.shape}.")
  raw, times_s, exposure_s, weights = jax.lax.stop_gradient((raw, times_s, exposure_s, weights))
  base = find_motion(raw, times_s, weights)
  residual, error = find_residual(load_networks(), raw.mean(-1), times_s, exposure_s, weights, base)[-1]
  return LocalMotion(base=base, residual=certain_part(residual, error), error=error)


def certain_part(residual: jax.Array, error: jax.Array) -> jax.Array:
  """What is left of a residual `[h, w, 4]` given its error: nothing of one that may be none, of a large one nearly all.

  So what stands still is not moved by noise.
  """
  size = jnp.linalg.norm(residual[..., :2], axis=-1) + 1e-9
  return residual * jnp.maximum(0, 1 - (_DOUBT * error / size)**2)[..., None]


def find_residual(variables: Any, gray: jax.Array, times_s: jax.Array, exposure_s: jax.Array, weights: jax.Array,
                  base: WindowedMotion) -> list[tuple[jax.Array, jax.Array]]:
  """Residuals `[h, w, 4]` and their expected errors `[h, w]` after each look, the last ones best.

  Args:
    variables: of the networks, see `init_networks`.
    gray: `[n, h, w]`, frames of one brightness.
    times_s, exposure_s, weights: see `find_local_motion`.
    base: the motion that residuals are added to.
  """
  elapsed, weights = times_s / UNIT_S, weights / jnp.sum(weights)
  size = gray.shape[1:]
  flow = base.at(times_s)[:, ::STRIDE, ::STRIDE]
  mean_time = jnp.sum(weights * elapsed)
  velocity = jnp.einsum("n,nhwc->hwc", weights, flow) / mean_time
  axes, speed = _along(velocity)
  blurred = {sigma: detail_of(gray, sigma) for sigma in (_FAR_BLUR_PX, _NEAR_BLUR_PX)}
  last = jnp.max(jnp.where(weights > 0, elapsed, 0))
  blur = speed * jnp.sum(weights * exposure_s) / UNIT_S
  constant = lambda value: jnp.full(speed.shape, value)
  planes = jnp.stack([speed, blur, constant(mean_time / 3), constant(last / 6)], -1)
  look = functools.partial(_look, weights=weights, elapsed=elapsed, axes=axes)

  coarse = lambda x: x[::2, ::2]
  ratios, further = look(blurred[_FAR_BLUR_PX], flow, FAR, _FAR_WINDOWS, 2)
  residual, log_error, features = Chooser("far").apply(
      variables["far"], ratios, jnp.concatenate([coarse(planes), further], -1))
  finer = lambda x: _resized(x, flow.shape[1:3], 2)
  residual, log_error, features = finer(residual), finer(log_error), finer(features)
  found = [(residual, log_error)]
  for _ in range(_CLOSE_LOOKS):
    known = jax.lax.stop_gradient(residual)
    moved = flow + jnp.einsum("nhwa,hwac->nhwc", residual_flow(known, elapsed), axes)
    ratios, further = look(blurred[_NEAR_BLUR_PX], moved, NEAR, _NEAR_WINDOWS, 1)
    step, log_error, features = Chooser("near").apply(
        variables["near"], ratios, jnp.concatenate([planes, further, known, log_error, features], -1))
    residual = known + step
    found.append((residual, log_error))

  def finish(residual, log_error):
    turned = jnp.einsum("hwba,hwac->hwbc", residual.reshape(*residual.shape[:-1], 2, 2), axes)
    full = lambda x: _resized(x, size, STRIDE)
    return full(turned.reshape(residual.shape)), 2 * (_LEAST_SCALE + jnp.exp(full(log_error)[..., 0]))

  return [finish(*each) for each in found]


def init_networks(key: jax.Array) -> dict[str, Any]:
  """Fresh variables of both networks."""
  far_key, near_key = jax.random.split(key)
  shapes = lambda candidates, windows, planes: (jnp.zeros((4, 4, len(candidates), windows)), jnp.zeros((4, 4, planes)))
  return dict(far=Chooser("far").init(far_key, *shapes(FAR, 2, 6)),
              near=Chooser("near").init(near_key, *shapes(NEAR, 2, 6 + 5 + 32)))


@functools.cache
def load_networks(path: pathlib.Path = _WEIGHTS) -> dict[str, Any]:
  """The variables that come with the package, as numpy arrays."""
  flat = safetensors.numpy.load_file(path)
  return traverse_util.unflatten_dict({name: array.astype(np.float32) for name, array in flat.items()}, sep="/")


def save_networks(path: pathlib.Path, variables: dict[str, Any]) -> None:
  """Writes variables in half precision."""
  flat = traverse_util.flatten_dict(jax.device_get(variables), sep="/")
  safetensors.numpy.save_file({name: np.ascontiguousarray(array, np.float16) for name, array in flat.items()}, path)


def _look(frames, flow, candidates, windows, stride, *, weights, elapsed, axes):
  """Ratios, and the logarithm of the energy in each window relative to the mean."""
  ratios, energy = local_ratios(frames, weights, elapsed, flow, jnp.asarray(candidates), axes, windows, stride)
  return ratios, 0.3 * jnp.log(energy / (jnp.mean(energy, (0, 1)) + 1e-12) + 1e-3)


def _along(velocity):
  """Axes `[..., 2, 2]` along a velocity and a quarter turn from it, those of the image where it is 0; the speed."""
  x, y = velocity[..., 0], velocity[..., 1]
  speed = jnp.sqrt(x**2 + y**2 + 1e-12)
  still = speed < 1e-3
  cosine, sine = jnp.where(still, 1.0, x / speed), jnp.where(still, 0.0, y / speed)
  return jnp.stack([jnp.stack([cosine, sine], -1), jnp.stack([-sine, cosine], -1)], -2), jnp.where(still, 0.0, speed)


def _resized(values, size, factor):
  """`[h, w, c]` at `size`, linearly, where sample i lies at factor * i."""
  rows, columns = (jnp.asarray(_linear_matrix(new, old, factor)) for new, old in zip(size, values.shape))
  return jnp.einsum("ij,kl,jlc->ikc", rows, columns, values)


@functools.lru_cache(maxsize=None)
def _linear_matrix(new, old, factor):
  places = np.clip(np.arange(new) / factor, 0, old - 1)
  return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))).astype(np.float32)
