"""Stage 3: fine-tuning of the restoration network for the exposure times that BAENet predicts.

python -m debir_jax.main --config=configs/stage3.py --workdir=runs/paper

Goes on from stage 2 in the same workdir, or from `--config.init_from=<another workdir>`.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.on_paper_data(default.get_config(mode), mode)
  config.stages = ("stage3",)
  return config
