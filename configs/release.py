"""The authors' PyTorch release as far as this package has it: its timing, noise, networks, inputs and metric.

Its weights, converted once and compared with fixed exposure times under one restorer, nothing trained:

python -m debir_jax.convert --from debir.ckpt --to weights
python -m debir_jax.main --config=configs/evaluate.py:release --config.init_from=weights --workdir=runs/release

on this package's own scenes. The row of Table 1 in the paper (DEBIR 35.32 dB, 0.9519) belongs to 532 windows of GoPro's
test clips, interpolated by 8: give their folder, and add `--config.data.test_clips=<folder> --config.batch_size=1` (see
the README). LPIPS, by the release's rule, needs its VGG weights (`--config.evaluation.lpips=<file>`, see
`debir_jax/evaluation/lpips.py`).

Trained from scratch (this config itself), it differs from the release in what is listed in the README's design notes:
exact exposure gradients, warm-up labels of every capture, batches of 4, and no synthetic saturation in stage 1. The
numbers of epochs are the release's, the learning rates the paper's.

Motion needs RAFT's weights, which conversion finds in the checkpoint; elsewhere `--config.motion.weights=<file>`.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config()
  config.capture.update(dict(timing="release", jitter_each_frame=True))
  config.data.camera_colors = "authors_code"
  config.stage2_warmup.label_metric = "psnr"
  config.bae.preview = "linear_srgb"
  config.motion.estimator = "raft_small"
  config.clamp_loss = True
  config.restoration_optimizer.decay_all = True
  config.bae_optimizer.decay_all = True
  config.stage2_warmup.num_steps = 14_088  # 50 epochs of 1,127 scenes in batches of 4.
  config.stage2.num_steps = 28_175  # 100 epochs.
  config.stage3.num_steps = 30_690  # 30 epochs of 4,092 scenes.
  config.evaluation.update(dict(border=10, mse_floor=1e-6, lpips_rule="release"))
  return default.shrunk(config, mode)
