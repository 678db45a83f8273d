"""Networks for CPUs, trained long on a few hundred photos: where the weights inside the package come from.

nice -n 19 python -m debir_jax.main --config=configs/pretrain_small.py --config.data.photos=FOLDER,FOLDER \
    --workdir=runs/pretrain_small

Resumable at any moment by the same command. docs/training.md says where to get the photos of its list; others:
--config.data.photo_list="" and a folder of a few hundred. `experiments/pretraining` has what is known of its results.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config()
  config.batch_size = 8
  config.log_every_steps = 100
  config.checkpoint_every_steps = 500
  config.data.update(dict(
      source="photos", photo_list="experiments/pretraining/photo_splits.json", crop_size=96, cache=True,
      num_restore_scenes=1000, num_bae_scenes=1000, num_validation_scenes=64, num_test_scenes=128))
  config.restorer.network = "aligned_unet"
  config.restorer_inputs.aligned = True
  config.bae.update(dict(blocks="light", width=0.5, classifier_scale=0.0, dropout_rate=0.0))
  config.restoration_optimizer.update(dict(clip_norm=0.05, beta2=0.99))
  config.bae_optimizer.clip_norm = 1.0
  config.stage1.update(dict(num_steps=60_000, learning_rate=1e-3, final_learning_rate=1e-5, lr_warmup_steps=200))
  config.stage2_warmup.update(dict(num_steps=3000, learning_rate=1e-3, final_learning_rate=2e-4, label_draws=4,
                                   exact_motion=False))
  config.stage2.update(dict(num_steps=2000, learning_rate=3e-4, final_learning_rate=1e-5, motion_error=0.1))
  config.stage3.update(dict(num_steps=1000, learning_rate=1e-4, final_learning_rate=1e-6))
  config.evaluation.update(dict(border=2, watched_scenes=8))
  config.comparison.enabled = True
  return default.shrunk(config, mode)
