"""The interface that everything which restores bursts meets, so that one can stand in another's place."""

from typing import Any, Protocol

import jax


class Restorer(Protocol):
  """Maps a burst of packed RAW frames, with or without further planes, to one packed RAW image.

  A Flax module is one. It must be hashable, as a compiled program belongs to it. Its trainable weights are the
  collection "params"; where `init` gives others too, such as the "batch_stats" of BatchNorm, training calls it with
  `train=True` and keeps what becomes of them (`apply_in_training`), and everybody else without.

  Example: `variables = restorer.init(key, frames)`, `restored = restorer.apply(variables, frames)`.
  """

  def init(self, key: jax.Array, frames: jax.Array) -> Any:
    """Returns the variables for bursts of this shape, `{"params": {}}` if there are none."""

  def apply(self, variables: Any, frames: jax.Array) -> jax.Array:
    """Returns restored `[..., h, w, 4]` for `frames [..., n, h, w, c]`, c = 4 or as `RestorerInputs` makes it; frame 0
    is the one that is restored."""


def apply_in_training(restorer: Restorer, params: Any, stats: dict[str, Any],
                      frames: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
  """The restored images of a batch, and what became of the collections beside "params".

  Args:
    restorer: of the weights.
    params: the collection "params".
    stats: all other collections by name; {} for most networks, which are then called as in use.
    frames: `[B, n, h, w, c]`.
  """
  if not stats:
    return restorer.apply({"params": params}, frames), {}
  return restorer.apply({"params": params, **stats}, frames, train=True, mutable=list(stats))
