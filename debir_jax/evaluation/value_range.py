"""Images that a metric has a meaning for: real numbers, relative to white = 1."""

import jax
import jax.numpy as jnp
import numpy as np

# Restored images leave [0, 1] a little, those of a network that has learnt nothing by several times (3.5 was seen), and
# metrics clamp them. What a photo of 8 bits shows is brighter than 8 of its 255 levels.
_LARGEST = 8.0


def check_unit_range(**images: jax.Array) -> None:
  """Raises a ValueError for images that are not in [0, 1] up to what restoration adds; inside `jit` nothing is checked.

  Such are images of integers, of truth values and of complex numbers, and those of 0 to 255, 1023 or 65535. What is not
  finite is left to the metric.

  Args:
    images: by the names of the caller's arguments.
  """
  for name, image in images.items():
    if not isinstance(image, jax.core.Tracer):
      _check(name, np.asarray(image))


def _check(name: str, image: np.ndarray) -> None:
  wanted = f"{name} must hold real numbers relative to white = 1"
  if image.dtype == bool:
    raise ValueError(f"{wanted}, got bool (False or True). Convert it to float32 if its True is white.")
  if jnp.issubdtype(image.dtype, jnp.complexfloating):
    raise ValueError(f"{wanted}, got {image.dtype}. Take what is meant of it: its real part, or its magnitude.")
  if jnp.issubdtype(image.dtype, jnp.integer):
    found = f"from {np.min(image)} to {np.max(image)}" if image.size else "without any"
    raise ValueError(f"{wanted}, got {image.dtype} {found}. Divide it by 255, or by whatever its white is.")
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"{wanted}, got {image.dtype}.")
  is_finite = np.isfinite(image)
  lowest = float(np.min(image, initial=np.inf, where=is_finite))
  highest = float(np.max(image, initial=-np.inf, where=is_finite))
  if lowest < -_LARGEST or highest > _LARGEST:
    raise ValueError(f"{wanted}, got values from {lowest:g} to {highest:g}. Divide it by 255, or by whatever its white "
                     "is.")
