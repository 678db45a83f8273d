"""Where the weights inside the package come from: a light Burstormer and a BAENet, trained for an hour.

python -m debir_jax.main --config=configs/pretrained.py --workdir=runs/pretrained

About an hour on 2 CPU cores and 5 GB of memory; nothing is downloaded. The weights are those of such a run:

python -m debir_jax.convert --from runs/pretrained --to weights --config=configs/pretrained.py

Its scenes are slow, with a median of 90 px/s at crops of 64 px: networks for real motion are those of
`pretrain_small.py`.
"""

from configs import default, quickstart


def get_config(mode: str = ""):
  """See `default.py`."""
  config = quickstart.get_config()
  config.batch_size = 4
  config.log_every_steps = 200
  config.checkpoint_every_steps = 1000
  config.data.update(dict(num_restore_scenes=1000, num_bae_scenes=192, static_fraction=0.3,
                          held_out_static_fraction=0.3, slow_fraction=0.0, median_speed_px_s=90.0))
  config.motion.full_scale_px_per_s *= 0.5
  config.restorer.update(dict(network="burstormer", num_features=16, blocks_per_level=0, fusion_blocks=0,
                              deform_groups=1, identity_alignment=True))
  config.restorer_inputs.aligned = False
  # At the full rate the offsets leave the image within 500 steps, and the restorer then sees the first frame alone.
  config.restoration_optimizer.update(dict(clip_norm=1.0, beta2=0.999, offset_rate=0.1))
  config.stage1.update(dict(num_steps=12_000, learning_rate=3e-3, final_learning_rate=1e-5, lr_warmup_steps=200))
  config.stage2_warmup.num_steps = 1600
  config.stage2.num_steps = 600
  config.stage3.update(dict(num_steps=600, learning_rate=3e-4))
  config.evaluation.watched_scenes = 4
  return default.shrunk(config, mode)
