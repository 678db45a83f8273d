"""The quickstart's networks with ten times its steps in stage 1: where the weights inside the package come from.

python -m debir_jax.main --config=configs/pretrained.py --workdir=runs/pretrained

About an hour on 2 CPU cores and 5 GB of memory; nothing is downloaded. The weights are those of this run:

python -m debir_jax.convert --from runs/pretrained --to weights --config=configs/pretrained.py
"""

from configs import default, quickstart


def get_config(mode: str = ""):
  """See `default.py`."""
  config = quickstart.get_config()
  config.log_every_steps = 200
  config.checkpoint_every_steps = 1000
  config.data.update(dict(num_restore_scenes=1000, num_bae_scenes=192))
  # At the full rate the offsets leave the image within 500 steps, and the restorer then sees the first frame alone.
  config.restoration_optimizer.offset_rate = 0.1
  config.stage1.update(dict(num_steps=12_000, final_learning_rate=1e-5, lr_warmup_steps=200))
  config.stage2_warmup.num_steps = 1600
  config.stage2.num_steps = 600
  config.stage3.num_steps = 600
  return default.shrunk(config, mode)
