"""Everything, small: three stages on real photos in motion, then DEBIR against fixed exposures on held-out photos.

pip install -e . && python -m debir_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

8 to 12 minutes on 2 CPU cores, compilation included; nothing is downloaded. The numbers to expect are in the README.
Networks, crops and schedules are small, and learning rates are this config's own: at the paper's 1e-7 nothing would
move in minutes. The restorer is the U-Net for aligned frames, which uses the burst after minutes of training.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config()
  config.batch_size = 8
  config.log_every_steps = 25
  config.checkpoint_every_steps = 200
  config.data.update(dict(
      photos="builtin", crop_size=64, num_restore_scenes=240, num_bae_scenes=256, num_validation_scenes=16,
      num_test_scenes=48, cache=True, dead_leaves_fraction=0.5))
  config.restorer.network = "aligned_unet"
  config.restorer_inputs.aligned = True
  config.bae.update(dict(blocks="light", width=0.5, classifier_scale=0.0, dropout_rate=0.0))
  config.restoration_optimizer.update(dict(clip_norm=0.05, beta2=0.99))
  config.bae_optimizer.clip_norm = 1.0
  config.stage1.update(dict(num_steps=1600, learning_rate=1e-3, final_learning_rate=2e-5, lr_warmup_steps=20))
  # BAENet learns under motion as it is known in use: found in the frames for the labels; for gradients, which do not
  # lead through the search, exact but for an error as large as the search's.
  config.stage2_warmup.update(dict(num_steps=400, learning_rate=1e-3, final_learning_rate=2e-4, exact_motion=False))
  config.stage2.update(dict(num_steps=150, learning_rate=3e-4, final_learning_rate=1e-5, motion_error=0.075,
                            loss="log_l1"))
  config.stage3.update(dict(num_steps=40, learning_rate=1e-4, final_learning_rate=1e-5, exact_motion=False))
  config.end_to_end.update(dict(num_steps=60, learning_rate=1e-4, final_learning_rate=1e-5, bae_learning_rate=3e-4,
                                bae_final_learning_rate=1e-5))
  config.evaluation.update(dict(num_draws=2, border=2, watched_scenes=2))
  config.comparison.enabled = True
  return default.shrunk(config, mode)
