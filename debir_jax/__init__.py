"""Dynamic Exposure Burst Image Restoration (DEBIR, CVPR 2026) in JAX and Flax.

  import debir_jax
  model = debir_jax.load()
  times = model.exposure_times(previews, preview_gain=700.0)    # packed RAW [2, h, w, 4] -> [n], s
  image = model.restore(raw, times, previews=previews)          # [n, h, w, 4] -> [h, w, 4]

Importing this loads nothing; the networks come with their first use.
"""

import importlib

_WHERE = {"Debir": "debir_jax.weights.model", "load": "debir_jax.weights.model",
          "list_weights": "debir_jax.weights.shipped"}

__all__ = ["Debir", "list_weights", "load"]


def __getattr__(name: str):
  """Imports the front door when it is asked for."""
  if name not in _WHERE:
    raise AttributeError(f"module 'debir_jax' has no attribute {name!r}")
  return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])
