"""The interface that everything which restores bursts meets, so that one can stand in another's place."""

from typing import Any, Protocol

import jax


class Restorer(Protocol):
  """Maps a burst of packed RAW frames to one packed RAW image. A Flax module is one.

  Example: `variables = restorer.init(key, raw)`, `restored = restorer.apply(variables, raw)`.
  """

  def init(self, key: jax.Array, raw: jax.Array) -> Any:
    """Returns the variables for bursts of this shape, `{}` if there are none."""

  def apply(self, variables: Any, raw: jax.Array) -> jax.Array:
    """Returns restored `[..., h, w, 4]` for `raw [..., n, h, w, 4]`; frame 0 is the one that is restored."""
