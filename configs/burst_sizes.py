"""The quickstart for bursts of two, four, six and eight frames, all by one pair of networks.

python -m debir_jax.main --config=configs/burst_sizes.py --workdir=runs/burst_sizes

The restorer starts from the one inside the package, which is for four frames: fewer steps than from random weights, and
with more than those would give here. BAENet has exposure times for every size, and predicts what an image will lose
with each; where nobody asks for a size, the one that promises the least loss is taken (config.stage2.frame_penalty:
what a frame must be worth). Each frame has the same part of the budget, as in Sec. 6.3 of the paper. No warm-up: it has
no candidates for several sizes.
"""

from configs import default, quickstart
from debir_jax.weights.shipped import shipped_files


def get_config(mode: str = ""):
  """See `default.py`."""
  config = quickstart.get_config()
  config.stages = ("stage1", "stage2", "stage3")
  if not mode:  # Shrunk, it has another restorer.
    config.init_from, config.init_from_other_bursts = str(shipped_files("small_stage1")[0].parent), True
  config.capture.update(dict(num_frames=8, burst_sizes=(2, 4, 6, 8)))
  config.bae.network = "burst_size"
  config.stage1.update(dict(num_steps=1600, learning_rate=3e-4, final_learning_rate=1e-5, lr_warmup_steps=100))
  config.stage2.update(dict(num_steps=400, learning_rate=1e-3, motion_error=0.17))
  config.stage3.update(dict(num_steps=100, final_learning_rate=1e-6))
  config.comparison.enabled = False
  return default.shrunk(config, mode)
