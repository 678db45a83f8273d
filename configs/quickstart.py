"""Everything, small: three stages on real photos in motion, then DEBIR against fixed exposures on held-out photos.

pip install -e . && python -m debir_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

About 10 minutes on 2 CPU cores, compilation included; nothing is downloaded. The numbers to expect are in the README.
Networks, crops and schedules are small, and learning rates are this config's own: at the paper's 1e-7 nothing would
move in minutes. For a fourth of the paper's crop, scenes move at half of its speeds, and half of its full scale counts
as motion magnitude 1.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config()
  config.log_every_steps = 25
  config.checkpoint_every_steps = 200
  config.data.update(dict(
      photos="builtin", crop_size=64, num_restore_scenes=240, num_bae_scenes=96, num_validation_scenes=16,
      num_test_scenes=48, cache=True, dead_leaves_fraction=0.5, static_fraction=0.3, speed_scale=2.0))
  config.motion.full_scale_px_per_s *= 0.5
  config.restorer.update(dict(
      num_features=16, blocks_per_level=0, fusion_blocks=0, deform_groups=1, identity_alignment=True))
  config.bae.update(dict(blocks="light", width=0.5, classifier_scale=0.0, dropout_rate=0.0))
  config.restoration_optimizer.clip_norm = 1.0
  config.bae_optimizer.clip_norm = 1.0
  config.stage1.update(dict(num_steps=1150, learning_rate=3e-3, final_learning_rate=1e-4, lr_warmup_steps=20))
  config.stage2_warmup.update(dict(num_steps=800, learning_rate=1e-3, final_learning_rate=2e-4, label_draws=4))
  config.stage2.update(dict(num_steps=300, learning_rate=3e-4, final_learning_rate=1e-5))
  config.stage3.update(dict(num_steps=100, learning_rate=3e-4, final_learning_rate=1e-5))
  config.end_to_end.update(dict(num_steps=100, learning_rate=3e-4, final_learning_rate=1e-5, bae_learning_rate=3e-4,
                                bae_final_learning_rate=1e-5))
  config.evaluation.update(dict(num_draws=2, border=2))
  config.comparison.enabled = True
  return default.shrunk(config, mode)
