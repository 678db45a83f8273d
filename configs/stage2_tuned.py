"""Stage 2 with learning rates at which BAENet learns; otherwise as in the paper (`stage2.py`).

python -m debir_jax.main --config=configs/stage2_tuned.py --workdir=runs/paper

At the paper's rate of 1e-7 Adam moves a weight by at most 1e-3 in the whole main part. The rates here were found by
`configs/sweeps/stage2.py` and confirmed by `configs/sweeps/stage2_seeds.py`, at the scale of the quickstart
(README.md); they have not been tried at the paper's scale.
"""

from configs import stage2


def get_config(mode: str = ""):
  """See `default.py`."""
  config = stage2.get_config(mode)
  config.bae_optimizer.clip_norm = 1.0
  for stage in ("stage2_warmup", "stage2"):
    config[stage].update(dict(learning_rate=1e-3, final_learning_rate=1e-4))
  return config
