"""Highlights beyond white: what a frame of sRGB cut off is given back at random, before bursts are taken of it.

A light that moves leaves a bright streak, as it is many times brighter than the white at which its photo was cut. As
the authors' release does for its stage 1: where a subframe is white, alpha ~ U(0.25, 1.75) is added, the same for a
whole scene; bursts integrate this and cut it at white afterwards. RAW packed, white = 1. The image that is restored is
cut at white, and so stays what it was.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.types import Scene

_LOWEST, _HIGHEST = 0.25, 1.75
_WHITE = 0.999  # Rounding of color matrices stays above.


def with_saturation(key: jax.Array, scene: Scene) -> Scene:
  """A scene whose white is brighter than white.

  Args:
    key: of its alpha.
    scene: one scene.
  """
  strength = jax.random.uniform(key, minval=_LOWEST, maxval=_HIGHEST)
  beyond = jnp.where(scene.radiance >= _WHITE, 1 - scene.radiance + strength, 0)
  return dataclasses.replace(scene, radiance=scene.radiance + beyond)
