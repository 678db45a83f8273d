"""The quickstart for bursts of two, four, six and eight frames, all by one pair of networks.

python -m debir_jax.main --config=configs/burst_sizes.py --workdir=runs/burst_sizes

Eight frames cost twice as much as four, and one pair learns four sizes: an estimated four times the quickstart's time.
BAENet has exposure times for every size, and predicts what an image will lose with each; where nobody asks for a size,
the one that promises the least loss is taken (config.stage2.frame_penalty: what a frame must be worth). Each frame has
the same part of the budget, as in Sec. 6.3 of the paper. No warm-up: it has no candidates for several sizes.
"""

from configs import default, quickstart


def get_config(mode: str = ""):
  """See `default.py`."""
  config = quickstart.get_config()
  config.stages = ("stage1", "stage2", "stage3")
  config.capture.update(dict(num_frames=8, burst_sizes=(2, 4, 6, 8)))
  config.bae.network = "burst_size"
  config.stage1.num_steps = 3200
  config.stage2.update(dict(num_steps=400, learning_rate=1e-3))
  config.stage3.num_steps = 100
  config.comparison.enabled = False
  return default.shrunk(config, mode)
