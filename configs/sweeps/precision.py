"""What bfloat16 costs the paper's restorer in PSNR: stage 1 with 48 features and all attention blocks.

python -m debir_jax.sweep --config=configs/sweeps/precision.py --method="uniform {24}" --processes=3 \\
    --workdir=runs/precision

For a GPU: minutes. Another seed shows how far trainings differ by chance.
"""

from configs import default


def get_config(mode: str = ""):
  """Stage 1 of the paper, shortened, on smaller crops; measured under fixed exposure times."""
  config = default.get_config()
  config.stages = ("stage1",)
  config.checkpoint_every_steps = 2000
  config.data.update(dict(photos="builtin", crop_size=128, num_restore_scenes=480, num_bae_scenes=8,
                          num_validation_scenes=48, num_test_scenes=1, cache=True))
  config.restorer.identity_alignment = True
  config.restoration_optimizer.offset_rate = 0.1
  config.stage1.update(dict(num_steps=2000, final_learning_rate=1e-5, lr_warmup_steps=100))
  config.evaluation.update(dict(num_draws=2, border=4))
  config.comparison.update(dict(enabled=True, split="validation", finetune=False, headroom_scenes=0))
  return default.shrunk(config, mode)


def sweep():
  """The two types, and chance."""
  return {"float32": {}, "bfloat16": {"compute.dtype": "bfloat16"}, "another seed": {"seed": 1}}
