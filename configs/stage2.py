"""Stage 2: BAENet, first towards the best of five fixed settings (Eq. 12), then along the exact gradient (Eq. 13).

python -m debir_jax.main --config=configs/stage2.py --workdir=runs/paper

Goes on from stage 1 in the same workdir, or from `--config.init_from=<another workdir>`.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.on_paper_data(default.get_config(mode), mode)
  config.stages = ("stage2_warmup", "stage2")
  return config
