"""How scenes move: a mixture of what stands still, hands that hold still, and pans, with layers that move differently.

Speeds are in mosaic px/s, whatever the crop: a network sees so many pixels of motion per second, and it is them that
blur. No public set of bursts states them. Where each number comes from:

- Static scenes: 364 of the 4,092 and 91 of the 1,127 training scenes of the authors' release are of RealBlur and do not
  move; none of its 532 test scenes.
- Pans and walking cameras: `experiments/scene_motion.py` measures real clips beside these scenes, in px of a frame of
  1280 px across, the size of GoPro's, from which the paper's crops are cut. In crops of 256 px the median is 326 px/s
  for a walk with a GoPro (REDS 027), 80 for another one (GoPro Max), 2,899 for a phone that is swept over a floor, and
  324 here.
- Slow hands: cameras that are held as still as hands can; 60 px/s in the median, our choice. Night Sight meters this
  motion (O. Liba et al., "Handheld Mobile Photography in Very Low Light", SIGGRAPH Asia 2019), but a speed, in px or
  degrees, was found in no publication that we could read. It is of the size that two rules give together: hand-held no
  longer than 1/f s at a focal length of f mm, and ISO 20954-1's threshold of handheld blur, 63 um on a frame of 36 mm,
  make 63 px/s at 28 mm and 1280 px across.
- Acceleration: paths are sums of sinusoids of 0.5 to 6 Hz, see `camera_path`; a burst of 0.1 s sees half a period. Our
  choice.
- Parallax: what is nearer than the rest moves in the camera's direction, but faster, in proportion to its inverse
  distance (pinhole projection of a camera that shifts). How often: our choice.
- Objects move on their own, as people do in the clips of standing cameras. How often and how fast: our choice.
- Small crops: camera and layers are those of frames. A crop of 96 px turns by as much as one of 256 px, and the edge of
  a layer runs through it more rarely, so that less of its motion is relative, as in the clips.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

_SLOW_SPEED = 1 / 6  # Of a hand that holds still, relative to the median of the others.
_LOG_SPEED_STD = 0.45
_LARGEST_SPEED = 3.5  # Relative to the median; three in a thousand are cut.
_PARALLAX_RANGE = (0.25, 1.0)  # How much faster a near layer moves.
_CROP_PX = 256  # Side of the crop that shares of layers are of.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionStatistics:
  """Shares and speeds of a set of scenes.

  Attributes:
    static_fraction: of the scenes; nothing in them moves.
    slow_fraction: of those that move; by a sixth of the speed of the others.
    median_speed_px_s: of the others, mean over a sequence at the middle of the image, mosaic px/s.
    parallax_fraction: of crops of 256 px; with a layer near the camera.
    object_fraction: of crops of 256 px; with an object that moves on its own.
  """

  static_fraction: float = 0.09
  slow_fraction: float = 0.15
  median_speed_px_s: float = 360.0
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

  def share_in_crop(self, share: float, crop_size: int) -> float:
    """Of crops of this side, px, in which there is a layer that is in a share of those of 256 px: where layers lie at
    random, a crop with none of them is as likely as all its parts of a smaller side in a row are."""
    return 1 - (1 - share)**(crop_size / _CROP_PX)


def draw_parallax(key: jax.Array) -> jax.Array:
  """How many times as fast as the background a near layer moves, above 1."""
  nearest, farthest = _PARALLAX_RANGE
  return 1 + jax.random.uniform(key, (), minval=nearest, maxval=farthest)
