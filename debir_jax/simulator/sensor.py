"""What the sensor does to a noisy signal: it saturates, and it counts in whole steps."""

import jax
import jax.numpy as jnp

MAX_BITS = 16


def clip(signal: jax.Array) -> jax.Array:
  """Dynamic range [0, 1]; derivative 0 outside, as a saturated pixel tells nothing."""
  return jnp.clip(signal, 0.0, 1.0)


def quantize(signal: jax.Array, bits: int) -> jax.Array:
  """Rounds to `2**bits` equally spaced levels in [0, 1], with the derivative of the identity (straight through).

  Args:
    signal: in [0, 1].
    bits: of the analogue-to-digital converter; 10, 12 or 14 in common cameras.

  Returns:
    Same shape; at most half a step away.
  """
  if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
    raise ValueError(f"bits must be an integer from 1 to {MAX_BITS} (10, 12 or 14 in common cameras), got {bits!r}.")
  steps = 2**bits - 1
  rounded = jnp.round(signal * steps) / steps
  return signal + jax.lax.stop_gradient(rounded - signal)
