"""Networks for CPUs, trained long on a few hundred photos: where the weights inside the package come from.

nice -n 19 python -m debir_jax.main --config=configs/pretrain_small.py --config.data.photos=FOLDER,FOLDER \
    --workdir=runs/pretrain_small

About three hours of 2 free CPU cores, two of them stage 1, and 18 GB of memory (or as much disk, with
--config.data.cache_dir=FOLDER). Resumable at any moment by the same command. docs/training.md says where to get the
photos of its list; others: --config.data.photo_list="" and a folder of a few hundred. The networks are those of
`quickstart.py`, at larger crops and for longer: 1.2 dB better on unseen photos; DEBIR 0.17 ± 0.05 dB ahead of the best
fixed exposure and 0.65 ± 0.07 of bracketing, all fine-tuned (`experiments/weights`). How it was chosen:
`experiments/pretraining`.
"""

from configs import default, quickstart


def get_config(mode: str = ""):
  """See `default.py`."""
  config = quickstart.get_config()
  config.log_every_steps = 100
  config.checkpoint_every_steps = 500
  config.data.update(dict(
      source="photos", photos="", photo_list="experiments/pretraining/photo_splits.json", crop_size=96,
      num_restore_scenes=1000, num_bae_scenes=1000, bae_photos="training", num_validation_scenes=64,
      num_test_scenes=128))
  config.stage1.update(dict(num_steps=18_000, final_learning_rate=1e-5, lr_warmup_steps=200, motion_error=0.075))
  # As often through the scenes as in the quickstart: more lost on validation photos (experiments/pretraining).
  config.stage2_warmup.num_steps = 1600
  # This restorer loses more by motion that is found than the quickstart's: 0.075 taught times that were too long.
  config.stage2.update(dict(num_steps=600, motion_error=0.17))
  config.stage3.update(dict(num_steps=300, final_learning_rate=1e-6))
  config.end_to_end.update(dict(num_steps=300, final_learning_rate=1e-6, bae_final_learning_rate=1e-6))
  config.evaluation.update(dict(num_draws=1, watched_scenes=8))
  return default.shrunk(config, mode)
