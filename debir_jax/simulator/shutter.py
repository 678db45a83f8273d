"""Exposure times -> windows on the time axis -> exact box integrals of the radiance, with exact derivatives.

A sequence holds one radiance entry S_k per subframe: the scene is constant during [k, k+1) subframes. A window
[start, end) averages the sequence over its length (Eq. 7). With `subframe_support` f, an entry was itself exposed for f
subframes, so that an exposure of t subframes averages the entries over [start, start + t - f + 1).

Notation of this file, in subframes unless a name ends in `_s`:
  start, end   [n]  the part of the entry axis that a window averages
  F                 number of entries
  S(x)              S_k for x inside (k, k+1); the mean of S_{k-1} and S_k at x = k, as the sequence jumps there

With m the mean over [start, end) of length e = end - start, the derivatives are
  dm/d end   = (S(end) - m) / e
  dm/d start = (m - S(start)) / e
so moving a window by ds changes m by (S(end) - S(start)) / e ds. At a jump these are the means of both one-sided
derivatives, which is what central differences see.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.types import BurstTiming

_MAX_OVERHANG_SUBFRAMES = 1e-3  # Rounding of times in float32; anything longer is a mistake of the caller.
_ENTRIES_PER_PASS = 4  # CPU: entries added per pass over the accumulator, which then stays in registers.


def frame_mask(exposure_times: jax.Array) -> jax.Array:
  """Which frames `[..., n]` are taken: those with an exposure time. A time of 0 leaves a frame out, and its gap."""
  return jnp.asarray(exposure_times) != 0  # NaN is no frame left out: it must show in the result.


def capture_time(exposure_times: jax.Array, timing: BurstTiming) -> jax.Array:
  """How long a burst takes, s: from the start of its first to the end of its last frame, gaps included.

  Args:
    exposure_times: `[..., n]`, s; 0 where a frame is left out.
    timing: for the gap.

  Returns:
    `[...]`, s; differentiable.
  """
  num_gaps = jnp.sum(frame_mask(exposure_times), -1) - 1
  return jnp.sum(exposure_times, -1) + num_gaps * timing.frame_gap_s


def burst_windows(exposure_times: jax.Array, timing: BurstTiming) -> tuple[jax.Array, jax.Array]:
  """Start and end of every frame's exposure (Eq. 4): each frame starts `frame_gap_s` after the one before it.

  A frame that is left out (see `frame_mask`) takes no time and no gap. It has the window of frame 0, so that all that
  is computed of it is finite.

  Args:
    exposure_times: `[n]`, s.
    timing: where the burst starts and how long the gap is.

  Returns:
    `start_s [n]`, `end_s [n]` on the time axis of the sequence.
  """
  exposure_times = jnp.asarray(exposure_times)
  if exposure_times.shape != (timing.num_frames,):
    raise ValueError(f"exposure_times must have shape ({timing.num_frames},) for this timing, "
                     f"got {exposure_times.shape}.")
  taken = frame_mask(exposure_times)
  steps = jnp.where(taken, exposure_times + timing.frame_gap_s, 0)[:-1]
  start_s = timing.burst_start_s + jnp.concatenate([jnp.zeros_like(exposure_times[:1]), jnp.cumsum(steps)])
  end_s = start_s + exposure_times
  return jnp.where(taken, start_s, start_s[0]), jnp.where(taken, end_s, end_s[0])  # t^s, t^e


def starts_after_target(exposure_times: jax.Array, timing: BurstTiming) -> jax.Array:
  """Start of every frame's exposure, `[n]`, s after the instant that is restored: the middle of the entry at t^0."""
  return burst_windows(exposure_times, timing)[0] - _target_s(timing)


def preview_starts_after_target(timing: BurstTiming) -> jax.Array:
  """Start of both previews' exposures, `[2]`, s after the instant that is restored: negative."""
  return preview_windows(timing)[0] - _target_s(timing)


def _target_s(timing):
  return (timing.target_index + timing.subframe_support / 2) * timing.subframe_interval_s


def preview_windows(timing: BurstTiming) -> tuple[jax.Array, jax.Array]:
  """Start and end of both previews (Eq. 9, 10); index 0 is the earlier one, I'_p.

  Returns:
    `start_s [2]`, `end_s [2]`.
  """
  later_end_s = timing.burst_start_s - timing.frame_gap_s  # t_p^e
  later_start_s = later_end_s - timing.preview_exposure_s  # t_p^s
  earlier_end_s = later_start_s - timing.preview_gap_s  # t'_p^e
  earlier_start_s = max(earlier_end_s - timing.preview_exposure_s, 0.0)  # t'_p^s; never -1e-18
  return jnp.array([earlier_start_s, later_start_s]), jnp.array([earlier_end_s, later_end_s])


