"""Gradient auto-exposure: the exposure at which the image shows most gradient (Gradient AE of the paper's Table 1).

Shim, Lee and Kweon, "Auto-adjusting camera exposure for outdoor robotics using gradient information", IROS 2014, and
Shim et al., "Gradient-based camera exposure control for outdoor mobile platforms", TCSVT 2018. Gamma curves stand for
other exposures: the image is mapped with seven of them, the information in its gradients is fitted by a polynomial of
the fifth order in gamma, and the best gamma says in which direction, and how far, the exposure has to go.

As in `average_ae.py` the image is metered as if taken at a reference gain. The papers step once per frame of a video
until the exposure settles; from a single preview later frames are predicted by scaling it.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.policies.policy import same_for_all_frames
from debir_jax.types import BurstTiming, Observation

_GAMMAS = np.array([1 / 1.9, 1 / 1.5, 1 / 1.2, 1.0, 1.2, 1.5, 1.9])
_ORDER = 5
_GRID = np.linspace(_GAMMAS[0], _GAMMAS[-1], 276)  # Steps of 0.005 in gamma.
# The polynomial's values on the grid are a linear function of the information at the seven gammas.
_FIT = np.vander(_GRID, _ORDER + 1) @ np.linalg.pinv(np.vander(_GAMMAS, _ORDER + 1))
_DISPLAY_GAMMA = 1 / 2.2  # The papers meter images for the screen.


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientAE:
  """A `Policy`: one exposure time for all frames.

  Attributes:
    reference_gain: gain at which the image is metered, linear.
    update: "2014", E' = (1 + alpha K (1 - gamma)) E with alpha = 1/2 for gamma >= 1, else 1; or "2018",
      E' = (1 + alpha K (R - 1)) E with R = d tan((2 - gamma) atan(1/d) - atan(1/d)) + 1.
    proportional_gain: K.
    nonlinearity: d of 2018.
    threshold, steepness: delta and lambda: a gradient m >= delta informs by log(lambda (m - delta) + 1) /
      log(lambda (1 - delta) + 1), a smaller one is noise.
    num_updates: steps; 1 is a single frame of the papers' video.
  """

  reference_gain: float
  update: Literal["2014", "2018"] = "2018"
  proportional_gain: float = 0.4
  nonlinearity: float = 0.5
  threshold: float = 0.06
  steepness: float = 1000.0
  num_updates: int = 20

  def __post_init__(self):
    if not self.reference_gain > 0 or self.num_updates < 1 or not 0 <= self.threshold < 1:
      raise ValueError(f"reference_gain must be positive, num_updates at least 1 and threshold in [0, 1), got "
                       f"{self.reference_gain}, {self.num_updates} and {self.threshold}.")
    if self.update not in ("2014", "2018"):
      raise ValueError(f"update must be '2014' or '2018', got {self.update!r}.")

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene."""
    del key
    green = observation.previews[1, ..., 1:3].mean(-1) * (self.reference_gain / observation.preview_gain)
    longest, shortest = timing.budget_s / timing.num_frames, timing.min_exposure_s

    def step(exposure_s, _):
      gamma = self.best_gamma(jnp.clip(green * (exposure_s / timing.preview_exposure_s), 0, 1) ** _DISPLAY_GAMMA)
      return jnp.clip(exposure_s * self.factor(gamma), shortest, longest), None

    start = jnp.asarray(timing.preview_exposure_s, green.dtype)
    return same_for_all_frames(jax.lax.scan(step, start, length=self.num_updates)[0], timing)

  def best_gamma(self, image: jax.Array) -> jax.Array:
    """The gamma in [1/1.9, 1.9] at which an image `[h, w]` in [0, 1] shows most gradient; below 1: it is too dark."""
    information = jnp.stack([self.information(image ** gamma) for gamma in _GAMMAS])
    fitted = jnp.matmul(jnp.asarray(_FIT), information, precision=jax.lax.Precision.HIGHEST)
    return jnp.asarray(_GRID)[jnp.argmax(fitted)].astype(image.dtype)

  def information(self, image: jax.Array) -> jax.Array:
    """Sum of what the gradients of an image `[h, w]` in [0, 1] tell."""
    vertical, horizontal = image[1:, :-1] - image[:-1, :-1], image[:-1, 1:] - image[:-1, :-1]
    above = jnp.maximum(jnp.hypot(vertical, horizontal) - self.threshold, 0)
    return jnp.sum(jnp.log1p(self.steepness * above)) / np.log1p(self.steepness * (1 - self.threshold))

  def factor(self, gamma: jax.Array) -> jax.Array:
    """By what the exposure is multiplied."""
    alpha = jnp.where(gamma >= 1, 0.5, 1.0)
    if self.update == "2014":
      return 1 + alpha * self.proportional_gain * (1 - gamma)
    angle = np.arctan(1 / self.nonlinearity)
    return 1 + alpha * self.proportional_gain * self.nonlinearity * jnp.tan((2 - gamma) * angle - angle)
