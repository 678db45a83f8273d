"""The interface that everything which restores bursts meets, so that one can stand in another's place."""

from typing import Any, Protocol

import jax


class Restorer(Protocol):
  """Maps a burst of packed RAW frames, with or without further planes, to one packed RAW image. A Flax module is one.

  Example: `variables = restorer.init(key, frames)`, `restored = restorer.apply(variables, frames)`.
  """

  def init(self, key: jax.Array, frames: jax.Array) -> Any:
    """Returns the variables for bursts of this shape, `{}` if there are none."""

  def apply(self, variables: Any, frames: jax.Array) -> jax.Array:
    """Returns restored `[..., h, w, 4]` for `frames [..., n, h, w, c]`, c = 4 or as `BurstPlanes` makes it; frame 0 is
    the one that is restored."""
