"""The paper's networks, trained on one data-centre GPU (such as an H200) in windows of ten minutes.

timeout --preserve-status -s TERM -k 25 570 python -m debir_jax.main --config=configs/pretrain.py \
    --config.data.photos=FOLDER,FOLDER --workdir=runs/pretrain

The same command goes on until it ends with exit code 0 (75: there is more to do); docs/training.md has the loop and
what travels from machine to machine. Burstormer with 48 features and all attention blocks, MobileNetV2 in BAENet, crops
of 256 px, batches of 4, learning rate and clipping of stage 1 as in the paper; its steps are an eighth of the paper's.
BAENet learns at the rates of `pretrain_small.py`: at the paper's it would hardly move (`stage2_tuned.py`).

**Not run yet.** Expected, from the parts that were measured on one H200 (`experiments/benchmarks`):

- Memory: 15 GB for the arrays of a step in bfloat16 at a batch of 4; nothing need be computed twice (`compute.remat`).
- A step of stage 1: 45 ms for the gradient, if four scenes are made meanwhile; a single thread takes 130 ms for these,
  so the threads of 4 cores or more are needed. Between the two, stage 1 takes 0.8 to 2.2 hours, 5 to 15 windows.
- The other stages: an hour at most, 7 windows, if their steps take no longer; they have not been timed.
- The first window compiles for 90 s (the gradient) and longer; later ones read `config.compilation_cache`.
- Stage 1 at crops of 128 px had 30.7 dB under {24}x4 after 2,000 steps (validation, two photos); these 60,000 have to
  be well above that.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config()
  config.log_every_steps = 100
  config.checkpoint_every_steps = 500  # One or two minutes: what a machine that is lost without a signal costs.
  config.keep_every_steps = 20_000
  config.compilation_cache = "runs/compilation_cache"  # Beside the workdir, to travel with it.
  # With 16 cores, scenes are made by 8 threads; more batches that wait even out photos that take long.
  config.data.update(dict(source="photos", photo_list="experiments/pretraining/photo_splits.json", num_prefetched=4,
                          num_test_scenes=128))
  config.compute.dtype = "bfloat16"
  # At first alignments change nothing, and their offsets move at a tenth of the rate, lest they leave the image.
  config.restorer.identity_alignment = True
  config.restoration_optimizer.offset_rate = 0.1
  config.bae.classifier_scale = 0.0
  config.bae_optimizer.clip_norm = 1.0
  config.stage1.update(dict(num_steps=60_000, learning_rate=3e-4, final_learning_rate=1e-6, lr_warmup_steps=500))
  config.stage2_warmup.update(dict(num_steps=6000, learning_rate=1e-3, final_learning_rate=2e-4, label_draws=4))
  config.stage2.update(dict(num_steps=4000, learning_rate=3e-4, final_learning_rate=1e-5))
  config.stage3.update(dict(num_steps=10_000, learning_rate=3e-5, final_learning_rate=1e-7))
  config.evaluation.watched_scenes = 8
  return default.shrunk(config, mode)
