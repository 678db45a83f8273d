"""What the sensor does to a noisy signal: it saturates, and it counts in whole steps."""

import jax
import jax.numpy as jnp

MAX_BITS = 16


def clip(signal: jax.Array, black_level: float = 0.0) -> jax.Array:
  """Dynamic range [-black_level, 1]; derivative 0 outside, as a saturated pixel tells nothing.

  Args:
    signal: relative to white = 1, with the black level subtracted.
    black_level: what the sensor counts without light, relative to white less black. With it noise around 0 keeps its
      mean; at 0, as in the paper, dark noisy frames become brighter.
  """
  return jnp.clip(signal, -black_level if black_level else 0.0, 1.0)


def quantize(signal: jax.Array, bits: int, black_level: float = 0.0) -> jax.Array:
  """Rounds to `2**bits` equally spaced levels in the dynamic range, with the derivative of the identity.

  Args:
    signal: in [-black_level, 1].
    bits: of the analogue-to-digital converter; 10, 12 or 14 in common cameras.
    black_level: see `clip`.

  Returns:
    Same shape; at most half a step away.
  """
  if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
    raise ValueError(f"bits must be an integer from 1 to {MAX_BITS} (10, 12 or 14 in common cameras), got {bits!r}.")
  steps = 2**bits - 1
  if black_level:
    return (1 + black_level) * quantize((signal + black_level) / (1 + black_level), bits) - black_level
  rounded = jnp.round(signal * steps) / steps
  return signal + jax.lax.stop_gradient(rounded - signal)