def window_weights(start_s: jax.Array, end_s: jax.Array, num_subframes: int, timing: BurstTiming) -> jax.Array:
  """Weight of every entry in every window (alpha_s, 1, ..., 1, alpha_e of Eq. 7, normalised).

  The readable reference; `integrate_windows` computes the same means without this matrix.

  Args:
    start_s, end_s: `[n]`, s.
    num_subframes: entries of the sequence, F.
    timing: interval and support of an entry.

  Returns:
    `[n, F]`; each row sums to 1.

  Raises:
    ValueError: a window leaves the sequence or is shorter than one entry's own exposure.
  """
  start, end = _entry_positions(start_s, end_s, timing)
  _check_windows(start, end, num_subframes, timing)
  return _weights(start, end, num_subframes)


def integrate(radiance: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted means of the entries: `[F, h, w, c]`, `[n, F]` -> `[n, h, w, c]` (Eq. 7)."""
  if weights.ndim != 2 or weights.shape[1] != radiance.shape[0]:
    raise ValueError(f"weights must have shape [n, {radiance.shape[0]}] for radiance {radiance.shape}, "
                     f"got {weights.shape}.")
  # HIGHEST: on accelerators the default rounds factors to 8 or 11 bits.
  return jnp.einsum("nf,fhwc->nhwc", weights, radiance, precision=jax.lax.Precision.HIGHEST)


def integrate_windows(radiance: jax.Array, start_s: jax.Array, end_s: jax.Array, timing: BurstTiming) -> jax.Array:
  """Mean radiance during every window (Eq. 7): `integrate(radiance, window_weights(...))`, computed fast.

  On a CPU only the entries inside the windows are read, once each. The derivatives with respect to the times are the
  closed forms at the top of this file, in forward and in reverse mode; the radiance may be differentiated too.

  Args:
    radiance: `[F, h, w, c]`, white = 1.
    start_s, end_s: `[n]`, s.
    timing: interval and support of an entry.

  Returns:
    `[n, h, w, c]`.

  Raises:
    ValueError: radiance of the wrong rank or type; a window leaves the sequence by more than 1e-3 subframes, or is
      shorter than one entry's own exposure (checked where the times are concrete, that is outside `jit`).
  """
  if radiance.ndim != 4:
    raise ValueError(f"radiance must be [num_subframes, h, w, c], got shape {radiance.shape}.")
  if not jnp.issubdtype(radiance.dtype, jnp.floating):
    raise ValueError(f"radiance must be floating point relative to white = 1, got {radiance.dtype}. Subtract the black "
                     "level and divide by white - black first.")
  start, end = _entry_positions(start_s, end_s, timing)
  _check_windows(start, end, radiance.shape[0], timing)
  return _box_means(radiance, start, end)


def _entry_positions(start_s, end_s, timing):
  """Windows in s -> the part of the entry axis that they average."""
  start = jnp.asarray(start_s) / timing.subframe_interval_s
  end = (jnp.asarray(end_s) - timing.exposure_offset_s) / timing.subframe_interval_s
  return start, end


def _check_windows(start, end, num_subframes, timing):
  """Raises where a window is impossible; silent under tracing, where the values are not known."""
  if isinstance(start, jax.core.Tracer) or isinstance(end, jax.core.Tracer):
    return
  start, end = np.asarray(start), np.asarray(end)
  if not (np.all(np.isfinite(start)) and np.all(np.isfinite(end))):
    raise ValueError(f"Windows must be finite, got start {start} and end {end} subframes.")
  if np.any(end <= start):
    raise ValueError(f"Every window must be longer than (subframe_support - 1) = {timing.subframe_support - 1} "
                     f"subframes, got {end - start + timing.subframe_support - 1}.")
  if np.any(start < -_MAX_OVERHANG_SUBFRAMES) or np.any(end > num_subframes + _MAX_OVERHANG_SUBFRAMES):
    raise ValueError(
        f"Windows {[(float(s), float(e)) for s, e in zip(start, end)]} (subframes) leave the sequence of "
        f"{num_subframes} subframes. Render a longer sequence (timing.num_subframes(total exposure)) or expose less.")


def _weights(start, end, num_subframes):
  entries = jnp.arange(num_subframes, dtype=start.dtype)
  # minimum(maximum()) has derivative 1/2 at its kinks, so that autodiff also gives the mean of both sides at a jump.
  passed = lambda position: jnp.minimum(jnp.maximum(position[:, None] - entries, 0), 1)
  overlap = passed(end) - passed(start)
  return overlap / overlap.sum(axis=1, keepdims=True)


@jax.custom_jvp
def _box_means(radiance, start, end):
  """Means over windows in subframes: one pass over the entries inside them, or one matrix product on accelerators."""
  return jax.lax.platform_dependent(radiance, start, end, cpu=_box_means_by_loop, default=_box_means_by_product)


@functools.partial(_box_means.defjvp, symbolic_zeros=True)
def _box_means_jvp(primals, tangents):
  radiance, start, end = primals
  d_radiance, d_start, d_end = tangents
  means = _box_means(radiance, start, end)
  column = lambda x: x[:, None, None, None].astype(means.dtype)
  length = column(end - start)
  d_means = jnp.zeros_like(means)
  if not isinstance(d_end, jax.custom_derivatives.SymbolicZero):
    d_means += (_radiance_at(radiance, end) - means) / length * column(d_end)
  if not isinstance(d_start, jax.custom_derivatives.SymbolicZero):
    d_means += (means - _radiance_at(radiance, start)) / length * column(d_start)
  if not isinstance(d_radiance, jax.custom_derivatives.SymbolicZero):
    # Linear in the radiance and, unlike the loop, transposable.
    d_means += integrate(d_radiance, _weights(start, end, radiance.shape[0]).astype(means.dtype))
  return means, d_means


def _radiance_at(radiance, position):
  """S(x) for `[n]` positions; the mean of both sides where x is a boundary up to rounding."""
  num_subframes = radiance.shape[0]
  tolerance = 4 * num_subframes * jnp.finfo(position.dtype).eps
  boundary = jnp.round(position)
  snapped = jnp.where(jnp.abs(position - boundary) < tolerance, boundary, position)
  before = jnp.clip(jnp.ceil(snapped).astype(jnp.int32) - 1, 0, num_subframes - 1)
  after = jnp.clip(jnp.floor(snapped).astype(jnp.int32), 0, num_subframes - 1)
  return (radiance[before] + radiance[after]) / 2


def _box_means_by_product(radiance, start, end):
  weights = _weights(start, end, radiance.shape[0]).astype(radiance.dtype)
  flat = radiance.reshape(radiance.shape[0], -1)
  means = jnp.dot(weights, flat, precision=jax.lax.Precision.HIGHEST)
  return means.reshape(start.shape + radiance.shape[1:])


def _box_means_by_loop(radiance, start, end):
  return _box_means_of_batch(radiance[None], start[None], end[None])[0]


@jax.custom_batching.custom_vmap
def _box_means_of_batch(radiance, start, end):
  """`[B, F, h, w, c]`, `[B, n]`, `[B, n]` -> `[B, n, h, w, c]`, one window after the other."""
  bursts = jnp.repeat(jnp.arange(start.shape[0], dtype=jnp.int32), start.shape[1])
  means = jax.lax.map(lambda window: _box_mean(radiance, *window), (bursts, start.ravel(), end.ravel()))
  return means.reshape(start.shape + radiance.shape[2:])


@_box_means_of_batch.def_vmap
def _box_means_of_more_bursts(axis_size, in_batched, radiance, start, end):
  """A `vmap` means more bursts, or more windows where the scene is shared: never a gather, never a copy of a scene."""
  start, end = (x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
                for x, batched in zip((start, end), in_batched[1:]))
  _, num_bursts, num_windows = start.shape
  if in_batched[0]:
    merge = lambda x: x.reshape(-1, *x.shape[2:])
    means = _box_means_of_batch(merge(radiance), merge(start), merge(end))
    return means.reshape(axis_size, num_bursts, num_windows, *means.shape[2:]), True
  merge = lambda x: jnp.moveaxis(x, 0, 1).reshape(num_bursts, -1)
  means = _box_means_of_batch(radiance, merge(start), merge(end))
  return jnp.moveaxis(means.reshape(num_bursts, axis_size, num_windows, *means.shape[2:]), 1, 0), True


def _box_mean(radiance, burst, start, end):
  """Mean over one window of one burst `[h, w, c]`, reading only the entries that it touches."""
  num_subframes = radiance.shape[1]
  start = jnp.clip(start, 0, num_subframes)
  end = jnp.clip(end, 0, num_subframes)
  first = jnp.floor(start).astype(jnp.int32)
  num_passes = (jnp.ceil(end).astype(jnp.int32) - first + _ENTRIES_PER_PASS - 1) // _ENTRIES_PER_PASS
  entry_shape = radiance.shape[2:]
  origin = (jnp.int32(0),) * len(entry_shape)

  def add_entries(index, total):
    for offset in range(_ENTRIES_PER_PASS):
      entry = first + index * _ENTRIES_PER_PASS + offset
      position = entry.astype(start.dtype)
      overlap = jnp.clip(end - position, 0, 1) - jnp.clip(start - position, 0, 1)  # 0 behind the window's end
      where = (burst, jnp.minimum(entry, num_subframes - 1), *origin)
      values = jax.lax.dynamic_slice(radiance, where, (1, 1, *entry_shape)).reshape(entry_shape)
      total += overlap.astype(radiance.dtype) * values
    return total

  total = jax.lax.fori_loop(0, num_passes, add_entries, jnp.zeros(entry_shape, radiance.dtype))
  return total / (end - start).astype(radiance.dtype)
