"""By which rules restored images are measured: the one place that knows borders, floors and what LPIPS sees.

A border is given in packed px, where an image `[h, w, 4]` has a pixel per Bayer cell. Viewing images `[2h, 2w, 3]` lose
twice as many, so that every metric covers the same part of the scene.
"""

import dataclasses

import jax
import jax.numpy as jnp

from debir_jax.evaluation.lpips import Lpips
from debir_jax.evaluation.metrics import psnr, ssim
from debir_jax.imaging import demosaic_malvar, unpack, view
from debir_jax.types import CameraColor

LPIPS_RULES = ("published", "release")
_MAX_VIEW_PSNR = 100.0  # dB; views that are saturated all over are equal, while RAW is not.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricRules:
  """How restored images are measured. Hashable, so static under `jit`.

  Attributes:
    border: packed px cut off at each side.
    mse_floor: added to mean squared errors before a PSNR.
    lpips_rule: "published": viewing images (sRGB), brought to [-1, 1], as the metric was made for. "release": as the
      authors of DEBIR took it, with VGG, demosaicked linear camera RGB, clamped to [0, 1] before and after and left
      there, and a border of `border` px of that image, which is half of what the other metrics lose.
  """

  border: int = 0
  mse_floor: float = 0.0
  lpips_rule: str = "published"

  def __post_init__(self):
    if self.lpips_rule not in LPIPS_RULES:
      raise ValueError(f"lpips_rule must be one of {', '.join(map(repr, LPIPS_RULES))}, got {self.lpips_rule!r}.")

  @classmethod
  def release(cls) -> "MetricRules":
    """Those of the authors' release."""
    return cls(border=10, mse_floor=1e-6, lpips_rule="release")

  def check_lpips(self, lpips: Lpips | None) -> None:
    """Raises a ValueError for weights of a network that the rule for LPIPS does not mean."""
    if lpips is not None and self.lpips_rule == "release" and lpips.network != "vgg":
      raise ValueError(f"The release takes LPIPS with VGG, these weights are of {lpips.network!r}. Convert those of "
                       "lpips.LPIPS(net=\"vgg\"), or set lpips_rule to \"published\".")

  def measure(self, restored: jax.Array, target: jax.Array, color: CameraColor | None = None,
              lpips: Lpips | None = None) -> dict[str, jax.Array]:
    """All metrics of a restored image, scalars by name; a batch is `jax.vmap`.

    Args:
      restored, target: packed RAW `[h, w, 4]`, white = 1.
      color: how to view them; without it only RAW is measured.
      lpips: the metric with its weights; without it LPIPS is left out.

    Returns:
      psnr, ssim: of packed RAW, dB and at most 1.
      l1: mean absolute error of packed RAW, neither clamped nor cropped: the loss of Eq. 11 and 13.
      view_psnr, view_ssim: of viewing images, at most 100 dB and 1.
      lpips: by its rule.
    """
    found = dict(psnr=psnr(restored, target, border=self.border, mse_floor=self.mse_floor),
                 ssim=ssim(restored, target, border=self.border), l1=jnp.mean(jnp.abs(restored - target)))
    if color is None:
      return found
    views = [view(packed, color) for packed in (restored, target)]
    view_psnr = psnr(*views, border=2 * self.border, mse_floor=self.mse_floor)
    found |= dict(view_psnr=jnp.minimum(view_psnr, _MAX_VIEW_PSNR), view_ssim=ssim(*views, border=2 * self.border))
    if lpips is None:
      return found
    if self.lpips_rule == "published":
      return found | dict(lpips=lpips(*views, border=2 * self.border))
    # Clamped before demosaicing, which spreads what is out of range, and by the metric after it.
    camera_rgb = [demosaic_malvar(unpack(jnp.clip(packed, 0, 1))) for packed in (restored, target)]
    return found | dict(lpips=lpips(*camera_rgb, border=self.border, unit_range=False))
