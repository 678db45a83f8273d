"""How restored images are measured: `config.evaluation`."""

import jax
import jax.numpy as jnp
import ml_collections

from debir_jax.evaluation.evaluate import Metrics
from debir_jax.evaluation.lpips import load_lpips
from debir_jax.evaluation.rules import MetricRules
from debir_jax.restoration import Restorer, TiledRestorer
from debir_jax.types import CameraColor


def metrics_of(config: ml_collections.ConfigDict, restorer: Restorer) -> Metrics:
  """Rules, weights of LPIPS and the restorer in patches."""
  lpips = load_lpips(config.evaluation.lpips) if config.evaluation.lpips else None
  return Metrics(rules=metric_rules_of(config), lpips=lpips, patch_restorer=patch_restorer_of(config, restorer))


def metric_rules_of(config: ml_collections.ConfigDict) -> MetricRules:
  """How `config.evaluation` measures restored images."""
  section = config.evaluation
  return MetricRules(border=section.border, mse_floor=section.mse_floor, lpips_rule=section.lpips_rule)


def check_measurable(config: ml_collections.ConfigDict, metrics: Metrics, crop_size: int) -> None:
  """Raises a ValueError where a metric cannot be taken of scenes of this side in px of the mosaic; 0: of any size."""
  if not crop_size:
    return
  image, color = jax.ShapeDtypeStruct((crop_size // 2, crop_size // 2, 4), jnp.float32), CameraColor.neutral()
  try:
    jax.eval_shape(lambda image: metrics.rules.measure(image, image, color, metrics.lpips), image)
  except ValueError as error:
    raise ValueError(f"Held-out scenes of {crop_size} px cannot be measured with config.evaluation.border="
                     f"{config.evaluation.border}: {error}") from error


def patch_restorer_of(config: ml_collections.ConfigDict, restorer: Restorer) -> Restorer | None:
  """The restorer in patches of `config.evaluation`; None where it asks for none.

  Raises:
    ValueError: patches do not fit the scenes or the network.
  """
  size, overlap = config.evaluation.patch_size, config.evaluation.patch_overlap
  if not size:
    return None
  if size < 0 or size % 8 or size > config.data.crop_size or overlap < 0 or overlap % 8 or 2 * overlap > size:
    raise ValueError(
        f"config.evaluation.patch_size={size} and patch_overlap={overlap} must be multiples of 8 px of the mosaic, "
        f"patches not larger than config.data.crop_size={config.data.crop_size}, overlaps at most half of a patch.")
  return TiledRestorer(restorer, tile_size=size // 2, overlap=overlap // 2)
