r"""The light Burstormer's best chance: the U-Net's own planes, skip and optimizer, for as much CPU time.

  python -m experiments.light_burstormer --photos=FOLDER,FOLDER --steps=1400 --workdir=runs/light_burstormer

Both restorers can be had on a CPU. Beside the U-Net of `configs/pretrain_small.py` stands a Burstormer of 16 features
that sees all that the U-Net sees: frames aligned, as differences from their mean in units of their noise, with their
validity and blur; mean and Wiener filter beside each; and its result is added to the Wiener filter. Trains stage 1 and
then asks the yardstick (`experiments/yardstick.py`), whose options are understood here too. The U-Net beside it:

  python -m debir_jax.main --config=configs/pretrain_small.py --config.stages="('stage1',)" \
      --config.data.photos=FOLDER,FOLDER --config.data.crop_size=64 --config.stage1.num_steps=3000 \
      --config.comparison.enabled=False --workdir=runs/unet
  python -m experiments.yardstick --config=configs/pretrain_small.py --from=runs/unet --photos=FOLDER,FOLDER

--steps are to be chosen so that both take one CPU time: their logs have the seconds of a step.
"""

import pathlib
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp

from debir_jax.restoration import Burstormer
from debir_jax.restoration.aligned_unet import planes_of
from debir_jax.runtime.platform import prepare_memory
from debir_jax.training.runner import run
from experiments import yardstick

_NUM_COMMON = 9  # Planes that are no frame's own: mean, Wiener filter, and the mean's standard deviation.


class AlignedBurstormer(nn.Module):
  """Frames of `aligned_planes` `[..., n, H, W, 9]` -> `[..., H, W, 4]`."""

  num_features: int = 16
  deform_groups: int = 1

  def setup(self):
    self.network = self._network()

  @nn.nowrap
  def init(self, key, frames):
    """Fresh variables, whose result is the Wiener filter."""
    key = key["params"] if isinstance(key, dict) else key
    planes = jax.eval_shape(_planes_by_frame, jax.ShapeDtypeStruct(frames.shape, jnp.float32))
    params = self._network().init(key, planes[0])["params"]
    params["out_conv"] = jax.tree.map(jnp.zeros_like, params["out_conv"])
    return dict(params=dict(network=params))

  def __call__(self, frames):
    planes, skip = _planes_by_frame(frames)
    return skip + self.network(planes)

  @nn.nowrap
  def _network(self):
    return Burstormer(num_features=self.num_features, blocks_per_level=0, fusion_blocks=0,
                      deform_groups=self.deform_groups, identity_alignment=True)


def _planes_by_frame(frames):
  """Every frame's own planes and those of all, `[..., n, h, w, 18]`, and the skip."""
  planes, skip = planes_of(frames)
  num_frames = frames.shape[-4]
  own = planes[..., :-_NUM_COMMON]
  own = jnp.moveaxis(own.reshape(*own.shape[:-1], num_frames, -1), -2, -4)
  common = jnp.broadcast_to(planes[..., None, :, :, -_NUM_COMMON:], (*own.shape[:-1], _NUM_COMMON))
  return jnp.concatenate([own, common], -1), skip


def main(argv: list[str]) -> None:
  """Trains and measures."""
  parser = yardstick.make_parser("light_burstormer", __doc__, config="configs/pretrain_small.py")
  parser.add_argument("--workdir", dest="source", type=pathlib.Path, required=True)
  parser.add_argument("--steps", type=int, default=1400, help="of stage 1 (%(default)s)")
  parser.add_argument("--crop_size", type=int, default=64, help="in training, mosaic px (%(default)s)")
  args = parser.parse_args(argv)
  prepare_memory()
  restorer, config = AlignedBurstormer(), yardstick.config_of(args)
  training = config.copy_and_resolve_references()
  training.stages, training.data.crop_size, training.data.cache = ("stage1",), args.crop_size, True
  training.stage1.num_steps = args.steps
  training.restoration_optimizer.offset_rate = 0.1  # At the full rate offsets leave the image.
  run(training, args.source, restorer=restorer)
  yardstick.measure(config, args, restorer)


if __name__ == "__main__":
  main(sys.argv[1:])
