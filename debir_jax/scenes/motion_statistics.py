"""How scenes move: a mixture of what stands still, hands that hold still, and pans, with layers that move differently.

Speeds are in mosaic px/s, whatever the crop: a network sees so many pixels of motion per second, and it is them that
blur. No public set of bursts states them, so they are set to what was measured or published:

- Static scenes: 364 of the 4,092 and 91 of the 1,127 training scenes of the authors' release are of RealBlur and do not
  move; none of its 532 test scenes.
- Pans and walking cameras: clips of the paper's kind move 300 to 450 px/s at the pixels that a network sees (REDS 027,
  reduced by 4: 430), see `experiments/scene_motion.py`.
- Slow hands: cameras that are held as still as hands can (O. Liba et al., "Handheld Mobile Photography in Very Low
  Light", SIGGRAPH Asia 2019, meter this motion to choose exposure times); tens of px/s, our choice.
- Acceleration: paths are sums of sinusoids of 0.5 to 6 Hz, see `camera_path`; a burst of 0.1 s sees half a period.
- Parallax: what is nearer than the rest moves in the camera's direction, but faster, in proportion to its inverse
  distance (pinhole projection of a camera that shifts).
- Objects move on their own, as people and cars do in every one of the clips.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

_SLOW_SPEED = 0.2  # Of a hand that holds still, relative to the median of the others.
_LOG_SPEED_STD = 0.45
_LARGEST_SPEED = 3.5  # Relative to the median; three in a thousand are cut.
_PARALLAX_RANGE = (0.25, 1.0)  # How much faster a near layer moves.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionStatistics:
  """Shares and speeds of a set of scenes.

  Attributes:
    static_fraction: of the scenes; nothing in them moves.
    slow_fraction: of those that move; by a fifth of the speed of the others.
    median_speed_px_s: of the others, mean over a sequence at the middle of the image, mosaic px/s.
    parallax_fraction: of the scenes; with a layer near the camera.
    object_fraction: of the scenes; with an object that moves on its own.
  """

  static_fraction: float = 0.09
  slow_fraction: float = 0.15
  median_speed_px_s: float = 300.0
  parallax_fraction: float = 0.3
  object_fraction: float = 0.3

  def __post_init__(self):
    for field in ("static_fraction", "slow_fraction", "parallax_fraction", "object_fraction"):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f"{field}={getattr(self, field)} must be a share from 0 to 1.")
    if not 0 < self.median_speed_px_s < math.inf:
      raise ValueError(f"median_speed_px_s={self.median_speed_px_s} must be positive; for scenes without motion set "
                       "static_fraction to 1.")

  def draw_speed(self, key: jax.Array) -> jax.Array:
    """Speed of a scene in mosaic px/s: 0 for a static one, else log-normal, cut at 3.5 times the median."""
    static_key, slow_key, speed_key = jax.random.split(key, 3)
    is_static = jax.random.uniform(static_key) < self.static_fraction
    is_slow = jax.random.uniform(slow_key) < self.slow_fraction
    return jnp.where(is_static, 0.0, jnp.where(is_slow, _SLOW_SPEED, 1.0) * self.draw_own_speed(speed_key))

  def draw_own_speed(self, key: jax.Array) -> jax.Array:
    """Speed of something that moves on its own, mosaic px/s."""
    relative = jnp.exp(_LOG_SPEED_STD * jax.random.normal(key))
    return self.median_speed_px_s * jnp.minimum(relative, _LARGEST_SPEED)


def draw_parallax(key: jax.Array) -> jax.Array:
  """How many times as fast as the background a near layer moves, above 1."""
  nearest, farthest = _PARALLAX_RANGE
  return 1 + jax.random.uniform(key, (), minval=nearest, maxval=farthest)
