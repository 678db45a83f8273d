"""The losses of the paper: means of absolute differences, never clamped."""

import jax
import jax.numpy as jnp


def restoration_loss(restored: jax.Array, target: jax.Array, *, clamp: bool = False) -> jax.Array:
  """Mean |restored - target| (Eq. 11 and 13).

  Args:
    restored, target: `[..., h, w, 4]`, white = 1.
    clamp: clamp the restored image to [0, 1] first, as the authors' release does; a pixel outside then has no gradient.
  """
  if restored.shape != target.shape:
    raise ValueError(f"restored {restored.shape} and target {target.shape} must have the same shape.")
  if clamp:
    restored = jnp.clip(restored, 0, 1)
  return jnp.mean(jnp.abs(restored - target))


def warmup_loss(exposure_times: jax.Array, pseudo_ground_truth: jax.Array) -> jax.Array:
  """Mean |t - t_pseudo-gt| (Eq. 12) in seconds.

  The unit matters: the main step goes on with the same Adam state. In seconds both losses have gradients of the same
  order; in units of 1/1920 s the second moments of the warm-up would hold back the main step for thousands of steps.

  Args:
    exposure_times, pseudo_ground_truth: `[..., n]`, s.
  """
  if exposure_times.shape != pseudo_ground_truth.shape:
    raise ValueError(f"exposure_times {exposure_times.shape} and pseudo_ground_truth {pseudo_ground_truth.shape} must "
                     "have the same shape.")
  return jnp.mean(jnp.abs(exposure_times - pseudo_ground_truth))
